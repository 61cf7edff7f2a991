//! The tables, and where their rows come from: from the log, or beside it. Rows of any table are read in the order of its
//! key, as plain values.

use futures::{Stream, TryStreamExt as _};
use sea_orm::{ConnectionTrait, DbBackend, QueryResult, Statement, StreamTrait};
use uuid::Uuid;

use super::{LedgerError, log::body::Field};

/// A table that is made from the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Table {
    /// The table's name.
    pub(super) name: &'static str,
    /// The columns of its key.
    pub(super) key: &'static [&'static str],
    /// Columns that are written beside the log.
    pub(super) beside: &'static [&'static str],
}

const fn table(name: &'static str, key: &'static [&'static str]) -> Table {
    Table { name, key, beside: &[] }
}

/// The tables that are made from the log, each after those that it refers to. Webhooks are last: an event that is imported
/// is not delivered again.
pub(super) const MADE: [Table; 25] = [
    table("account", &["id"]),
    table("api_key", &["id"]),
    table("credit_grant", &["id"]),
    table("batch", &["id"]),
    table("journal", &["account_id", "seq", "line"]),
    table("hold", &["account_id", "request_id"]),
    table("usage_record", &["account_id", "request_id"]),
    table("request_attempt", &["account_id", "request_id", "place"]),
    table("usage_rollup", &["account_id", "span", "starts_at", "model", "provider", "key_id"]),
    table("usage_session", &["account_id", "span", "session", "starts_at", "model", "provider", "key_id"]),
    table("payment", &["id"]),
    table("payment_reversal", &["payment_id", "id"]),
    table("payment_customer", &["account_id", "processor"]),
    table("payment_method", &["id"]),
    table("payment_card", &["payment_id"]),
    table("card_choice", &["account_id", "reference"]),
    table("subscription", &["account_id"]),
    table("auto_purchase", &["account_id"]),
    table("spend_window", &["account_id", "month"]),
    table("account_event", &["account_id", "id"]),
    table("audit_log", &["id"]),
    table("request_proof", &["id"]),
    table("price_version", &["version"]),
    // Who may act for an account. The person is an id: who that is stands beside the log.
    table("membership", &["account_id", "person_id"]),
    // When an endpoint began to fail is known from attempts.
    Table { name: "webhook_endpoint", key: &["id"], beside: &["failing_since"] },
];

/// Tables whose rows are, in part at least, written beside the log. A rebuild takes them along where they are there, and a
/// backup has them. All of them may be lost, those of people at a price: a name, an address and the hash of a password must be
/// forgotten when their person asks for it, which a log that is chained by hashes never does. Where they are lost without a
/// backup, memberships are in the log and nobody knows whose: operators invite people again.
pub(super) const BESIDE: [&str; 16] = [
    "calendar_feed",
    "idempotency_key",
    "kept_item",
    "kept_response",
    "key_maker",
    "letter",
    "operation",
    "trail",
    "notice",
    "notice_choice",
    "person",
    "person_identity",
    "person_link",
    "person_session",
    "webhook_delivery",
    "webhook_event",
];

/// Tables about the ledger itself.
#[cfg(test)]
const ITS_OWN: [&str; 5] = ["node", "projection", "projection_fault", "seaql_migrations", "shard_lease"];

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Int,
    Text,
    Id,
    Bytes,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    of: Type,
}

/// The columns of a table: those of its key first. Those that are written beside the log are left out if `skips` names them.
pub(super) async fn columns(
    connection: &impl ConnectionTrait,
    table: &Table,
    skips: &[&str],
) -> Result<Vec<Column>, LedgerError> {
    let backend = connection.get_database_backend();
    let sql = match backend {
        DbBackend::Postgres => {
            "SELECT CAST(column_name AS TEXT), CAST(data_type AS TEXT) FROM information_schema.columns \
             WHERE table_schema = current_schema() AND table_name = $1 ORDER BY ordinal_position"
        }
        _ => "SELECT name, type FROM pragma_table_info($1) ORDER BY cid",
    };
    let rows = connection.query_all_raw(Statement::from_sql_and_values(backend, sql, [table.name.into()])).await?;
    let mut columns = rows.iter().map(|row| column(row, table)).collect::<Result<Vec<_>, _>>()?;
    columns.retain(|column| !skips.contains(&column.name.as_str()));
    let place = |column: &Column| table.key.iter().position(|key| *key == column.name).unwrap_or(usize::MAX);
    columns.sort_by_key(place);
    Ok(columns)
}

