//! `db::`: statements, batches, transactions.

use std::{pin::pin, rc::Rc};

use rhai::{Array, Dynamic, FnPtr, Map, Module, NativeCallContext};

use super::{
    def,
    options::{BATCH, Call, CallOptions, EXECUTE, QUERY, thrown},
    reply::outcome,
};
use crate::{
    primitive::database::{Dialect, Rows, Statement, Value},
    workload::script::{
        convert,
        fault::{misuse, misused},
        session::{Called, Current, Session},
    },
};

pub fn module(current: &Rc<Current>) -> Module {
    let mut module = Module::new();
    queries(&mut module, current);
    changes(&mut module, current);
    batches(&mut module, current);
    transactions(&mut module, current);
    module
}

/// Values of a statement: an array, or `()` for none.
pub fn values(function: &str, values: &Dynamic) -> Called<Vec<Value>> {
    if values.is_unit() {
        return Ok(Vec::new());
    }
    let array = values.as_array_ref().map_err(|actual| {
        misused(format!("{function}: the values are a {actual}, not an array such as [1, \"a\"]"))
    })?;
    array.iter().map(to_value).collect::<Result<_, _>>()
}

fn to_value(value: &Dynamic) -> Called<Value> {
    if value.is_unit() {
        return Ok(Value::Null);
    }
    if let Ok(text) = value.as_immutable_string_ref() {
        return Ok(Value::Text(text.to_string()));
    }
    if let Ok(number) = value.as_int() {
        return Ok(Value::Integer(number));
    }
    if let Ok(number) = value.as_float() {
        return Ok(Value::Float(number));
    }
    if let Ok(truth) = value.as_bool() {
        return Ok(Value::Bool(truth));
    }
    if let Ok(bytes) = value.as_blob_ref() {
        return Ok(Value::Bytes(bytes.clone()));
    }
    convert::to_json(value).map(Value::Json).map_err(|error| misuse(&error))
}

fn from_value(value: Value) -> Dynamic {
    match value {
        Value::Null => Dynamic::UNIT,
        Value::Bool(truth) => truth.into(),
        Value::Integer(number) => number.into(),
        Value::Float(number) => number.into(),
        Value::Text(text) | Value::Timestamp(text) => text.into(),
        Value::Bytes(bytes) => Dynamic::from_blob(bytes),
        Value::Json(json) => convert::view(json),
    }
}

fn rows(rows: Rows) -> Array {
    let columns: Vec<rhai::Identifier> = rows.columns.iter().map(Into::into).collect();
    let row = |values: Vec<Value>| {
        let fields = columns.iter().cloned().zip(values.into_iter().map(from_value));
        Dynamic::from_map(fields.collect::<Map>())
    };
    rows.rows.into_iter().map(row).collect()
}

fn statement(call: &Call, sql: &str, given: &Dynamic, map: &Map) -> Called<Statement> {
    let options = CallOptions::new(call, map)?;
    Ok(Statement {
        sql: sql.to_owned(),
        values: values(call.name, given)?,
        op: options.text("op")?,
        timeout: options.duration("timeout")?,
    })
}

fn query(host: &Current, sql: &str, values: &Dynamic, options: &Map) -> Called<Map> {
    let session = host.session("db::query")?;
    let statement = statement(&QUERY, sql, values, options)?;
    let result = thrown(session.wait(pin!(session.primitives.database.query(statement)))?)?;
    let mut map = outcome(result.as_ref().err());
    map.insert("rows".into(), result.map(rows).unwrap_or_default().into());
    Ok(map)
}

fn queries(module: &mut Module, current: &Rc<Current>) {
    let host = current.clone();
    def(
        module,
        "query(sql: string) -> map",
        "Runs a statement that returns rows: #{ ok, error, message, rows }.",
        move |sql: &str| query(&host, sql, &Dynamic::UNIT, &Map::new()),
    );
    let host = current.clone();
    def(
        module,
        "query(sql: string, values: array) -> map",
        "The same with one value for each `?`.",
        move |sql: &str, values: Dynamic| query(&host, sql, &values, &Map::new()),
    );
    let host = current.clone();
    def(
        module,
        "query(sql: string, values: array, options: map) -> map",
        "The same; options: op, timeout.",
        move |sql: &str, values: Dynamic, options: Map| query(&host, sql, &values, &options),
    );
}

fn execute(host: &Current, sql: &str, values: &Dynamic, options: &Map) -> Called<Map> {
    let session = host.session("db::execute")?;
    let statement = statement(&EXECUTE, sql, values, options)?;
    let result = thrown(session.wait(pin!(session.primitives.database.execute(statement)))?)?;
    let mut map = outcome(result.as_ref().err());
    map.insert("changed".into(), (result.unwrap_or_default() as i64).into());
    Ok(map)
}

