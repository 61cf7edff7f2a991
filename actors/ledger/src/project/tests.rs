mod history;
mod resources;

use billing::{
    Nanos,
    account::Header,
    entry::{Line, LineKind},
    plan::Plan,
};
use proptest::prelude::*;

use self::history::{BEGIN, EXISTING, account_id, step, transitions};
use super::*;
use crate::{log::chain, tests::new_ledger};

const GENESIS: Head = Head { seq: 0, hash: [7; 32] };

/// Transitions as rows of a log after the genesis, with so many in each.
fn logged(transitions: Vec<Transition>, sizes: &[usize]) -> Vec<Logged> {
    let mut left = transitions.into_iter().peekable();
    let mut sizes = sizes.iter().cycle();
    let (mut head, mut rows) = (GENESIS, Vec::new());
    while left.peek().is_some() {
        let transitions: Vec<_> = left.by_ref().take(*sizes.next().unwrap()).collect();
        let at = transitions[0].at;
        let row = chain::next(Shard::FIRST, head, 3, at, Vec::new());
        head = row.head();
        rows.push(Logged::new(&row, transitions, None));
    }
    rows
}

/// A ledger with the accounts that histories begin with.
async fn with_accounts() -> (Ledger, tempfile::TempDir) {
    let (ledger, folder) = new_ledger().await;
    for number in 0..EXISTING {
        let (id, email) = (account_id(number), format!("{number}@example.com"));
        let sql = "INSERT INTO account (id, email, plan, created_at, clock) VALUES (?, ?, 'payg', ?, ?)";
        let values = [id.0.into(), email.into(), BEGIN.0.into(), BEGIN.0.into()];
        ledger.tables.execute_raw(ledger.statement(sql, values)).await.unwrap();
    }
    // These tests make their own log.
    ledger.tables.execute_raw(ledger.statement("DELETE FROM projection", [])).await.unwrap();
    ledger.begin_place(Shard::FIRST, GENESIS).await.unwrap();
    (ledger, folder)
}

/// All rows of all tables, except those that differ between ledgers anyway.
async fn dump(ledger: &Ledger) -> Vec<String> {
    let sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT IN ('seaql_migrations', 'shard_lease') ORDER BY 1";
    let mut dump = Vec::new();
    for table in ledger.rows(sql, []).await.unwrap() {
        let table: String = table.try_get_by_index(0).unwrap();
        let sql =
            "SELECT group_concat('''' || name || '=''||quote(' || name || ')', '||'' ''||') FROM pragma_table_info(?)";
        let row = ledger.row(sql, [table.as_str().into()]).await.unwrap().unwrap();
        let columns: String = row.try_get_by_index(0).unwrap();
        for row in ledger.rows(&format!("SELECT {columns} FROM {table} ORDER BY 1"), []).await.unwrap() {
            dump.push(format!("{table}: {}", row.try_get_by_index::<String>(0).unwrap()));
        }
    }
    dump
}

/// The tables after calls of so many rows of the log.
async fn projected(rows: &[Logged], calls: &[usize]) -> Vec<String> {
    let (ledger, _folder) = with_accounts().await;
    let (mut left, mut sizes) = (rows, calls.iter().cycle());
    while !left.is_empty() {
        let (call, rest) = left.split_at(left.len().min(*sizes.next().unwrap()));
        assert_eq!(ledger.project(call).await.unwrap(), []);
        assert_eq!(ledger.place(Shard::FIRST).await.unwrap().unwrap().hash, call.last().unwrap().hash);
        left = rest;
    }
    dump(&ledger).await
}

/// Rows that only one of two dumps has.
fn differing(one: &[String], other: &[String]) -> Vec<String> {
    let only = |these: &[String], those: &[String], name| {
        let those: HashSet<_> = those.iter().collect();
        these.iter().filter(|row| !those.contains(row)).map(|row| format!("{name}: {row}")).collect::<Vec<_>>()
    };
    [only(one, other, "one by one"), only(other, one, "in calls")].concat()
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 20, ..ProptestConfig::with_cases(8) })]
    #[test]
    fn the_tables_are_the_same_however_rows_are_split_into_calls(
        steps in proptest::collection::vec(step(), 20..250),
        sizes in proptest::collection::vec(1..9_usize, 1..5),
        calls in proptest::collection::vec(1..12_usize, 1..5),
    ) {
        let rows = logged(transitions(&steps), &sizes);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let one_by_one = projected(&rows, &[1]).await;
            for calls in [calls, vec![rows.len()]] {
                let differing = differing(&one_by_one, &projected(&rows, &calls).await);
                prop_assert!(differing.is_empty(), "calls of {calls:?}: {differing:#?}");
            }
            Ok(())
        })?;
    }
}

