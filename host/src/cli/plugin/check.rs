//! `wavetank plugin check`: whether a component is one that can be run and shipped, and what it asks for.

use std::{fs, path::Path, process::ExitCode};

use crate::{
    cli::{
        Failed,
        args::{PluginCheckArgs, ScenarioArgs, WorkloadArgs},
        diagnose, load,
        print::{out, say},
        serve::{check_subjects, listed},
        suite,
    },
    diagnostic::Diagnostic,
    plan::{DatabaseGrant, Grants, Plan},
    report::printable::printable,
    verdict::Cause,
    workload::{
        Description, Program,
        component::{Contract, Provenance, World},
    },
};

/// Characters of a name.
const TEXT: usize = 160;

/// Runs the subcommand: 0 if nothing was found, 104 otherwise (114 for a refused component).
pub fn check(args: &PluginCheckArgs) -> Result<ExitCode, Failed> {
    let workload = WorkloadArgs::of(args.plugin.clone());
    let program = load::program(&workload, &load::Reach::default())?;
    let Program::Component(component) = &program else {
        return Err(load::configuration(
            Diagnostic::new(format!("`{}` is a script, and no plugin", args.plugin.display()))
                .help("name a `.wasm` component; `wavetank check` is for scripts"),
        ));
    };
    let contract = component.contract();
    let planned = match contract.world {
        World::Workload => load::plan(&program, &workload, &ScenarioArgs::default(), None),
        World::Service => load::service(&program, &workload),
    };
    tell(args, &program, contract, planned.as_ref().ok());
    let provenance = component.provenance();
    told_of(provenance);
    let mut findings = program.findings().to_vec();
    findings.extend(described(program.describe()));
    findings.extend(same(program.describe(), provenance));
    if let Some(path) = &args.suite {
        findings.extend(granted(args, path, &program, contract, planned.as_ref().ok())?);
    }
    findings.extend(planned.err().map(|failed| failed.diagnostic));
    for finding in &findings {
        say(&diagnose::render(finding, false));
    }
    if findings.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::from(Cause::Configuration.code()))
}

/// What it is and what it asks for, in words.
fn tell(args: &PluginCheckArgs, program: &Program, contract: &Contract, plan: Option<&Plan>) {
    let Description { name, version, .. } = program.describe();
    let bytes = fs::metadata(&args.plugin).map_or(0, |it| it.len());
    out(&format!(
        "{} {}: a {} for wavetank:workload {}, {:.0} KB, {}",
        printable(name, TEXT),
        printable(version, TEXT),
        contract.world.name(),
        printable(&contract.version, TEXT),
        bytes as f64 / 1e3,
        program.describe().digest,
    ));
    contract.in_words().iter().for_each(|words| out(&format!("  it {words}")));
    let answered = plan.filter(|plan| !plan.services.is_empty());
    let answered = answered.map(|plan| format!("subscribe = {}", listed(plan.services.keys())));
    let asked = asked(contract).into_iter().map(|it| it.example.to_owned());
    let grants: Vec<_> = answered.into_iter().chain(asked).collect();
    if !grants.is_empty() {
        out(&format!("in a suite it is given that by `grants = {{ {} }}`", grants.join(", ")));
    }
}

/// What its metadata says of where it comes from, and what it leaves open.
fn told_of(provenance: &Provenance) {
    let Provenance { authors, licences, source, .. } = provenance;
    let mut silent = Vec::new();
    for (what, said) in [("authors", authors), ("licence", licences), ("source", source)] {
        match said {
            Some(said) => out(&format!("  {what}: {}", printable(said, TEXT))),
            None => silent.push(what),
        }
    }
    if !silent.is_empty() {
        out(&format!("  its metadata names no {}", silent.join(", no ")));
    }
}

/// What its metadata and it itself say differently.
fn same(description: &Description, provenance: &Provenance) -> Vec<Diagnostic> {
    let Description { name, version, .. } = description;
    let pairs = [("name", name, &provenance.name), ("version", version, &provenance.version)];
    let differs = pairs.into_iter().filter_map(|(what, own, said)| {
        let said = said.as_ref().filter(|said| *said != own)?;
        let (own, said) = (printable(own, TEXT), printable(said, TEXT));
        let message = format!("it says that its {what} is `{own}`, its metadata says `{said}`");
        Some(Diagnostic::new(message).help("take it from the manifest in both places"))
    });
    differs.collect()
}

