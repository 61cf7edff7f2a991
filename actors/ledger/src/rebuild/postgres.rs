//! PostgreSQL's tables, made again in a schema of their own.

use std::{collections::BTreeMap, path::Path};

use sea_orm::{ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement};

use super::{Rebuilt, Then, compare::compare, places_of};
use crate::{
    Ledger, LedgerError, Opening,
    connections::{Access, options},
    log::{Head, Shard},
    project::place_of_shard,
    tables::{self, MADE},
};

/// The schema.
const SCHEMA: &str = "farebox_rebuilt";
/// Connections that see the schema's tables.
pub(crate) const IN_SCHEMA: &[(&str, &str)] = &[("search_path", SCHEMA)];

pub(super) async fn rebuild(url: &str, then: Then, archive: Option<&Path>) -> Result<Rebuilt, LedgerError> {
    let there = match then {
        Then::Discard => Ledger::for_reading(url).await?,
        Then::Replace => Ledger::open(url, &Opening::default()).await?,
    };
    let log = there.logged.clone().ok_or_else(|| LedgerError::NoLedger("the ledger has no log".into()))?;
    let turn = Database::connect(options(url, &Access::Read, 1, &[])).await?;
    take_turn(&turn).await?;
    let connections = there.read.connections();
    let execute = async |sql: &str| connections.execute_raw(Statement::from_string(DbBackend::Postgres, sql)).await;
    // What an earlier call left.
    execute(&format!("DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")).await?;
    execute(&format!("CREATE SCHEMA {SCHEMA}")).await?;
    let done = async {
        let moment = there.snapshot().await?;
        let places = places_of(&there, &moment).await?;
        let made = Ledger { shards: there.shards, ..Ledger::connect_in_schema(url, IN_SCHEMA).await? };
        let (places, stopped) = made.make_from(&log, archive, &places).await?;
        let (rows, differences) = compare(&moment, made.tables.connections()).await?;
        moment.rollback().await?;
        if then == Then::Replace {
            replace(&there, &places).await?;
        }
        let is_replaced = then == Then::Replace;
        Ok(Rebuilt { differences, is_compared: true, is_replaced, ..Rebuilt::new(&places, rows, &stopped) })
    };
    let done: Result<Rebuilt, LedgerError> = done.await;
    execute(&format!("DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")).await?;
    turn.close().await?;
    if then == Then::Replace {
        there.close().await?;
    }
    done
}

/// Puts the rows that were made in the place of those that there are, in one transaction.
async fn replace(there: &Ledger, made: &BTreeMap<Shard, Head>) -> Result<(), LedgerError> {
    let tx = there.tables.begin().await?;
    // Nobody else may have made or dropped those tables meanwhile.
    let sql = format!("SELECT seq, hash, shard FROM {SCHEMA}.projection");
    let found = tx.query_all_raw(Statement::from_string(DbBackend::Postgres, sql)).await?;
    if found.iter().map(place_of_shard).collect::<Result<BTreeMap<_, _>, _>>()? != *made {
        return Err(LedgerError::Corrupt("the tables that were made are not there any more".into()));
    }
    let execute = async |sql: String| tx.execute_raw(Statement::from_string(DbBackend::Postgres, sql)).await;
    let names = MADE.iter().map(|table| table.name).collect::<Vec<_>>().join(", ");
    // Events are not delivered again, and facts may be removed here alone.
    for table in &MADE {
        execute(format!("ALTER TABLE {} DISABLE TRIGGER USER", table.name)).await?;
    }
    execute("CREATE TEMPORARY TABLE failing ON COMMIT DROP AS SELECT id, failing_since FROM webhook_endpoint".into())
        .await?;
    execute(format!("TRUNCATE {names}")).await?;
    for table in &MADE {
        let columns = tables::columns(&tx, table, &[]).await?;
        let columns = columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ");
        let name = table.name;
        execute(format!("INSERT INTO {name} ({columns}) SELECT {columns} FROM {SCHEMA}.{name}")).await?;
    }
    execute("UPDATE webhook_endpoint e SET failing_since = f.failing_since FROM failing f WHERE f.id = e.id".into())
        .await?;
    execute("DELETE FROM projection_fault".into()).await?;
    execute(format!("INSERT INTO projection_fault SELECT * FROM {SCHEMA}.projection_fault")).await?;
    for table in &MADE {
        execute(format!("ALTER TABLE {} ENABLE TRIGGER USER", table.name)).await?;
    }
    tx.commit().await?;
    there.tables.look()
}

/// Waits for nobody: two rebuilds of one ledger would take each other's tables. The turn ends with the connection.
async fn take_turn(connection: &DatabaseConnection) -> Result<(), LedgerError> {
    let sql = "SELECT CASE WHEN pg_try_advisory_lock(hashtext('farebox rebuild')) THEN 1 ELSE 0 END";
    let row = connection.query_one_raw(Statement::from_string(DbBackend::Postgres, sql)).await?;
    match row.map(|row| row.try_get_by_index::<i32>(0)).transpose()? {
        Some(1) => Ok(()),
        _ => Err(LedgerError::Owned("another rebuild of this ledger runs".into())),
    }
}
