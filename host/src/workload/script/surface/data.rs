//! `data::`: CSV and JSON files of the script's folder, read once per shard, shared by its VUs.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io::Read,
    path::{Path, PathBuf},
    rc::Rc,
};

use rhai::{Dynamic, Module};

use super::{Loading, def};
use crate::workload::script::{
    convert::{self, JsonView},
    fault::misused,
    resolver,
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
    let file = resolver::inside(&loading.root, path, None).map_err(misused)?;
    if let Some(value) = cache.borrow().get(&file) {
        return Ok(value.clone());
    }
    let bytes = read(&file, loading.limits.data_file_bytes)
        .map_err(|why| misused(format!("`{path}`: {why}")))?;
    let value = parse(&bytes).map_err(|why| misused(format!("`{path}`: {why}")))?;
    cache.borrow_mut().insert(file, value.clone());
    Ok(value)
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    let file = crate::workload::open(path).map_err(|error| resolver::reason(&error))?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| resolver::reason(&error))?;
    if bytes.len() as u64 > limit {
        return Err(format!("larger than the limit of {limit} bytes (--limit data_file_bytes=N)"));
    }
    Ok(bytes)
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