/// A transition with a line of this amount.
fn with_line(account: u128, seq: u64, funded: i64) -> Transition {
    let line = Line { funded: Nanos::new(funded), ..Line::new(LineKind::DebtRepaid) };
    let header = Header { seq, ..Header::new(Plan::Payg, BEGIN) };
    Transition { lines: vec![line], ..Transition::unchanged(account_id(account), seq, BEGIN, header) }
}

async fn seq_of(ledger: &Ledger, account: u128) -> u64 {
    ledger.load_account(account_id(account), BEGIN).await.unwrap().unwrap().header.seq
}

#[tokio::test]
async fn rows_that_were_projected_are_not_projected_again() {
    let (ledger, _folder) = with_accounts().await;
    let rows = logged((1..=4).map(|seq| with_line(0, seq, 0)).collect(), &[1]);
    ledger.project(&rows[..3]).await.unwrap();
    let before = dump(&ledger).await;
    for again in [&rows[..3], &rows[..2], &rows[2..3], &rows[1..]] {
        let refused = ledger.project(again).await;
        assert!(matches!(refused, Err(LedgerError::Fenced)), "{refused:?}");
    }
    assert_eq!(dump(&ledger).await, before);
    assert_eq!(ledger.project(&[]).await.unwrap(), []);
    ledger.project(&rows[3..]).await.unwrap();
    assert_eq!(seq_of(&ledger, 0).await, 4);
}

#[tokio::test]
async fn rows_of_another_place_change_nothing_and_both_places_are_named() {
    let (ledger, _folder) = with_accounts().await;
    let rows = logged((1..=3).map(|seq| with_line(0, seq, 0)).collect(), &[1]);
    let before = dump(&ledger).await;
    let corrupt = async |rows: &[Logged]| match ledger.project(rows).await {
        Err(LedgerError::Corrupt(why)) => why,
        other => panic!("{other:?}"),
    };
    let [mut changed, mut other] = [rows[0].clone(), rows[0].clone()];
    changed.prev_hash[0] = 8;
    other.shard = Shard(1);
    let why = corrupt(&[changed]).await;
    assert_eq!(why, "the tables are at the log's row 0 (07070707), not at row 0 (08070707)");
    let why = corrupt(&rows[1..]).await;
    assert!(why.starts_with("the tables are at the log's row 0 (07070707), not at row 1 ("), "{why}");
    assert_eq!(corrupt(&[other]).await, "the tables of shard 1 have no place in the log");
    let gap = [rows[0].clone(), rows[2].clone()];
    assert_eq!(corrupt(&gap).await, "the log's row 3 does not follow row 1");
    assert_eq!(dump(&ledger).await, before);
    assert_eq!(ledger.place(Shard::FIRST).await.unwrap(), Some(GENESIS));
}

#[tokio::test]
async fn the_first_place_is_stored_once() {
    let (ledger, _folder) = new_ledger().await;
    ledger.tables.execute_raw(ledger.statement("DELETE FROM projection", [])).await.unwrap();
    assert_eq!(ledger.place(Shard::FIRST).await.unwrap(), None);
    for _ in 0..2 {
        ledger.begin_place(Shard::FIRST, GENESIS).await.unwrap();
        assert_eq!(ledger.place(Shard::FIRST).await.unwrap(), Some(GENESIS));
    }
    let other = ledger.begin_place(Shard::FIRST, Head { hash: [8; 32], ..GENESIS }).await;
    assert!(matches!(other, Err(LedgerError::Corrupt(_))), "{other:?}");
}

