//! SQL for both databases. Statements are written once, with `{uuid}` for the type of a UUID, `{nil}` for the nil UUID,
//! `{bytes}` for the type of bytes, and `{without_rowid}` where SQLite should store a table in the order of its key.
//! Each statement runs on its own.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

/// Runs statements in order, in the dialect of the current database.
pub(crate) async fn run(manager: &SchemaManager<'_>, statements: &[&str]) -> Result<(), DbErr> {
    let spelled = match manager.get_database_backend() {
        DbBackend::Postgres => ["UUID", "UUID '00000000-0000-0000-0000-000000000000'", "BYTEA", ""],
        _ => ["BLOB", "X'00000000000000000000000000000000'", "BLOB", "WITHOUT ROWID"],
    };
    for statement in statements {
        let names = ["{uuid}", "{nil}", "{bytes}", "{without_rowid}"];
        let sql = names.iter().zip(spelled).fold((*statement).to_owned(), |sql, (name, as_)| sql.replace(name, as_));
        manager.get_connection().execute_unprepared(&sql).await?;
    }
    Ok(())
}

/// Makes a table refuse UPDATE and DELETE (and TRUNCATE, in PostgreSQL).
pub(crate) async fn append_only(manager: &SchemaManager<'_>, table: &str) -> Result<(), DbErr> {
    let connection = manager.get_connection();
    if manager.get_database_backend() == DbBackend::Postgres {
        let function = format!(
            "CREATE FUNCTION {table}_is_append_only() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN RAISE EXCEPTION '{table} is append-only'; END $$"
        );
        connection.execute_unprepared(&function).await?;
        let trigger = format!(
            "CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} \
             FOR EACH STATEMENT EXECUTE FUNCTION {table}_is_append_only()"
        );
        connection.execute_unprepared(&trigger).await?;
        return Ok(());
    }
    for verb in ["UPDATE", "DELETE"] {
        let trigger = format!(
            "CREATE TRIGGER {table}_no_{verb} BEFORE {verb} ON {table} \
             BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        );
        connection.execute_unprepared(&trigger).await?;
    }
    Ok(())
}

/// Undoes [`append_only`], for a migration that changes existing rows.
pub(crate) async fn changeable(manager: &SchemaManager<'_>, table: &str) -> Result<(), DbErr> {
    let statements = match manager.get_database_backend() {
        DbBackend::Postgres => {
            [format!("DROP TRIGGER {table}_append_only ON {table}"), format!("DROP FUNCTION {table}_is_append_only()")]
        }
        _ => [format!("DROP TRIGGER {table}_no_UPDATE"), format!("DROP TRIGGER {table}_no_DELETE")],
    };
    for statement in statements {
        manager.get_connection().execute_unprepared(&statement).await?;
    }
    Ok(())
}
