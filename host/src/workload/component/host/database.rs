//! The database as a guest sees it: grants, translation, one primitive each.

use super::{GuestState, Misuse, duration, json, no_world, stay};
use crate::{
    plan::DatabaseGrant,
    primitive::database::{Dialect, Statement, Value},
    workload::component::bindings::workload::wavetank::workload::{
        database as wit_database, types::Error,
    },
};

pub(super) fn value(value: wit_database::Value) -> Result<Value, Misuse> {
    Ok(match value {
        wit_database::Value::Null => Value::Null,
        wit_database::Value::Boolean(value) => Value::Bool(value),
        wit_database::Value::Integer(value) => Value::Integer(value),
        wit_database::Value::Float(value) => Value::Float(value),
        wit_database::Value::Text(value) => Value::Text(value),
        wit_database::Value::Bytes(value) => Value::Bytes(value),
        wit_database::Value::Json(value) => Value::Json(json(&value)?),
        wit_database::Value::Timestamp(value) => Value::Timestamp(value),
    })
}

fn shown(value: Value) -> wit_database::Value {
    match value {
        Value::Null => wit_database::Value::Null,
        Value::Bool(value) => wit_database::Value::Boolean(value),
        Value::Integer(value) => wit_database::Value::Integer(value),
        Value::Float(value) => wit_database::Value::Float(value),
        Value::Text(value) => wit_database::Value::Text(value),
        Value::Bytes(value) => wit_database::Value::Bytes(value),
        Value::Json(value) => wit_database::Value::Json(value.to_string()),
        Value::Timestamp(value) => wit_database::Value::Timestamp(value),
    }
}

fn statement(statement: wit_database::Statement) -> Result<Statement, Misuse> {
    Ok(Statement {
        sql: statement.sql,
        values: statement.values.into_iter().map(value).collect::<Result<_, _>>()?,
        op: statement.op,
        timeout: duration(statement.timeout),
    })
}

impl wit_database::Host for GuestState {
    fn speaks(&mut self) -> wit_database::Dialect {
        let dialect = self.world().map(|world| world.primitives.database.dialect());
        match dialect {
            Ok(Dialect::Postgres) => wit_database::Dialect::Postgres,
            _ => wit_database::Dialect::Sqlite,
        }
    }

    fn query(
        &mut self,
        asked: wit_database::Statement,
    ) -> impl Future<Output = Result<wit_database::Rows, Error>> + Send {
        let world = self.world();
        stay(async move {
            let world = world.map_err(no_world)?;
            let granted = world.grants.database(DatabaseGrant::Read);
            let rows = match granted.and_then(|()| statement(asked)) {
                Ok(statement) => world.primitives.database.query(statement).await,
                Err(misuse) => Err(misuse),
            };
            world.answer(rows).map(|rows| wit_database::Rows {
                columns: rows.columns.to_vec(),
                rows: rows
                    .rows
                    .into_iter()
                    .map(|row| row.into_iter().map(shown).collect())
                    .collect(),
            })
        })
    }

    fn execute(
        &mut self,
        asked: wit_database::Statement,
    ) -> impl Future<Output = Result<u64, Error>> + Send {
        let world = self.world();
        stay(async move {
            let world = world.map_err(no_world)?;
            let granted = world.grants.database(DatabaseGrant::Write);
            let changed = match granted.and_then(|()| statement(asked)) {
                Ok(statement) => world.primitives.database.execute(statement).await,
                Err(misuse) => Err(misuse),
            };
            world.answer(changed)
        })
    }

    fn batch(
        &mut self,
        asked: Vec<wit_database::Statement>,
    ) -> impl Future<Output = Result<Vec<u64>, Error>> + Send {
        let world = self.world();
        stay(async move {
            let world = world.map_err(no_world)?;
            let granted = world
                .grants
                .database(DatabaseGrant::Write)
                .and_then(|()| world.batch(asked.len()))
                .and_then(|()| asked.into_iter().map(statement).collect::<Result<Vec<_>, _>>());
            let changed = match granted {
                Ok(statements) => world.primitives.database.batch(statements).await,
                Err(misuse) => Err(misuse),
            };
            world.answer(changed)
        })
    }

    fn begin(&mut self) -> impl Future<Output = Result<(), Error>> + Send {
        let world = self.world();
        stay(async move {
            let world = world.map_err(no_world)?;
            let begun = match world.grants.database(DatabaseGrant::Read) {
                Ok(()) => world.primitives.database.begin().await,
                Err(misuse) => Err(misuse),
            };
            world.answer(begun)
        })
    }

    fn commit(&mut self) -> impl Future<Output = Result<(), Error>> + Send {
        let world = self.world();
        stay(async move {
            let world = world.map_err(no_world)?;
            world.answer(world.primitives.database.commit().await)
        })
    }

    fn rollback(&mut self) -> impl Future<Output = Result<(), Error>> + Send {
        let world = self.world();
        stay(async move {
            let world = world.map_err(no_world)?;
            world.answer(world.primitives.database.rollback().await)
        })
    }
}
