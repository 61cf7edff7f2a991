//! The tables of a ledger from before there was a log, made a part of its log: after the genesis come all their rows, in
//! the order of [`MADE`]. So the tables can be made again from the log, as those of any other ledger. A process that dies
//! meanwhile leaves a log that the next one goes on with: the tables don't change before they have a place in the log.

use std::collections::HashMap;

use futures::TryStreamExt as _;
use migrations::Migrator;
use sea_orm_migration::MigratorTrait as _;

use super::{
    Ledger, LedgerError, catch_up,
    log::{
        Head, Shard,
        body::{self, Began, Body, Field, Genesis, Imported},
        chain,
        store::Log,
    },
    rows::Cell,
    tables::{self, MADE},
    transaction::Transaction,
};

/// Rows of a table in one row of the log.
const TOGETHER: usize = 1_000;
/// Rows of a table in one statement.
const IN_STATEMENT: usize = 32;
/// Rows of the log that are read at once.
const PAGE: usize = 64;

/// How far an import is.
struct Import {
    head: Head,
    /// The rows of each table that the log has.
    done: HashMap<String, u64>,
    is_whole: bool,
}

/// The number of migrations that tables of this program have.
pub(super) fn schema() -> u32 {
    u32::try_from(Migrator::migrations().len()).unwrap_or(u32::MAX)
}

impl Ledger {
    /// Brings the rows of all tables into a log that has its genesis, and perhaps some of them. Returns the log's end.
    pub(super) async fn import(
        &self,
        log: &Log,
        shard: Shard,
        epoch: i64,
        genesis: &Genesis,
    ) -> Result<Head, LedgerError> {
        if genesis.schema != schema() {
            return Err(LedgerError::Unusable(format!(
                "another version of this program began to bring these tables into a log: finish with that version, or remove \
                 the log, which has nothing else (the tables had {} migrations, and have {})",
                genesis.schema,
                schema()
            )));
        }
        let mut import = begun(log, shard).await?;
        if import.is_whole {
            return Ok(import.head);
        }
        tracing::info!("this ledger is from before there was a log: its tables are brought into one");
        let mut count = 0;
        for table in &MADE {
            let connection = self.tables.connections();
            let columns = tables::columns(connection, table, &[]).await?;
            let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
            let known = import.done.get(table.name).copied().unwrap_or_default();
            let mut rows = std::pin::pin!(tables::rows(connection, table, &columns, known).await?);
            loop {
                let mut some = Vec::new();
                while some.len() < TOGETHER
                    && let Some(row) = rows.try_next().await?
                {
                    some.push(row);
                }
                if some.is_empty() {
                    break;
                }
                count += some.len();
                let (table, columns) = (table.name.to_owned(), names.clone());
                let imported = Imported { table, columns, rows: some, is_last: false };
                append(log, shard, epoch, &mut import.head, &imported).await?;
            }
        }
        let last = Imported { table: String::new(), columns: Vec::new(), rows: Vec::new(), is_last: true };
        append(log, shard, epoch, &mut import.head, &last).await?;
        tracing::info!(rows = count, "the tables are in the log");
        Ok(import.head)
    }

    /// Writes imported rows to tables that lack them.
    pub(super) async fn write_imported(&self, tx: &mut Transaction, imported: &Imported) -> Result<(), LedgerError> {
        let Imported { table, columns, rows, .. } = imported;
        if rows.is_empty() {
            return Ok(());
        }
        let is_name = |name: &String| name.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_'));
        if MADE.iter().all(|known| known.name != table) || !columns.iter().all(is_name) {
            return Err(LedgerError::Unusable(format!("the log has rows of an unknown table {table}")));
        }
        for some in rows.chunks(IN_STATEMENT) {
            let (sql, values) = insertion(table, columns, some);
            tx.execute(&sql, values).await?;
        }
        Ok(())
    }
}

async fn append(log: &Log, shard: Shard, epoch: i64, head: &mut Head, imported: &Imported) -> Result<(), LedgerError> {
    let row = chain::next(shard, *head, epoch, catch_up::now(), body::encode_imported(imported));
    log.append(&row).await?;
    *head = row.head();
    Ok(())
}

/// The statement that inserts rows. NULLs are written out, because a bound one would need the column's type.
fn insertion<'a>(table: &str, columns: &[String], rows: &'a [Vec<Field>]) -> (String, Vec<Cell<'a>>) {
    let mark = |field: &Field| if *field == Field::Null { "NULL" } else { "?" };
    let row = |row: &Vec<Field>| format!("({})", row.iter().map(mark).collect::<Vec<_>>().join(", "));
    let marks = rows.iter().map(row).collect::<Vec<_>>().join(", ");
    let sql = format!("INSERT INTO {table} ({}) VALUES {marks}", columns.join(", "));
    let values = rows
        .iter()
        .flatten()
        .filter_map(|field| match field {
            Field::Null => None,
            Field::Int(number) => Some((*number).into()),
            Field::Text(text) => Some(text.as_str().into()),
            Field::Id(id) => Some((*id).into()),
            Field::Bytes(bytes) => Some(bytes.as_slice().into()),
        })
        .collect();
    (sql, values)
}

/// How far an import is that a process before this one began.
async fn begun(log: &Log, shard: Shard) -> Result<Import, LedgerError> {
    let missing = || LedgerError::Unusable("the log has no genesis".into());
    let first = log.reader().row(shard, 0).await?.ok_or_else(missing)?;
    chain::check(&first)?;
    let mut import = Import { head: first.head(), done: HashMap::new(), is_whole: false };
    loop {
        let rows = log.reader().read(shard, import.head.seq, PAGE).await?;
        if rows.is_empty() {
            return Ok(import);
        }
        for row in rows {
            let head = chain::follow(import.head, &row)?;
            match body::decode(&row.body) {
                Ok(Body::Imported(imported)) if !import.is_whole => {
                    *import.done.entry(imported.table).or_default() += imported.rows.len() as u64;
                    import.is_whole = imported.is_last;
                    import.head = head;
                }
                // The tables lost their place, and are as they were imported.
                Ok(_) if import.is_whole => return Ok(import),
                _ => {
                    return Err(LedgerError::Unusable(format!(
                        "there is a log of {} rows, and the tables were not made from it: bring the tables of this log back, \
                         or move these away and run `farebox rebuild --replace`",
                        row.seq
                    )));
                }
            }
        }
    }
}

/// What a log begins after.
///
/// # Errors
///
/// The row is not a genesis.
pub(super) fn genesis_of(row: &super::log::Row) -> Result<Genesis, LedgerError> {
    match body::decode(&row.body) {
        Ok(Body::Genesis(genesis)) => Ok(genesis),
        Ok(_) => Err(LedgerError::Unusable(format!("row {} of the log is no genesis", row.seq))),
        Err(error) => Err(LedgerError::Unusable(format!("row {} of the log {error}", row.seq))),
    }
}

/// Whether a log begins with the rows of tables from before it.
pub(super) fn is_imported(genesis: &Genesis) -> bool {
    genesis.began == Began::AfterTables
}