fn column(row: &QueryResult, table: &Table) -> Result<Column, LedgerError> {
    let (name, written): (String, String) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
    let of = match written.to_ascii_lowercase().as_str() {
        "bigint" | "integer" => Type::Int,
        "text" => Type::Text,
        "uuid" => Type::Id,
        "blob" | "bytea" => Type::Bytes,
        other => return Err(LedgerError::Corrupt(format!("the column {name} of {} has the type {other}", table.name))),
    };
    Ok(Column { name, of })
}

/// The rows of a table in the order of its key, after the first `skipped`.
pub(super) async fn rows<'c>(
    connection: &'c impl StreamTrait,
    table: &Table,
    columns: &'c [Column],
    skipped: u64,
) -> Result<impl Stream<Item = Result<Vec<Field>, LedgerError>> + Send + 'c, LedgerError> {
    let backend = connection.get_database_backend();
    let names = columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ");
    // Texts are compared by their bytes, as they are in SQLite and here.
    let by = |column: &Column| match (backend, column.of) {
        (DbBackend::Postgres, Type::Text) => format!("{} COLLATE \"C\"", column.name),
        _ => column.name.clone(),
    };
    let order = columns.iter().take(table.key.len()).map(by).collect::<Vec<_>>().join(", ");
    let limit = if backend == DbBackend::Postgres { "" } else { "LIMIT -1 " };
    let sql = format!("SELECT {names} FROM {} ORDER BY {order} {limit}OFFSET {skipped}", table.name);
    let stream = connection.stream_raw(Statement::from_string(backend, sql)).await?;
    Ok(stream.map_err(LedgerError::from).and_then(move |row| std::future::ready(fields(&row, columns))))
}

fn fields(row: &QueryResult, columns: &[Column]) -> Result<Vec<Field>, LedgerError> {
    let field = |(index, column): (usize, &Column)| {
        Ok(match column.of {
            Type::Int => row.try_get_by_index::<Option<i64>>(index)?.map_or(Field::Null, Field::Int),
            Type::Text => row.try_get_by_index::<Option<String>>(index)?.map_or(Field::Null, Field::Text),
            Type::Id => row.try_get_by_index::<Option<Uuid>>(index)?.map_or(Field::Null, Field::Id),
            Type::Bytes => row.try_get_by_index::<Option<Vec<u8>>>(index)?.map_or(Field::Null, bytes),
        })
    };
    columns.iter().enumerate().map(field).collect()
}

/// Bytes, which are an id if they are as many: SQLite has no type for ids.
fn bytes(bytes: Vec<u8>) -> Field {
    Uuid::from_slice(&bytes).map_or(Field::Bytes(bytes), Field::Id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::new_ledger;

    /// Whoever adds a table says where its rows come from.
    #[tokio::test]
    async fn of_each_table_it_is_known_where_its_rows_come_from() {
        let (ledger, _folder) = new_ledger().await;
        let sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY 1";
        let found = ledger.rows(sql, []).await.unwrap();
        let found: Vec<String> = found.iter().map(|row| row.try_get_by_index(0).unwrap()).collect();
        let made = MADE.iter().map(|table| table.name);
        let mut known: Vec<&str> = made.chain(BESIDE).chain(ITS_OWN).collect();
        known.sort_unstable();
        assert_eq!(found, known);
        for table in &MADE {
            let columns = columns(ledger.tables.connections(), table, &[]).await.unwrap();
            let key: Vec<_> = columns.iter().take(table.key.len()).map(|column| column.name.as_str()).collect();
            assert_eq!(key, table.key, "{}", table.name);
        }
    }
}
