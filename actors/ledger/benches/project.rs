//! Writing the tables on SQLite, or on an empty database of PostgreSQL (`FAREBOX_BENCH_POSTGRES`): the time and the bytes
//! of a closed request, which is an admission and a charge. Run with `cargo bench -p ledger`; with `-- 50 200` for 50
//! accounts and 200 requests a call alone, as instructions are counted.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use billing::{
    Nanos, Timestamp,
    account::{Account, Header, Stored},
    command::{Admit, Command, Fund},
    decide::decide,
    entry::{Ending, Transition, UsageRecord},
    grant::Source,
    hold::{HoldRequest, Work},
    ids::{AccountId, GrantId, KeyId, RequestId},
    key::Names,
    plan::Plan,
    price::{Cost, Price},
    quantity::Quantities,
    time::FOUR_WEEKS_MS,
};
use ledger::{
    Ledger, Opening,
    log::{Head, Shard, chain},
    project::Logged,
};
use rust_decimal::Decimal;
use uuid::Uuid;

const NOW: Timestamp = Timestamp(1_790_000_000_000);
/// The requests of a log row.
const ROW: usize = 20;
/// The requests that run at a time.
const RUNNING: usize = 100;
/// The requests of a measurement.
const REQUESTS: usize = 20_000;
/// Requests in a second.
const RATE: usize = 1_000;

/// Accounts and their running requests.
struct Histories {
    accounts: Vec<Account>,
    running: VecDeque<(usize, RequestId)>,
    admitted: usize,
}

impl Histories {
    /// New accounts with credits, and the transitions that made them.
    fn new(count: usize) -> (Self, Vec<Transition>) {
        let (mut accounts, mut first) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let id = AccountId(Uuid::now_v7());
            let mut account = Account::load(id, Stored::new(Header::new(Plan::Payg, NOW)));
            let fund = Fund {
                grant_id: GrantId(Uuid::now_v7()),
                source: Source::Promo,
                source_key: "bench".into(),
                amount: Nanos::dollars(1_000),
                paid: Nanos::ZERO,
                expires_at: None,
                subscribed_until: Some(NOW.plus_ms(FOUR_WEEKS_MS)),
            };
            first.push(*decide(&mut account, Command::Fund(fund), NOW).transition.unwrap());
            accounts.push(account);
        }
        (Self { accounts, running: VecDeque::new(), admitted: 0 }, first)
    }

    /// The transitions of a log row: requests begin, and as many earlier ones end.
    fn row(&mut self) -> Vec<Transition> {
        let mut row = Vec::with_capacity(2 * ROW);
        for _ in 0..ROW {
            let now = NOW.plus_ms(i64::try_from(self.admitted * 1_000 / RATE).unwrap());
            // Neighbours in time are of different accounts.
            let which = self.admitted * 7_919 % self.accounts.len();
            let request_id = RequestId(Uuid::now_v7());
            self.admitted += 1;
            self.running.push_back((which, request_id));
            row.push(self.decide(which, Command::Admit(admit(which, request_id)), now));
            if self.running.len() > RUNNING
                && let Some((which, request_id)) = self.running.pop_front()
            {
                row.push(self.decide(which, Command::Settle(usage(which, request_id, now)), now));
            }
        }
        row
    }

    fn decide(&mut self, which: usize, command: Command, now: Timestamp) -> Transition {
        let decision = decide(&mut self.accounts[which], command, now);
        decision.answer.result.unwrap();
        *decision.transition.unwrap()
    }
}

fn key(which: usize) -> KeyId {
    KeyId(Uuid::from_u128(which as u128))
}

fn admit(which: usize, request_id: RequestId) -> Admit {
    let most = Nanos::new(100_000);
    Admit {
        request_id,
        key_id: Some(key(which)),
        model: "gpt-4o-mini".into(),
        provider: "openai".into(),
        price_version: 1,
        work: Work::Closed,
        hold: HoldRequest { minimum: most, expected: most, worst_case: most },
        output: None,
        auto_scale: None,
        names: Names::default(),
        session: None,
    }
}

fn usage(which: usize, request_id: RequestId, now: Timestamp) -> UsageRecord {
    let cost = Nanos::new(60_123);
    UsageRecord {
        request_id,
        key_id: Some(key(which)),
        model: "gpt-4o-mini".into(),
        provider: "openai".into(),
        ending: Ending::Completed,
        parts: Price::nothing().parts(&Quantities::plain(1_200, 90), Decimal::ZERO),
        estimated: false,
        compute_ms: 0,
        billed_seconds: 0,
        cost: Cost::from_total(cost),
        charged: cost,
        price_version: 1,
        started_at: now.plus_ms(-100),
        ended_at: now,
        attempts: Vec::new(),
        session: None,
        timings: None,
    }
}

/// Rows as rows of the log, after its end.
fn logged(mut head: Head, rows: Vec<Vec<Transition>>) -> Vec<Logged> {
    let mut log = Vec::with_capacity(rows.len());
    for transitions in rows {
        let row = chain::next(Shard::FIRST, head, 1, NOW, Vec::new());
        head = row.head();
        log.push(Logged::new(&row, transitions, None));
    }
    log
}

/// Measures calls of so many requests.
async fn measure(accounts: usize, call: usize) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ledger.db");
    let url = std::env::var("FAREBOX_BENCH_POSTGRES").unwrap_or_else(|_| format!("sqlite://{}", file.display()));
    let ledger = Ledger::open(&url, &Opening::default()).await.unwrap();
    let bytes = || std::fs::metadata(&file).map_or(0, |file| file.len());
    let (mut histories, first) = Histories::new(accounts);
    for account in &histories.accounts {
        let email = format!("{}@example.com", account.id.0);
        ledger.create_account(account.id, &email, Plan::Payg, NOW).await.unwrap();
    }
    let begin = ledger.place(Shard::FIRST).await.unwrap().unwrap();
    let rows = std::iter::once(first).chain((0..REQUESTS / ROW).map(|_| histories.row()));
    let rows = logged(begin, rows.collect());
    let (first, rows) = rows.split_at(1);
    assert!(ledger.project(first).await.unwrap().is_empty());
    let before = bytes();
    let began = Instant::now();
    let mut longest = Duration::ZERO;
    for rows in rows.chunks(call / ROW) {
        let began = Instant::now();
        assert!(ledger.project(rows).await.unwrap().is_empty());
        longest = longest.max(began.elapsed());
    }
    let each = began.elapsed().as_micros() / REQUESTS as u128;
    ledger.close().await.unwrap();
    let bytes = (bytes() - before) / REQUESTS as u64;
    println!("{accounts} accounts, calls of {call}: {each} us and {bytes} bytes a request, longest call {longest:?}");
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let chosen: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    runtime.block_on(async {
        if let [accounts, call] = chosen[..] {
            return Box::pin(measure(accounts, call)).await;
        }
        for accounts in [1, 50, 1_000] {
            for call in [20, 200, 2_000] {
                Box::pin(measure(accounts, call)).await;
            }
        }
    });
}
