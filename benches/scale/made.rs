//! A ledger of any size on SQLite, made as a running process makes one: the rules decide, the log takes the transitions in
//! rows, the tables are made from the rows. The process that makes it ends as one that is killed: requests are running, and
//! the tables lack the log's last rows.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use billing::{
    Nanos, Timestamp,
    account::Account,
    command::{Admit, Command, Fund},
    decide::{decide, open},
    entry::{Ending, Transition, UsageRecord},
    grant::Source,
    hold::{HoldRequest, Work},
    ids::{AccountId, GrantId, KeyId, RequestId},
    key::Names,
    plan::Plan,
    price::Price,
    quantity::Quantities,
    time::{FOUR_WEEKS_MS, HOUR_MS},
    timings::Timings,
};
use clap::Args;
use ledger::{Ledger, Opening, log::tail::Tail, project::Logged};
use rust_decimal::Decimal;
use uuid::Uuid;

/// The transitions of a log row.
const ROW: usize = 20;
/// The rows that are projected together.
const TOGETHER: usize = 400;
/// The most accounts that send requests. The others were opened, and no more.
const BUSY: usize = 50_000;
/// The most requests that run at a time while the ledger grows.
const RUNNING: usize = 100;
/// What requests ask for, in turn.
const MODELS: [&str; 5] = ["gpt-4o-mini", "gpt-4.1", "gpt-4.1-mini", "o4-mini", "gpt-5-nano"];
/// The keys of an account that sends requests.
const KEYS: usize = 8;
/// The credits that an account is given at the begin of a ledger that grows for longer than free credits last.
const GIVEN: Nanos = Nanos::new(10_000_000_000_000);

/// How large a ledger is.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Size {
    /// The accounts
    #[arg(long)]
    pub(crate) accounts: usize,
    /// The requests that run at the end
    #[arg(long)]
    pub(crate) holds: usize,
    /// The transitions in all, no fewer than accounts and holds
    #[arg(long)]
    pub(crate) transitions: usize,
    /// The transitions at the end that are in the log and not in the tables
    #[arg(long)]
    pub(crate) behind: usize,
    /// The hours that the ledger took to grow, by its own clock
    #[arg(long)]
    pub(crate) hours: i64,
}

impl Size {
    fn age_ms(&self) -> i64 {
        self.hours * HOUR_MS
    }
}

/// The file of the ledger in its folder.
pub(crate) fn file(folder: &Path) -> PathBuf {
    folder.join("ledger.db")
}

/// Makes a ledger, and ends this process without closing it.
pub(crate) async fn make(folder: &Path, size: Size) -> ! {
    let url = format!("sqlite://{}", file(folder).display());
    let ledger = Ledger::open(&url, &Opening::default()).await.unwrap();
    let mut writer = Writer::new(ledger, size);
    let mut accounts = Vec::new();
    let lasts = Timestamp(writer.begun.0 + 2 * size.age_ms());
    for number in 0..size.accounts {
        let id = AccountId(Uuid::now_v7());
        let (mut account, opened) = open(id, format!("{number}@example.com"), Plan::Payg, writer.now());
        writer.push(*opened.transition.unwrap()).await;
        if size.hours * HOUR_MS >= FOUR_WEEKS_MS {
            writer.decide(&mut account, given(lasts)).await;
        }
        if accounts.len() < BUSY {
            accounts.push(account);
        }
    }
    let requests = size.transitions.saturating_sub(size.accounts + size.holds) / 2;
    let mut running = VecDeque::new();
    for number in 0..requests + size.holds {
        // Neighbours in time are of different accounts.
        let which = number * 7_919 % accounts.len();
        let request_id = RequestId(Uuid::now_v7());
        let kind = Kind::of(which, number);
        running.push_back((which, kind, request_id, writer.now()));
        let admit = Command::Admit(admit(kind, request_id));
        writer.decide(&mut accounts[which], admit).await;
        let left = requests.saturating_sub(writer.settled);
        if running.len() > RUNNING.min(size.holds) && left > 0 {
            let (which, kind, request_id, began) = running.pop_front().unwrap();
            let settle = Command::Settle(usage(kind, request_id, began, writer.now()));
            writer.decide(&mut accounts[which], settle).await;
            writer.settled += 1;
        }
    }
    writer.append().await;
    writer.project().await;
    println!("{} transitions, {} running requests", writer.pushed, running.len());
    // Nothing is dropped: the write-ahead files stay as they are.
    std::process::exit(0)
}

