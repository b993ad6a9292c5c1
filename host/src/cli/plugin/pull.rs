//! `wavetank plugin pull`: a component out of a registry, into a file.

use std::path::PathBuf;

use crate::{
    cli::{
        Failed,
        args::PullArgs,
        load::configuration,
        print::{out, say},
        registry::{self, Reference},
        trust,
    },
    digest::digest,
    plan::Limits,
};

/// Runs the subcommand.
pub fn pull(args: &PullArgs) -> Result<(), Failed> {
    let reference = Reference::parse(&args.reference).map_err(configuration)?;
    let limit = Limits::default().component_bytes;
    let pulled = registry::pull(&reference, limit, args.plain_http)?;
    let signature = pulled.signature.as_deref();
    trust::check(&args.trust, &pulled.component, signature, &reference.to_string())?;
    let file = args
        .to
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("{}.wasm", reference.last().replace('-', "_"))));
    registry::write(&file, &pulled.component)?;
    if let Some(signature) = signature {
        registry::write(&trust::beside(&file), signature.as_bytes())?;
    }
    out(&format!("{} {}", file.display(), digest(&pulled.component)));
    say(&format!("pulled {}/{}@{}", reference.host, reference.name, pulled.manifest));
    Ok(())
}