fn changes(module: &mut Module, current: &Rc<Current>) {
    let host = current.clone();
    def(
        module,
        "execute(sql: string) -> map",
        "Runs a statement that changes rows: #{ ok, error, message, changed }.",
        move |sql: &str| execute(&host, sql, &Dynamic::UNIT, &Map::new()),
    );
    let host = current.clone();
    def(
        module,
        "execute(sql: string, values: array) -> map",
        "The same with one value for each `?`.",
        move |sql: &str, values: Dynamic| execute(&host, sql, &values, &Map::new()),
    );
    let host = current.clone();
    def(
        module,
        "execute(sql: string, values: array, options: map) -> map",
        "The same; options: op, timeout.",
        move |sql: &str, values: Dynamic, options: Map| execute(&host, sql, &values, &options),
    );
}

fn batch(host: &Current, items: &Array, map: &Map) -> Called<Map> {
    let session = host.session("db::batch")?;
    let limit = session.primitives.scope.limits().batch;
    if items.len() > limit {
        return Err(misused(format!(
            "db::batch: {} statements are over the limit of {limit} (--limit batch=N)",
            items.len()
        )));
    }
    let statements = items.iter().map(|item| {
        if let Ok(sql) = item.as_immutable_string_ref() {
            return statement(&BATCH, &sql, &Dynamic::UNIT, map);
        }
        let pair = item.as_array_ref().map_err(|actual| {
            misused(format!("db::batch: a statement is a {actual}, not [sql, values]"))
        })?;
        let sql = pair.first().and_then(|sql| sql.clone().into_immutable_string().ok());
        let sql =
            sql.ok_or_else(|| misused("db::batch: a statement does not begin with its SQL"))?;
        statement(&BATCH, &sql, &pair.get(1).cloned().unwrap_or_default(), map)
    });
    let statements = statements.collect::<Called<Vec<_>>>()?;
    let result = thrown(session.wait(pin!(session.primitives.database.batch(statements)))?)?;
    let mut map = outcome(result.as_ref().err());
    let changed = result.unwrap_or_default().into_iter().map(|rows| Dynamic::from(rows as i64));
    map.insert("changed".into(), changed.collect::<Array>().into());
    Ok(map)
}

fn batches(module: &mut Module, current: &Rc<Current>) {
    let host = current.clone();
    def(
        module,
        "batch(statements: array) -> map",
        "Runs [[sql, values], …] in one transaction: #{ ok, error, message, changed }.",
        move |items: Array| batch(&host, &items, &Map::new()),
    );
    let host = current.clone();
    def(
        module,
        "batch(statements: array, options: map) -> map",
        "The same; options: op, timeout.",
        move |items: Array, options: Map| batch(&host, &items, &options),
    );
    let host = current.clone();
    def(
        module,
        "dialect() -> string",
        "Which SQL the database speaks: \"sqlite\" or \"postgres\".",
        move || -> Called<&'static str> {
            let session = host.session("db::dialect")?;
            Ok(match session.primitives.database.dialect() {
                Dialect::Sqlite => "sqlite",
                Dialect::Postgres => "postgres",
            })
        },
    );
}

fn transactions(module: &mut Module, current: &Rc<Current>) {
    let host = current.clone();
    def(
        module,
        "transaction(body: Fn) -> map",
        "Calls `body` in a transaction: committed when it returns, rolled back when it throws. \
         #{ ok, error, message, value }.",
        move |context: NativeCallContext, body: FnPtr| -> Called<Map> {
            let session = host.session("db::transaction")?;
            transaction(&session, &context, &body)
        },
    );
}

fn transaction(session: &Session, context: &NativeCallContext<'_>, body: &FnPtr) -> Called<Map> {
    let database = &session.primitives.database;
    if let Err(failure) = thrown(session.wait(pin!(database.begin()))?)? {
        return Ok(outcome(Some(&failure)));
    }
    match body.call_within_context::<Dynamic>(context, ()) {
        Ok(value) => {
            let result = thrown(session.wait(pin!(database.commit()))?)?;
            let mut map = outcome(result.as_ref().err());
            map.insert("value".into(), value);
            Ok(map)
        }
        Err(error) => {
            // What the body threw matters more than how the rollback ended. A cancelled fibre cannot
            // wait for it: the host rolls back after the iteration.
            let _ = session.wait(pin!(database.rollback()));
            Err(error)
        }
    }
}