struct Writer {
    ledger: Ledger,
    tail: Tail,
    size: Size,
    begun: Timestamp,
    row: Vec<Transition>,
    rows: Vec<Logged>,
    pushed: usize,
    settled: usize,
}

impl Writer {
    fn new(ledger: Ledger, size: Size) -> Self {
        // SQLite's ledger has one shard.
        let tail = ledger.tails()[0];
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        let begun = Timestamp(i64::try_from(now).unwrap() - size.age_ms());
        Self { ledger, tail, size, begun, row: Vec::new(), rows: Vec::new(), pushed: 0, settled: 0 }
    }

    fn now(&self) -> Timestamp {
        let age = self.size.age_ms();
        let share = i64::try_from(self.pushed).unwrap() * age / i64::try_from(self.size.transitions).unwrap();
        self.begun.plus_ms(share.min(age))
    }

    async fn decide(&mut self, account: &mut Account, command: Command) {
        let decision = decide(account, command, self.now());
        decision.answer.result.unwrap();
        self.push(*decision.transition.unwrap()).await;
    }

    async fn push(&mut self, transition: Transition) {
        self.row.push(transition);
        self.pushed += 1;
        if self.row.len() == ROW {
            self.append().await;
        }
    }

    /// Appends a row.
    async fn append(&mut self) {
        let (at, transitions) = (self.now(), std::mem::take(&mut self.row));
        let row = [self.tail.next(&transitions, at)];
        assert!(self.ledger.append(&row).await.unwrap().is_empty());
        self.tail.advance(&row[0]);
        if self.pushed + self.size.behind <= self.size.transitions {
            self.rows.push(Logged::new(&row[0], transitions, None));
        }
        if self.rows.len() == TOGETHER {
            self.project().await;
        }
    }

    async fn project(&mut self) {
        let rows = std::mem::take(&mut self.rows);
        assert!(self.ledger.project(&rows).await.unwrap().is_empty());
        self.ledger.keep_small().await;
        self.ledger.checkpoint_log().await;
    }
}

fn given(expires_at: Timestamp) -> Command {
    let grant_id = GrantId(Uuid::now_v7());
    Command::Fund(Fund {
        grant_id,
        source: Source::Promo,
        source_key: grant_id.to_string(),
        amount: GIVEN,
        paid: Nanos::ZERO,
        expires_at: Some(expires_at),
        subscribed_until: None,
    })
}

/// What tells requests apart.
#[derive(Clone, Copy)]
struct Kind {
    key: KeyId,
    model: &'static str,
}

impl Kind {
    /// Of a request of an account.
    fn of(which: usize, number: usize) -> Self {
        let key = KeyId(Uuid::from_u128((which * KEYS + number % KEYS) as u128));
        Self { key, model: MODELS[number / KEYS % MODELS.len()] }
    }
}

fn admit(Kind { key, model }: Kind, request_id: RequestId) -> Admit {
    let most = Nanos::new(100_000);
    Admit {
        request_id,
        key_id: Some(key),
        model: model.into(),
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

fn usage(Kind { key, model }: Kind, request_id: RequestId, started_at: Timestamp, ended_at: Timestamp) -> UsageRecord {
    let used = Quantities::plain(1_200, 90);
    let price = Price::per_million(Decimal::new(15, 2), Decimal::new(60, 2)).unwrap();
    let cost = price.cost(&used).unwrap();
    let charged = cost.charged().unwrap();
    UsageRecord {
        request_id,
        key_id: Some(key),
        model: model.into(),
        provider: "openai".into(),
        ending: Ending::Completed,
        parts: price.parts(&used, cost.base),
        estimated: false,
        compute_ms: 0,
        billed_seconds: 0,
        cost,
        charged,
        price_version: 1,
        started_at,
        ended_at,
        attempts: Vec::new(),
        session: None,
        timings: Some(Box::new(Timings { admission_ms: 1, run_ms: 700, first_ms: Some(120), ..Timings::default() })),
    }
}
