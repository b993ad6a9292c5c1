//! A component as registries keep it: the layout that the WebAssembly tools agree on. A manifest names a small
//! configuration, `application/vnd.wasm.config.v0+json`, and one layer, `application/wasm`: the component.
//!
//! The same component and the same words give the same bytes, and so the same digest: nothing in it says when it
//! was pushed. What comes back is anyone's: it is read for what it must be, and refused for anything else.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    digest::{digest, is_digest},
    report::printable::printable,
};

/// Media type of the manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of the configuration.
const CONFIG: &str = "application/vnd.wasm.config.v0+json";
/// Media type of the layer.
const WASM: &str = "application/wasm";
/// The configuration has a time, and this is the one that says nothing.
const NO_TIME: &str = "1970-01-01T00:00:00Z";
/// Where a manifest keeps a signature of the component, as minisign writes it.
const SIGNATURE: &str = "dev.wavetank.minisig";
/// Bytes of a signature's file.
const SIGNATURE_BYTES: usize = 4_096;

/// The component of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// `sha256:…` of its bytes.
    pub digest: String,
    /// How many they are.
    pub size: u64,
    /// The file that signs them, if there is one.
    pub signature: Option<String>,
}

/// What is told of a component beside its bytes.
#[derive(Clone, Debug, Default)]
pub struct Words {
    /// Its name and version.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it does, in a line.
    pub description: Option<String>,
    /// The commit that it was built from.
    pub revision: Option<String>,
    /// Where its source is.
    pub source: Option<String>,
    /// What it imports.
    pub imports: Vec<String>,
    /// The world that it is for.
    pub world: String,
    /// The file that signs it.
    pub signature: Option<String>,
}

/// The configuration of a component.
pub fn config(component: &[u8], words: &Words) -> Vec<u8> {
    let value = json!({
        "created": NO_TIME,
        "architecture": "wasm",
        "os": "wasip2",
        "layerDigests": [digest(component)],
        "component": {
            "exports": [],
            "imports": words.imports,
            "target": words.world,
        },
    });
    value.to_string().into_bytes()
}

/// The manifest of a component and its configuration.
pub fn manifest(component: &[u8], config: &[u8], words: &Words) -> Vec<u8> {
    let part = |media: &str, bytes: &[u8]| json!({ "mediaType": media, "digest": digest(bytes), "size": bytes.len() });
    let told = [
        (SIGNATURE, words.signature.as_ref()),
        ("org.opencontainers.image.description", words.description.as_ref()),
        ("org.opencontainers.image.revision", words.revision.as_ref()),
        ("org.opencontainers.image.source", words.source.as_ref()),
        ("org.opencontainers.image.title", Some(&words.name)),
        ("org.opencontainers.image.version", Some(&words.version)),
    ];
    let annotations: BTreeMap<_, _> =
        told.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    let value = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": part(CONFIG, config),
        "layers": [part(WASM, component)],
        "annotations": annotations,
    });
    value.to_string().into_bytes()
}

/// The component that a manifest names; or why there is none. It may have `limit` bytes.
pub fn layer(manifest: &[u8], limit: u64) -> Result<Layer, String> {
    let value: Value = serde_json::from_slice(manifest)
        .map_err(|error| format!("its manifest is no JSON: {error}"))?;
    let is = |value: &Value, wanted: &str, what: &str| match value.as_str() {
        Some(found) if found == wanted => Ok(()),
        found => Err(format!(
            "its {what} is `{}`, not `{wanted}`: it is no component",
            printable(found.unwrap_or("nothing"), 100)
        )),
    };
    // An index of many, or an image, says itself what it is.
    is(&value["mediaType"], MANIFEST, "manifest")?;
    is(&value["config"]["mediaType"], CONFIG, "configuration")?;
    let layers = value["layers"].as_array().map_or(&[][..], Vec::as_slice);
    let [layer] = layers else {
        return Err(format!("it has {} layers: a component is one", layers.len()));
    };
    is(&layer["mediaType"], WASM, "layer")?;
    let digest = layer["digest"].as_str().filter(|it| is_digest(it));
    let digest = digest.ok_or("its layer has no digest that is `sha256:…`")?.to_owned();
    let size = layer["size"].as_u64().ok_or("its layer has no size")?;
    if size > limit {
        return Err(format!(
            "its component has {size} bytes; the limit is {limit} (`--limit component_bytes=N`)"
        ));
    }
    let signature = value["annotations"][SIGNATURE].as_str();
    if signature.is_some_and(|it| it.len() > SIGNATURE_BYTES) {
        return Err(format!("its signature has more than {SIGNATURE_BYTES} bytes"));
    }
    Ok(Layer { digest, size, signature: signature.map(str::to_owned) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words() -> Words {
        Words { name: "spike".to_owned(), version: "0.1.0".to_owned(), ..Words::default() }
    }

    fn good() -> String {
        let config = config(b"component", &words());
        String::from_utf8(manifest(b"component", &config, &words())).unwrap()
    }

    #[test]
    fn a_manifest_names_its_component_and_is_always_the_same() {
        assert_eq!(good(), good());
        let found = layer(good().as_bytes(), 9).unwrap();
        assert_eq!(found, Layer { digest: digest(b"component"), size: 9, signature: None });
        let signed = Words { signature: Some("signed".to_owned()), ..words() };
        let text = manifest(b"component", b"{}", &signed);
        assert_eq!(layer(&text, 9).unwrap().signature.as_deref(), Some("signed"));
    }

    #[test]
    fn anything_else_is_refused_for_what_it_is() {
        let digest = digest(b"component");
        for (from, to, says) in [
            ("{\"schemaVersion\"", "{\"schemaVersion", "no JSON"),
            (MANIFEST, "application/vnd.oci.image.index.v1+json", "its manifest is"),
            (CONFIG, "application/vnd.oci.image.config.v1+json", "its configuration is"),
            (WASM, "application/vnd.oci.image.layer.v1.tar+gzip", "its layer is"),
            ("\"layers\":[", "\"layers\":[{},", "2 layers"),
            ("\"layers\":[", "\"other\":[", "0 layers"),
            (&digest, "sha512:00", "no digest"),
            ("\"size\":9", "\"size\":-9", "no size"),
            ("\"size\":9", "\"size\":10", "10 bytes; the limit is 9"),
        ] {
            let wrong = good().replace(from, to);
            assert_ne!(wrong, good(), "{from}");
            let why = layer(wrong.as_bytes(), 9).unwrap_err();
            assert!(why.contains(says), "{why}");
        }
    }
}
