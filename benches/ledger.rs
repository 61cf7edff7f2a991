//! The ledger alone, on SQLite: how long an account with a long journal takes to open, and how long a sweep of 100,000
//! accounts with expired credits takes. Run with `cargo bench --bench ledger`.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{Actor, Arbiter};
use actors::{account::Enter, accounts::Accounts, admission, sweeper::Sweeper};
use billing::{
    Nanos, Timestamp,
    command::{Admit, Command, Fund},
    entry::Ending,
    grant::Source,
    hold::{HoldRequest, Work},
    ids::{AccountId, GrantId, RequestId},
    key::Names,
    plan::Plan,
    time::DAY_MS,
};
use cards::{Processor, sandbox::Sandbox};
use farebox::app;
use futures::{StreamExt, stream};
use ledger::{Ledger, Opening};
use runtime::{
    clock::Clock,
    exit::ExitGuard,
    health::{Health, Kind, Name},
    supervisor::Supervisor,
};
use uuid::Uuid;

/// The number of requests of the opened account: two journal lines each.
const REQUESTS: usize = 5_000;
/// How often the account is opened.
const OPENINGS: usize = 200;
/// The number of expired grants, one for each account.
const DUE: u128 = 100_000;

fn accounts(ledger: &Arc<Ledger>, clock: &Clock, health: &Health) -> Accounts {
    let chief = Supervisor::new(health).start();
    let (arbiters, processor) = (vec![Arbiter::new().handle()], Processor::Sandbox(Sandbox::default()));
    app::start_money(&chief, arbiters, Arc::clone(ledger), processor, clock.clone(), health.clone()).unwrap().accounts
}

/// One request, from its admission to its charge.
async fn request(accounts: &Accounts, id: AccountId) {
    let request_id = RequestId(Uuid::now_v7());
    let amount = Nanos::new(1_000);
    let admit = Admit {
        request_id,
        key_id: None,
        model: "gpt-4o-mini".into(),
        provider: "openai".into(),
        price_version: 1,
        work: Work::Closed,
        hold: HoldRequest { minimum: amount, expected: amount, worst_case: amount },
        output: None,
        auto_scale: None,
        names: Names::default(),
        session: None,
    };
    let admitted = admission::enter(accounts, id, Enter { admit, max_wait: Duration::ZERO }).await.unwrap();
    admitted.admission.settle(Ending::Failed).await.unwrap();
}

async fn opening(ledger: &Ledger, accounts: &Accounts, id: AccountId, clock: &Clock) {
    // A cycle of its plan: without one, the limit is ten requests a second.
    let begun = clock.now();
    let ends = begun.plus_ms(28 * DAY_MS);
    let fund = Fund {
        grant_id: GrantId(Uuid::now_v7()),
        source: Source::Plan,
        source_key: format!("cycle {}", begun.0),
        amount: Nanos::dollars(10),
        paid: Nanos::ZERO,
        expires_at: Some(ends),
        subscribed_until: Some(ends),
    };
    accounts.decide(id, Command::Fund(fund)).await.unwrap().result.unwrap();
    stream::iter(0..REQUESTS).for_each_concurrent(64, |_| request(accounts, id)).await;
    let mut times = Vec::new();
    for _ in 0..OPENINGS {
        let began = Instant::now();
        assert!(ledger.load_account(id, clock.now()).await.unwrap().is_some());
        times.push(began.elapsed());
    }
    times.sort();
    let lines = ledger.audit().await.unwrap().lines;
    println!(
        "opening an account of {lines} journal lines: median {:?}, p99 {:?}",
        times[OPENINGS / 2],
        times[OPENINGS * 99 / 100]
    );
}

/// Accounts whose one grant expires at `at`, in the state that their own decisions would have left.
fn fill(file: &Path, at: Timestamp) {
    let mut connection = rusqlite::Connection::open(file).unwrap();
    let (made, batch) = (at.0 - 1_000_000, Uuid::now_v7());
    let tx = connection.transaction().unwrap();
    tx.execute(
        "INSERT INTO batch (id, epoch, at, transitions) VALUES (?1, 1, ?2, ?3)",
        (batch.as_bytes(), made, 100_000),
    )
    .unwrap();
    let mut account = tx
        .prepare("INSERT INTO account (id, email, plan, created_at, seq, clock, wake_at) VALUES (?1, ?2, 'payg', ?3, 1, ?3, ?4)")
        .unwrap();
    let mut grant = tx
        .prepare(
            "INSERT INTO credit_grant (id, account_id, source, source_key, paid, created_at, expires_at, funded, available, held, \
             spent, expired, voided, notices) VALUES (?1, ?2, 'promo', 'bench', 0, ?3, ?4, 5, 5, 0, 0, 0, 0, 3)",
        )
        .unwrap();
    let mut line = tx
        .prepare(
            "INSERT INTO journal (account_id, seq, line, at, batch_id, epoch, kind, grant_id, d_funded, d_available, d_held, \
             d_spent, d_expired, d_voided, d_debt) VALUES (?1, 1, 0, ?2, ?3, 1, 'grant_funded', ?4, 5, 5, 0, 0, 0, 0, 0)",
        )
        .unwrap();
    for number in 0..DUE {
        let (id, granted) = (Uuid::now_v7(), Uuid::now_v7());
        account.execute((id.as_bytes(), format!("{number}@example.com"), made, at.0)).unwrap();
        grant.execute((granted.as_bytes(), id.as_bytes(), made, at.0)).unwrap();
        line.execute((id.as_bytes(), made, batch.as_bytes(), granted.as_bytes())).unwrap();
    }
    drop((account, grant, line));
    tx.commit().unwrap();
}

async fn sweeping(ledger: &Ledger, accounts: &Accounts, health: &Health, clock: &Clock) {
    let began = Instant::now();
    let exit = ExitGuard::new(health, Kind::Sweeper, Name::Text("bench".into()), |_| {});
    let _sweeper = Sweeper::new(accounts.clone(), exit).start();
    while !ledger.due_accounts(clock.now(), 1).await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("sweeping {DUE} due grants: {:.1} s", began.elapsed().as_secs_f64());
}

fn main() {
    let folder = std::env::temp_dir().join(format!("farebox-ledger-bench-{}", Uuid::new_v4().simple()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("ledger.db");
    actix::System::new().block_on(async {
        let (clock, health) = (Clock::default(), Health::default());
        let ledger =
            Arc::new(Ledger::open(&format!("sqlite://{}", file.display()), &Opening::default()).await.unwrap());
        let id = AccountId(Uuid::now_v7());
        ledger.create_account(id, "opened@example.com", Plan::Payg, clock.now()).await.unwrap();
        let accounts = accounts(&ledger, &clock, &health);
        opening(&ledger, &accounts, id, &clock).await;
        fill(&file, clock.now());
        sweeping(&ledger, &accounts, &health, &clock).await;
        let audit = ledger.audit().await.unwrap();
        println!("audit: ok {}, {} accounts, {} lines", audit.ok, audit.accounts, audit.lines);
        assert!(audit.ok, "{audit:?}");
    });
    let _ = std::fs::remove_dir_all(&folder);
}
