//! `data::`: CSV and JSON files of the script's folder, read once (see `files`), parsed once per shard, shared
//! by its VUs.

use std::{cell::RefCell, collections::BTreeMap, path::PathBuf, rc::Rc};

use rhai::{Dynamic, Module};

use super::{Loading, def};
use crate::workload::script::{
    convert::{self, JsonView},
    fault::misused,
    session::Called,
};

type Cache = Rc<RefCell<BTreeMap<PathBuf, Dynamic>>>;

pub fn module(loading: &Loading) -> Module {
    let mut module = Module::new();
    let (host, cache) = (loading.clone(), Cache::default());
    let kept = cache.clone();
    def(
        &mut module,
        "csv(path: string) -> Json",
        "Rows of a CSV file with a header line, as objects of text.",
        move |path: &str| load(&host, &kept, path, csv),
    );
    let host = loading.clone();
    def(&mut module, "json(path: string) -> Json", "A JSON file.", move |path: &str| {
        load(&host, &cache, path, json)
    });
    module
}

fn load(
    loading: &Loading,
    cache: &Cache,
    path: &str,
    parse: fn(&[u8]) -> Result<Dynamic, String>,
) -> Called<Dynamic> {
    let limit = (loading.limits.data_file_bytes, "data_file_bytes");
    let (file, bytes) = loading.files.get(path, None, limit).map_err(misused)?;
    if let Some(value) = cache.borrow().get(&file) {
        return Ok(value.clone());
    }
    let value = parse(&bytes).map_err(|why| misused(format!("`{path}`: {why}")))?;
    cache.borrow_mut().insert(file, value.clone());
    Ok(value)
}

fn json(bytes: &[u8]) -> Result<Dynamic, String> {
    serde_json::from_slice(bytes).map(convert::view).map_err(|error| error.to_string())
}

fn csv(bytes: &[u8]) -> Result<Dynamic, String> {
    let mut reader = csv::Reader::from_reader(bytes);
    let header = reader.headers().map_err(|error| error.to_string())?.clone();
    let names: Vec<rhai::ImmutableString> = header.iter().map(Into::into).collect();
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| error.to_string())?;
        let fields = names.iter().cloned().zip(record.iter().map(|field| field.to_owned().into()));
        rows.push(Dynamic::from(JsonView::Object(Rc::new(fields.collect()))));
    }
    Ok(Dynamic::from(JsonView::List(rows.into())))
}
