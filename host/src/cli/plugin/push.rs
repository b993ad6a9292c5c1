//! `wavetank plugin push`: a component into a registry, with what is known of it.
//!
//! What is said of it is what it says of itself; the commit is told only where it is known that nothing was
//! changed since. The same component with the same words has the same digest, whenever it is pushed.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    cli::{
        Failed,
        args::{PushArgs, WorkloadArgs},
        load::{self, configuration},
        print::{out, say},
        registry::{self, Reference, Words},
        trust,
    },
    diagnostic::Diagnostic,
    digest::digest,
    plan::{Limits, lock::Pin},
    workload::{Program, read_bytes},
};

/// Runs the subcommand.
pub fn push(args: &PushArgs) -> Result<(), Failed> {
    let reference = Reference::parse(&args.reference).map_err(configuration)?;
    let component = read(&args.file)?;
    // What is looked at is what is pushed.
    let pin = Pin::alone(&digest(&component));
    let workload = WorkloadArgs::of(args.file.clone());
    let program = load::pinned(&workload, &load::Reach::default(), Some(pin))?;
    let words = words(args, &program)?;
    let manifest = registry::push(&reference, &component, &words, args.plain_http)?;
    let name = match &reference.tag {
        Some(tag) => format!("{}/{}:{tag}", reference.host, reference.name),
        None => format!("{}/{}", reference.host, reference.name),
    };
    out(&format!("{name}@{manifest}"));
    let signed = if words.signature.is_some() { ", signed" } else { "" };
    say(&format!("pushed {} {}, {}{signed}", words.name, words.version, digest(&component)));
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, Failed> {
    read_bytes(path, Limits::default().component_bytes).map_err(|error| {
        configuration(
            Diagnostic::new(format!("`{}` cannot be read: {error}", path.display()))
                .help("name a component (`.wasm`); `wavetank plugin build` strips what it makes"),
        )
    })
}

fn words(args: &PushArgs, program: &Program) -> Result<Words, Failed> {
    let Program::Component(component) = program else {
        return Err(configuration(
            Diagnostic::new(format!("`{}` is a script", args.file.display()))
                .help("push components: a script lies in the repository that uses it"),
        ));
    };
    let (contract, provenance) = (component.contract(), component.provenance());
    let description = program.describe();
    let signature = match &args.signature {
        Some(path) => Some(trust::signature(path)?),
        None => {
            let beside = trust::beside(&args.file);
            if beside.exists() { Some(trust::signature(&beside)?) } else { None }
        }
    };
    Ok(Words {
        name: description.name.clone(),
        version: description.version.clone(),
        description: args.description.clone().or_else(|| provenance.description.clone()),
        revision: args.revision.clone().or_else(|| revision(&args.file)),
        source: args.source.clone().or_else(|| provenance.source.clone()),
        imports: contract.imports.clone(),
        world: format!("wavetank:workload/{}@{}", contract.world.name(), contract.version),
        signature,
    })
}

/// The commit of the repository in which a file lies, if nothing there was changed since.
fn revision(file: &Path) -> Option<String> {
    let folder = file.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command.arg("-C").arg(folder).args(arguments).stdin(Stdio::null()).stderr(Stdio::null());
        let output = command.output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "HEAD"])?;
    let is_one = commit.len() >= 40 && commit.bytes().all(|it| it.is_ascii_hexdigit());
    if !is_one {
        return None;
    }
    if git(&["status", "--porcelain"]).is_none_or(|changed| !changed.is_empty()) {
        say(&format!(
            "no commit is named: something has changed since {commit}; commit it, or say --revision"
        ));
        return None;
    }
    Some(commit)
}
