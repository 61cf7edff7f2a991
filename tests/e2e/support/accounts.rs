//! The accounts by themselves, in this process: nothing in front of them slows what races for them.

use std::{sync::Arc, time::Duration};

use actix::{Actor, Arbiter};
use actors::accounts::Accounts;
use billing::{
    Nanos,
    command::{Admit, Command, Fund},
    grant::Source,
    hold::{HoldRequest, Work},
    ids::{AccountId, GrantId, RequestId},
    key::Names,
    plan::Plan,
    time::FOUR_WEEKS_MS,
};
use cards::{Processor, sandbox::Sandbox};
use farebox::app;
use ledger::{Ledger, Opening};
use runtime::{clock::Clock, health::Health, supervisor::Supervisor};
use uuid::Uuid;

/// How long what must come may take.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// The account of a test that has the ledger's actors alone.
const ACCOUNT: AccountId = AccountId(Uuid::from_u128(1));

/// The ledger's actors alone, and an account.
pub(crate) async fn start(url: &str) -> Accounts {
    let health = Health::default();
    let ledger = Arc::new(Ledger::open(url, &Opening::default()).await.unwrap());
    ledger.create_account(ACCOUNT, "race@example.com", Plan::Payg, Clock::default().now()).await.unwrap();
    let chief = Supervisor::new(&health).start();
    let processor = Processor::Sandbox(Sandbox::default());
    let arbiters = vec![Arbiter::new().handle()];
    app::start_money(&chief, arbiters, ledger, processor, Clock::default(), health).unwrap().accounts
}

/// The account, in a paid cycle with so much: no limit of requests a second.
pub(crate) async fn funded(accounts: &Accounts, amount: Nanos) -> AccountId {
    let id = ACCOUNT;
    let now = accounts.clock().now();
    let fund = Fund {
        grant_id: GrantId(Uuid::now_v7()),
        source: Source::Plan,
        source_key: format!("cycle {}", now.0),
        amount,
        paid: Nanos::ZERO,
        expires_at: Some(now.plus_ms(FOUR_WEEKS_MS)),
        subscribed_until: Some(now.plus_ms(FOUR_WEEKS_MS)),
    };
    assert!(accounts.decide(id, Command::Fund(fund)).await.unwrap().result.is_ok());
    id
}

/// A request that asks to run.
pub(crate) fn admit(work: Work, hold: HoldRequest) -> Admit {
    Admit {
        request_id: RequestId(Uuid::now_v7()),
        key_id: None,
        model: "gpt-4o-mini".into(),
        provider: "openai".into(),
        price_version: 1,
        work,
        hold,
        output: None,
        auto_scale: None,
        names: Names::default(),
        session: None,
    }
}