#[tokio::test]
async fn an_account_whose_row_is_refused_stops_alone() {
    let bad = [
        ("money that comes from nowhere", vec![with_line(1, 1, 0), with_line(1, 2, 5)]),
        ("a line that is there already", vec![with_line(1, 1, 0), with_line(1, 1, 0)]),
        ("an account that is not there", vec![with_line(9, 1, 0)]),
    ];
    for (what, transitions) in bad {
        let (ledger, _folder) = with_accounts().await;
        let who = transitions[0].account_id;
        let part = transitions.len();
        let mut all = vec![with_line(0, 1, 0)];
        all.extend(transitions);
        all.extend([with_line(0, 2, 0), Transition { account_id: who, ..with_line(1, 3, 0) }, with_line(0, 3, 0)]);
        let rows = logged(all, &[1]);
        let (first, later) = rows.split_at(part + 2);
        let stopped = ledger.project(first).await.unwrap();
        assert_eq!(stopped.iter().map(|it| it.account_id).collect::<Vec<_>>(), [who], "{what}");
        assert_eq!(seq_of(&ledger, 0).await, 2, "{what}: others go on");
        // Its later transitions would be fine, and are skipped.
        assert_eq!(ledger.project(later).await.unwrap(), [], "{what}");
        assert_eq!(seq_of(&ledger, 0).await, 3, "{what}");
        assert_eq!(ledger.place(Shard::FIRST).await.unwrap().unwrap().seq, rows.len() as u64);
        let lines = ledger.row("SELECT COUNT(*) FROM journal WHERE account_id = ?", [who.0.into()]).await;
        assert_eq!(lines.unwrap().unwrap().try_get_by_index::<i64>(0).unwrap(), 0, "{what}: its part is undone");
        let fault = ledger.row("SELECT seq, why FROM projection_fault", []).await.unwrap().unwrap();
        assert_eq!(fault.try_get_by_index::<i64>(0).unwrap(), 2, "{what}: the first row with a transition of it");
        let why: String = fault.try_get_by_index(1).unwrap();
        assert_eq!(why, stopped[0].why);
        match ledger.load_account(who, BEGIN).await {
            Err(LedgerError::Corrupt(named)) => assert!(named.ends_with(&why), "{what}: {named}"),
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn several_accounts_stop_in_one_call() {
    let (ledger, _folder) = with_accounts().await;
    let rows = logged(vec![with_line(0, 1, 5), with_line(1, 1, 5)], &[2]);
    assert_eq!(ledger.project(&rows).await.unwrap().len(), 2);
}

#[tokio::test]
async fn each_row_of_the_log_is_a_batch_of_its_lines() {
    let (ledger, _folder) = with_accounts().await;
    let rows = logged(vec![with_line(0, 1, 0), with_line(1, 1, 0), with_line(0, 2, 0)], &[2, 1]);
    ledger.project(&rows).await.unwrap();
    let sql = "SELECT b.transitions, b.epoch, b.at, COUNT(*) FROM batch b JOIN journal j ON j.batch_id = b.id \
               AND j.epoch = b.epoch GROUP BY b.id ORDER BY b.transitions";
    let found = ledger.rows(sql, []).await.unwrap();
    let found = found.iter().map(|row| (0..4).map(|column| row.try_get_by_index::<i64>(column).unwrap()).collect());
    assert_eq!(found.collect::<Vec<Vec<_>>>(), [[1, 3, BEGIN.0, 1], [2, 3, BEGIN.0, 2]]);
    assert_eq!(rows[0].batch_id().get_version_num(), 8);
}

#[test]
fn rows_that_the_tables_have_are_not_lacking_and_those_of_another_log_are_none() {
    let rows = logged((1..=4).map(|seq| with_line(0, seq, 0)).collect(), &[1]);
    let left = |place: Head| lacking(&rows, place).map(|left| left.iter().map(|row| row.seq).collect::<Vec<_>>());
    let head = |row: &Logged| Head { seq: row.seq, hash: row.hash };
    assert_eq!(left(GENESIS), Some(vec![1, 2, 3, 4]));
    assert_eq!(left(head(&rows[1])), Some(vec![3, 4]));
    assert_eq!(left(head(&rows[3])), Some(vec![]));
    // A later owner projected further rows of the same log.
    assert_eq!(left(Head { seq: 9, hash: [7; 32] }), Some(vec![]));
    assert_eq!(left(Head { seq: 2, hash: [7; 32] }), None);
    assert_eq!(lacking(&rows[2..], GENESIS).map(<[Logged]>::len), None, "a row between is missing");
}
