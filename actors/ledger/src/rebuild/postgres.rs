//! PostgreSQL's tables, made again in a schema of their own.

use std::path::Path;

use sea_orm::{ConnectionTrait, DbBackend, Statement, TransactionTrait};

use super::{Rebuilt, Source, Then, compare::compare, stopped_text};
use crate::{
    Ledger, LedgerError, Opening,
    log::Shard,
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
    let connections = there.read.connections();
    let execute = async |sql: &str| connections.execute_raw(Statement::from_string(DbBackend::Postgres, sql)).await;
    // What an earlier call left.
    execute(&format!("DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")).await?;
    execute(&format!("CREATE SCHEMA {SCHEMA}")).await?;
    let done = async {
        let moment = connections
            .begin_with_config(Some(sea_orm::IsolationLevel::RepeatableRead), Some(sea_orm::AccessMode::ReadOnly))
            .await?;
        let place = moment.query_one_raw(there.statement("SELECT seq FROM projection WHERE shard = 0", [])).await?;
        let place: i64 = place.map_or(Ok(0), |row| row.try_get_by_index(0))?;
        let made = Ledger::connect_in_schema(url, IN_SCHEMA).await?;
        let (head, stopped) =
            made.make_from(Source::new(log, archive)?, Shard::ONLY, Some(place.unsigned_abs())).await?;
        let (rows, differences) = compare(&moment, made.tables.connections()).await?;
        moment.rollback().await?;
        if then == Then::Replace {
            replace(&there).await?;
        }
        Ok(Rebuilt {
            place: head.seq,
            rows,
            differences,
            is_compared: true,
            is_replaced: then == Then::Replace,
            stopped: stopped_text(&stopped),
        })
    };
    let done: Result<Rebuilt, LedgerError> = done.await;
    execute(&format!("DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")).await?;
    if then == Then::Replace {
        there.close().await?;
    }
    done
}

/// Puts the rows that were made in the place of those that there are, in one transaction.
async fn replace(there: &Ledger) -> Result<(), LedgerError> {
    let tx = there.tables.begin().await?;
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
