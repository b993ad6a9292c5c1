"""What each virtual user does.

`wavetank plugin build` makes {file}.wasm of it, and `wavetank run {file}.wasm` runs that.
"""

from wavetank import Context, Iteration, Workload, check, database, random


class Plugin(Workload):
    name = "{name}"
    version = "0.1.0"
    # What is run, measured and judged, in the words of a script's `options`.
    options = {
        "scenarios": {
            # One scenario: arrivals at a fixed rate, however slow the system is.
            "steady": {"executor": "constant-arrival-rate", "rate": 50, "duration": "5s"},
        },
        # Names for operations must be declared.
        "ops": ["visit", "look"],
        # A threshold that is missed, or that has nothing to judge, fails the run.
        "thresholds": {
            "db_query_duration{op:look}": ["p(95) < 100ms"],
            "checks": ["rate > 0.99"],
        },
    }
    # `-p people=10` changes it.
    parameters = {"people": (100, "how many people there are")}

    def setup(self, context: Context):
        """Once before the load; what it returns is `context.data` everywhere else."""
        made = database.execute("CREATE TABLE visits (name TEXT)")
        if not made.ok:
            raise RuntimeError(made.error.message)

    def init(self, context: Context) -> None:
        """Once per virtual user, and again after a crash; `self` is that user's own."""
        self.people = context.parameters["people"]

    def iterate(self, iteration: Iteration) -> None:
        """Once per iteration. A failure of the system is data; what is raised ends the iteration."""
        name = f"user{random.integer(1, self.people)}"
        stored = database.execute("INSERT INTO visits (name) VALUES (?)", [name], op="visit")
        check("stored", stored.ok)
        found = database.query("SELECT name FROM visits WHERE name = ? LIMIT 1", [name], op="look")
        check("found", found.ok and len(found.value) == 1)
