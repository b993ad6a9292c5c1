"""What answers messages.

`wavetank plugin build` makes {file}.wasm of it, and `wavetank serve {file}.wasm --bus URL` serves it.
"""

from wavetank import Context, Message, Service, handles


class Plugin(Service):
    name = "{name}"
    version = "0.1.0"
    # `-p greeting=hi` changes it.
    parameters = {"greeting": ("hello", "what is said before the name")}

    def start(self, context: Context) -> None:
        """Once per instance, before its first message; `self` is that instance's own."""
        self.greeting = context.parameters["greeting"]

    @handles("example.greet")
    def greet(self, message: Message):
        """What it returns is the reply; nothing is no reply."""
        who = (message.json or {}).get("name", "stranger")
        return {"text": f"{self.greeting}, {who}"}
