//! One account for each email address, in any spelling. Existing addresses are rewritten in today's form (trimmed,
//! NFKC, lower case). Of existing accounts with the same address only one gets that form: the others keep working, are
//! marked as twins, and are reported to the operator.

use sea_orm_migration::{
    prelude::*,
    sea_orm::{DbBackend, Statement, Value},
};
use unicode_normalization::UnicodeNormalization;

use crate::dialect;

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

/// Rows read at once.
const PAGE: i64 = 1_000;

const STATEMENTS: &[&str] =
    &["ALTER TABLE account ADD COLUMN twin BIGINT NOT NULL DEFAULT 0 CHECK (twin = 0 OR twin = 1)"];

const UNIQUE: &str = "CREATE UNIQUE INDEX account_address ON account (lower(email)) WHERE twin = 0";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, STATEMENTS).await?;
        respell(manager).await?;
        dialect::run(manager, &[UNIQUE]).await
    }
}

/// Rewrites every address, oldest accounts first, in pages.
async fn respell(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let (connection, backend) = (manager.get_connection(), manager.get_database_backend());
    let statement =
        |sql: &str, values: Vec<Value>| Statement::from_sql_and_values(backend, spelled(backend, sql), values);
    // Older accounts have smaller ids, because ids begin with the time.
    let mut after = match backend {
        DbBackend::Postgres => "00000000-0000-0000-0000-000000000000".to_owned(),
        _ => String::new(),
    };
    loop {
        let next = "SELECT {text} AS id, email FROM account WHERE id > {1} ORDER BY account.id LIMIT {2}";
        let rows = connection.query_all_raw(statement(next, vec![after.as_str().into(), PAGE.into()])).await?;
        for row in &rows {
            let (id, email): (String, String) = (row.try_get("", "id")?, row.try_get("", "email")?);
            after.clone_from(&id);
            let small = small(&email);
            if small == email {
                continue;
            }
            let values = vec![id.as_str().into(), small.as_str().into()];
            let taken = statement("SELECT email FROM account WHERE id <> {1} AND email = {2}", values);
            let change = match connection.query_one_raw(taken).await? {
                None => statement("UPDATE account SET email = {2} WHERE id = {1}", vec![id.into(), small.into()]),
                Some(_) => statement("UPDATE account SET twin = 1 WHERE id = {1}", vec![id.into()]),
            };
            connection.execute_raw(change).await?;
        }
        if rows.is_empty() {
            return Ok(());
        }
    }
}

/// A statement in the database's dialect: `{text}` is an id as text, `{1}` an id from text, `{2}` the second value.
fn spelled(backend: DbBackend, sql: &str) -> String {
    let [text, first, second] = match backend {
        DbBackend::Postgres => ["CAST(account.id AS TEXT)", "CAST($1 AS UUID)", "$2"],
        _ => ["hex(account.id)", "unhex(?1)", "?2"],
    };
    sql.replace("{text}", text).replace("{1}", first).replace("{2}", second)
}

fn small(email: &str) -> String {
    email.trim().nfkc().collect::<String>().to_lowercase().nfkc().collect()
}
