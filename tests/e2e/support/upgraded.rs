//! A ledger of an earlier version, made by commit 678afa6 through `tests/fixtures/ledger_678afa6/make.py`.

use std::{fs, path::PathBuf};

use serde_json::Value;

use super::test_ledger::TestLedger;

fn fixture(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/ledger_678afa6").join(file)
}

/// Puts the old ledger into a database. Returns what the old binary said of it.
pub(crate) fn old_ledger(ledger: &TestLedger) -> Value {
    let kind = match ledger {
        TestLedger::Sqlite(_) => "sqlite",
        TestLedger::Postgres(_) => "postgres",
    };
    ledger.run_file(&fixture(&format!("{kind}.sql")));
    serde_json::from_str(&fs::read_to_string(fixture(&format!("{kind}.json"))).unwrap()).unwrap()
}
