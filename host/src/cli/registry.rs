//! Components in registries: pushed, pulled, and found where a workload is named `oci://…`.
//!
//! | file | what it holds |
//! |---|---|
//! | `reference` | how a place is written |
//! | `artifact` | the manifest and the configuration of a component |
//! | `connection` | what is said to a registry, and how much of its answer is listened to |
//! | `credentials` | who asks |
//! | `shelf` | what was pulled, by digest |
//!
//! Nothing here is believed: a manifest asked for by digest has that digest, or it is refused (114), and so with
//! the component that it names. What has the right digest is right wherever it lay.
//!
//! This speaks HTTP itself rather than through a client of the whole protocol: those read answers of any length
//! into memory and go wherever they are sent.

mod artifact;
mod connection;
mod credentials;
mod reference;
mod shelf;

use std::path::{Path, PathBuf};

pub use artifact::Words;
pub use reference::Reference;
pub use shelf::write;

use artifact::Layer;
use connection::{Action, Question, Registry};

use super::{Failed, load::configuration, trust};
use crate::{diagnostic::Diagnostic, digest::digest, plan::lock::Pin, verdict::Cause};

/// Bytes of a manifest, as registries bound it themselves.
const MANIFEST_BYTES: u64 = 4 << 20;
/// Bytes of an answer that says nothing but yes.
const YES: u64 = 64 << 10;

/// A component, as it came out of a registry.
pub struct Pulled {
    /// Its bytes.
    pub component: Vec<u8>,
    /// `sha256:…` of its manifest.
    pub manifest: String,
    /// The file that signs it, if it came with one.
    pub signature: Option<String>,
}

/// Lays a component into a registry; the digest of its manifest.
pub fn push(
    reference: &Reference,
    component: &[u8],
    words: &Words,
    plain: bool,
) -> Result<String, Failed> {
    let mut registry = Registry::of(reference, Action::Push, plain)?;
    let config = artifact::config(component, words);
    let manifest = artifact::manifest(component, &config, words);
    let own = digest(&manifest);
    if reference.digest.as_ref().is_some_and(|it| *it != own) {
        return Err(configuration(
            Diagnostic::new(format!(
                "what is pushed has {own}, and not the digest of `{reference}`"
            ))
            .help("name a tag instead: the digest is told when it is pushed"),
        ));
    }
    for blob in [config.as_slice(), component] {
        push_blob(&mut registry, blob)?;
    }
    let wanted = reference.tag.as_deref().unwrap_or(&own);
    let answer = registry.ask(Question {
        method: "PUT",
        path: &registry.path(&format!("manifests/{wanted}")),
        headers: &[("content-type", artifact::MANIFEST)],
        body: &manifest,
        limit: YES,
    })?;
    match answer.status {
        201 => Ok(own),
        _ => Err(registry.refusal("the manifest was not taken", &answer)),
    }
}

/// Lays bytes into a registry that does not have them.
fn push_blob(registry: &mut Registry, blob: &[u8]) -> Result<(), Failed> {
    let own = digest(blob);
    let path = registry.path(&format!("blobs/{own}"));
    let question = Question { method: "HEAD", path: &path, headers: &[], body: &[], limit: YES };
    if registry.ask(question)?.status == 200 {
        return Ok(());
    }
    let path = registry.path("blobs/uploads/");
    let answer = registry.ask(Question { method: "POST", path: &path, ..question })?;
    let location = answer.header("location").filter(|_| answer.status == 202);
    let Some(location) = location else {
        return Err(registry.refusal("it takes nothing", &answer));
    };
    let path = registry.own_path(location)?;
    let mark = if path.contains('?') { '&' } else { '?' };
    let answer = registry.ask(Question {
        method: "PUT",
        path: &format!("{path}{mark}digest={own}"),
        headers: &[("content-type", "application/octet-stream")],
        body: blob,
        limit: YES,
    })?;
    match answer.status {
        201 => Ok(()),
        _ => Err(registry.refusal("the component was not taken", &answer)),
    }
}

