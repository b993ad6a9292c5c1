//! What a guest's SQL may do on SQLite: the authorizer of every connection, and its limits.
//!
//! The list is of what is allowed where SQLite offers doors out of the database's file (`ATTACH`,
//! `VACUUM INTO`, extensions, most of `PRAGMA`); tables, indexes, views and triggers are the guest's
//! own business. Transactions belong to the host, temporary tables to nobody: the connection they
//! would live on serves all virtual users.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use rusqlite::{
    Connection,
    config::DbConfig,
    hooks::{AuthAction, AuthContext, Authorization},
    limits::Limit,
};

use crate::plan::Limits;

/// Pragmas that only tell something.
const TELLING: [&str; 18] = [
    "compile_options",
    "data_version",
    "encoding",
    "foreign_key_check",
    "foreign_key_list",
    "freelist_count",
    "function_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "integrity_check",
    "module_list",
    "page_count",
    "page_size",
    "quick_check",
    "table_info",
    "table_list",
    "table_xinfo",
];
/// Pragmas that tell something as long as they are given no value.
const TELLING_WITHOUT_VALUE: [&str; 5] =
    ["application_id", "foreign_keys", "journal_mode", "synchronous", "user_version"];
/// Modules of virtual tables that stay inside the file.
const MODULES: [&str; 5] = ["fts3", "fts4", "fts5", "rtree", "fts5vocab"];
/// Functions that reach out of the database.
const FUNCTIONS: [&str; 2] = ["load_extension", "fts3_tokenizer"];

/// Says when the host itself speaks: `BEGIN`, `COMMIT`, `ROLLBACK`.
#[derive(Clone, Debug, Default)]
pub(super) struct HostSpeaks(Arc<AtomicBool>);

impl HostSpeaks {
    /// Runs one of the host's own statements.
    pub(super) fn execute(&self, connection: &Connection, sql: &str) -> rusqlite::Result<()> {
        self.0.store(true, Ordering::Relaxed);
        let result = connection.prepare_cached(sql).and_then(|mut statement| {
            let mut rows = statement.raw_query();
            while rows.next()?.is_some() {}
            Ok(())
        });
        self.0.store(false, Ordering::Relaxed);
        result
    }
}

/// Closes the doors of a connection.
pub(super) fn close_doors(
    connection: &mut Connection,
    limits: &Limits,
) -> rusqlite::Result<HostSpeaks> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, false)?;
    // A text in double quotes is a column on PostgreSQL; it must not be a string here.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DDL, false)?;
    let length = i32::try_from(limits.hostcall_bytes).unwrap_or(i32::MAX);
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, length)?;
    let source = i32::try_from(limits.source_bytes).unwrap_or(i32::MAX);
    connection.set_limit(Limit::SQLITE_LIMIT_SQL_LENGTH, source)?;
    connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    connection.set_limit(Limit::SQLITE_LIMIT_WORKER_THREADS, 0)?;
    connection.set_limit(Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 100)?;
    let host = HostSpeaks::default();
    let speaks = host.0.clone();
    connection.authorizer(Some(move |context: AuthContext<'_>| {
        if speaks.load(Ordering::Relaxed) || allows(&context.action) {
            Authorization::Allow
        } else {
            Authorization::Deny
        }
    }))?;
    Ok(host)
}

fn allows(action: &AuthAction<'_>) -> bool {
    let among =
        |list: &[&str], name: &str| list.iter().any(|known| known.eq_ignore_ascii_case(name));
    match action {
        AuthAction::Unknown { .. }
        | AuthAction::Attach { .. }
        | AuthAction::Detach { .. }
        | AuthAction::Transaction { .. }
        | AuthAction::Savepoint { .. }
        | AuthAction::CreateTempIndex { .. }
        | AuthAction::CreateTempTable { .. }
        | AuthAction::CreateTempTrigger { .. }
        | AuthAction::CreateTempView { .. } => false,
        AuthAction::Pragma { pragma_name, pragma_value } => {
            among(&TELLING, pragma_name)
                || (pragma_value.is_none() && among(&TELLING_WITHOUT_VALUE, pragma_name))
        }
        AuthAction::CreateVtable { module_name, .. } => among(&MODULES, module_name),
        AuthAction::Function { function_name } => !among(&FUNCTIONS, function_name),
        _ => true,
    }
}