/// Something of the world that a suite gives or does not.
struct Asked {
    interface: &'static str,
    /// What gives it.
    example: &'static str,
    is_granted: fn(&Grants) -> bool,
}

const GIVEN: [Asked; 3] = [
    Asked {
        interface: "bus",
        example: "bus = [\"SUBJECT\"]",
        is_granted: |it| {
            [&it.publish, &it.request, &it.subscribe].iter().any(|patterns| !patterns.is_empty())
        },
    },
    Asked {
        interface: "database",
        example: "database = \"write\"",
        is_granted: |it| it.database > DatabaseGrant::None,
    },
    Asked {
        interface: "target",
        example: "targets = [\"NAME\"]",
        is_granted: |it| !it.targets.is_empty(),
    },
];

fn asked(contract: &Contract) -> Vec<&'static Asked> {
    // What a service may do with targets is nothing.
    let given =
        GIVEN.iter().filter(|it| contract.world == World::Workload || it.interface != "target");
    given.filter(|it| contract.asks_for(it.interface)).collect()
}

/// What it imports or answers and a suite does not give it: each such call would be refused, and a service
/// would not begin.
fn granted(
    args: &PluginCheckArgs,
    path: &Path,
    program: &Program,
    contract: &Contract,
    plan: Option<&Plan>,
) -> Result<Vec<Diagnostic>, Failed> {
    let (suite, _) = suite::read(path)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let same = |other: &str| {
        let other = suite.resolve(folder, other);
        let real = |path: &Path| fs::canonicalize(path).ok();
        real(&other).is_some_and(|other| Some(other) == real(&args.plugin))
    };
    let workloads: Vec<_> = suite.workloads.iter().filter(|it| same(&it.workload)).collect();
    let services: Vec<_> = suite.services.iter().filter(|it| same(&it.workload)).collect();
    if workloads.is_empty() && services.is_empty() {
        let message = format!("`{}` does not run `{}`", path.display(), args.plugin.display());
        return Ok(vec![Diagnostic::new(message).help("name the suite that does, or add it")]);
    }
    let mut findings = Vec::new();
    for service in &services {
        let answers =
            plan.map(|plan| check_subjects(&service.name, plan, program, &service.grants));
        findings.extend(answers.and_then(Result::err).map(|failed| failed.diagnostic));
    }
    let given = workloads.iter().map(|it| (&it.name, &it.grants));
    for (name, grants) in given.chain(services.iter().map(|it| (&it.name, &it.grants))) {
        for asked in asked(contract).into_iter().filter(|it| !(it.is_granted)(grants)) {
            findings.push(
                Diagnostic::new(format!(
                    "`{}` imports `{}`, and `{}` does not grant it: its calls would be refused",
                    printable(name, TEXT),
                    asked.interface,
                    path.display(),
                ))
                .help(format!("add `{}` to its `grants`", asked.example)),
            );
        }
    }
    Ok(findings)
}

/// What is wrong with what it says of itself.
fn described(description: &Description) -> Vec<Diagnostic> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let named = |name: &str| !name.is_empty() && name.chars().all(fits);
    let numbered = |version: &str| {
        let plain = version.split(['-', '+']).next().unwrap_or_default();
        let numbers: Vec<_> = plain.split('.').collect();
        numbers.len() == 3 && numbers.iter().all(|it| it.parse::<u32>().is_ok())
    };
    let Description { name, version, .. } = description;
    let mut findings = Vec::new();
    if !named(name) {
        let message = format!("it calls itself `{}`", printable(name, TEXT));
        findings.push(Diagnostic::new(message).help("a name is letters, digits, `-` and `_`"));
    }
    if !numbered(version) {
        let message = format!("it says that its version is `{}`", printable(version, TEXT));
        findings.push(Diagnostic::new(message).help("a version is like `1.2.3`"));
    }
    findings
}