/// Takes a component of at most `limit` bytes out of a registry.
pub fn pull(reference: &Reference, limit: u64, plain: bool) -> Result<Pulled, Failed> {
    let mut registry = Registry::of(reference, Action::Pull, plain)?;
    let manifest = manifest(&mut registry, reference)?;
    let layer = layer(reference, &manifest, limit)?;
    let component = component(&mut registry, reference, &layer)?;
    Ok(Pulled { component, manifest: digest(&manifest), signature: layer.signature })
}

/// A manifest, which has the digest that was asked for.
fn manifest(registry: &mut Registry, reference: &Reference) -> Result<Vec<u8>, Failed> {
    let wanted = reference.wanted();
    let path = registry.path(&format!("manifests/{wanted}"));
    let headers = &[("accept", artifact::MANIFEST)];
    let limit = MANIFEST_BYTES;
    let answer =
        registry.ask(Question { method: "GET", path: &path, headers, body: &[], limit })?;
    if answer.status != 200 {
        return Err(registry.refusal("there is no such component", &answer));
    }
    if reference.digest.as_ref().is_some_and(|wanted| digest(&answer.body) != *wanted) {
        return Err(other(reference, &format!("its manifest has {}", digest(&answer.body))));
    }
    Ok(answer.body)
}

/// What a manifest names.
fn layer(reference: &Reference, manifest: &[u8], limit: u64) -> Result<Layer, Failed> {
    artifact::layer(manifest, limit).map_err(|why| {
        Failed::new(
            Cause::PluginRefused,
            Diagnostic::new(format!("`{reference}`: {why}"))
                .help("name what `wavetank plugin push` pushed, or any other component"),
        )
    })
}

/// The bytes of a layer, which are those that its manifest names.
fn component(
    registry: &mut Registry,
    reference: &Reference,
    layer: &Layer,
) -> Result<Vec<u8>, Failed> {
    let answer = registry.blob(&layer.digest, layer.size)?;
    if answer.status != 200 {
        return Err(registry.refusal("its component is not there", &answer));
    }
    let (found, len) = (digest(&answer.body), answer.body.len() as u64);
    if found != layer.digest || len != layer.size {
        return Err(other(reference, &format!("its component has {len} bytes and {found}")));
    }
    Ok(answer.body)
}

fn other(reference: &Reference, found: &str) -> Failed {
    Failed::new(
        Cause::PluginRefused,
        Diagnostic::new(format!("`{reference}` is not what the registry sends: {found}"))
            .help("ask whoever keeps the registry; what was sent was thrown away"),
    )
}

/// The file of a workload that is named `oci://…`: of the shelf, or pulled onto it first. The bytes are looked at
/// again by whoever loads them: the shelf is only a place.
pub fn fetch(path: &Path, pin: Option<&Pin>, limit: u64) -> Result<PathBuf, Failed> {
    let reference = Reference::parse(&path.display().to_string()).map_err(configuration)?;
    let shelf = shelf::Shelf::open()?;
    // What is locked is known by its own digest, whatever became of the tag or of the registry.
    if let Some(found) = pin.and_then(|pin| shelf.find(&pin.digest)) {
        return Ok(found);
    }
    if let Some(manifest) = reference.digest.as_ref().and_then(|it| shelf.read(it, MANIFEST_BYTES))
        && let Some(found) = shelf.find(&layer(&reference, &manifest, limit)?.digest)
    {
        return Ok(found);
    }
    let mut registry = Registry::of(&reference, Action::Pull, false)?;
    let manifest = manifest(&mut registry, &reference)?;
    let layer = layer(&reference, &manifest, limit)?;
    // Before it is fetched: what may not be loaded need not come.
    if let Some(pin) = pin.filter(|pin| pin.digest != layer.digest) {
        return Err(Failed::new(
            Cause::PluginRefused,
            Diagnostic::new(format!(
                "`{reference}` is not what was locked: it has {}",
                layer.digest
            ))
            .help(format!(
                "{} was locked as {}: name that by its digest, or look at what changed and lock \
                     it anew with {}",
                pin.what, pin.digest, pin.anew
            )),
        ));
    }
    let component = component(&mut registry, &reference, &layer)?;
    shelf.lay(&digest(&manifest), &manifest)?;
    let place = shelf.lay(&layer.digest, &component)?;
    if let Some(signature) = &layer.signature {
        write(&trust::beside(&place), signature.as_bytes())?;
    }
    Ok(place)
}
