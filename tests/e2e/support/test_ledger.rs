//! The ledger's tables seen past the gateway, to fill them quickly and to falsify them: SQLite's file or a PostgreSQL
//! database of the test's own.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use super::{
    postgres,
    server::{Database, Options},
    temporary,
};

/// A database that a gateway can be started on.
pub(crate) enum TestLedger {
    /// A file in a folder of its own, removed with this.
    Sqlite(PathBuf),
    /// By its address.
    Postgres(String),
}

impl TestLedger {
    /// A new SQLite file.
    pub(crate) fn sqlite() -> Self {
        let folder = temporary("ledger");
        fs::create_dir_all(&folder).unwrap();
        Self::Sqlite(folder)
    }

    /// A new PostgreSQL database; none where PostgreSQL is not to be had.
    pub(crate) fn postgres() -> Option<Self> {
        postgres::fresh_database().map(Self::Postgres)
    }

    /// The kind that `FAREBOX_TEST_DATABASE` names.
    pub(crate) fn usual() -> Self {
        let postgres = env::var("FAREBOX_TEST_DATABASE").is_ok_and(|name| name == "postgres");
        postgres.then(Self::postgres).flatten().unwrap_or_else(Self::sqlite)
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Sqlite(folder) => format!("sqlite://{}/ledger.db", folder.display()),
            Self::Postgres(url) => url.clone(),
        }
    }

    /// A gateway's options to use it.
    pub(crate) fn options(&self) -> Options {
        Options::default().on(Database::At(self.url()))
    }

    /// A UUID in SQL.
    pub(crate) fn id(&self, id: &str) -> String {
        match self {
            Self::Sqlite(_) => format!("X'{}'", id.replace('-', "")),
            Self::Postgres(_) => format!("UUID '{id}'"),
        }
    }

    /// Runs one statement.
    pub(crate) fn run(&self, sql: &str) {
        self.try_run(sql).unwrap();
    }

    /// Tries one statement, and says why it was refused.
    pub(crate) fn try_run(&self, sql: &str) -> Result<(), String> {
        match self {
            Self::Sqlite(_) => self.connection().execute_batch(sql).map_err(|error| error.to_string()),
            Self::Postgres(url) => postgres::query(url, sql).map(drop),
        }
    }

    /// Runs a file of statements, such as a dump.
    pub(crate) fn run_file(&self, file: &Path) {
        match self {
            Self::Sqlite(_) => self.run(&fs::read_to_string(file).unwrap()),
            Self::Postgres(url) => drop(postgres::run_file(url, file).unwrap()),
        }
    }

    /// The number that a query answers.
    pub(crate) fn number(&self, sql: &str) -> i64 {
        match self {
            Self::Sqlite(_) => self.connection().query_row(sql, [], |row| row.get(0)).unwrap(),
            Self::Postgres(url) => postgres::query(url, sql).unwrap().parse().unwrap(),
        }
    }

    fn connection(&self) -> rusqlite::Connection {
        let Self::Sqlite(folder) = self else { panic!("not a file") };
        let connection = rusqlite::Connection::open(folder.join("ledger.db")).unwrap();
        connection.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
        connection
    }
}

impl Drop for TestLedger {
    fn drop(&mut self) {
        if let Self::Sqlite(folder) = self {
            let _ = fs::remove_dir_all(folder);
        }
    }
}
