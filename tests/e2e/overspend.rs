//! The bound on overspending, under far more parallel requests than an account can pay for: what is spent and what is
//! given back is what was funded, debt is at most what running requests were allowed beyond their holds, and every
//! answer is in the ledger. Asked of the accounts themselves, so that nothing in front of them slows the race.

use std::{path::PathBuf, time::Duration};

use actors::{
    account::{AccountError, Enter, Look},
    accounts::Accounts,
    admission::{self, Admitted, Metered, NotAdmitted},
};
use billing::{
    Nanos,
    account::Balance,
    command::Refusal,
    entry::Ending,
    hold::{HoldRequest, Work},
    ids::AccountId,
    price::Cost,
};
use tokio::task::JoinSet;

use crate::support::{
    accounts::{admit, funded, start},
    postgres, temporary,
};

const REQUESTS: u64 = 10_000;
const FUNDED: Nanos = Nanos::new(1_000_000_000);
const WORST: Nanos = Nanos::new(400_000);

/// What came of one request.
enum Outcome {
    Refused,
    /// What was held for it and what it was charged.
    Charged(Nanos, Nanos),
    /// Its guard was dropped.
    Dropped(Nanos),
}

/// None where the credits have run out.
async fn admitted(accounts: &Accounts, id: AccountId) -> Option<Admitted> {
    loop {
        let hold = HoldRequest { minimum: Nanos::new(50_000), expected: Nanos::new(100_000), worst_case: WORST };
        let admit = admit(Work::Closed, hold);
        match admission::enter(accounts, id, Enter { admit, max_wait: Duration::ZERO }).await {
            Ok(admitted) => return Some(admitted),
            Err(NotAdmitted::Refused { refusal: Refusal::InsufficientCredits { .. }, .. }) => return None,
            // As a client does with a 503: it was not there, so nothing was taken for it.
            Err(NotAdmitted::Account(AccountError::Overloaded)) => tokio::time::sleep(Duration::from_millis(5)).await,
            Err(error) => panic!("{error}"),
        }
    }
}

async fn one(accounts: Accounts, id: AccountId, number: u64) -> Outcome {
    let Some(Admitted { mut admission, .. }) = admitted(&accounts, id).await else { return Outcome::Refused };
    let held = admission.held();
    tokio::time::sleep(Duration::from_millis(number % 7)).await;
    // Some cost nothing, most less than their hold, some as much as they were allowed to.
    let cost = match number % 5 {
        0 => Nanos::ZERO,
        1 | 2 => Nanos::new(held.get() / 2 + 1),
        _ => WORST,
    };
    admission.meter(Metered { cost: Cost::from_total(cost), ..Metered::NOTHING });
    if number % 50 == 49 {
        drop(admission);
        return Outcome::Dropped(held);
    }
    let (record, _) = admission.settle(Ending::Completed).await.unwrap();
    assert_eq!(record.charged, cost);
    Outcome::Charged(held, cost)
}

async fn race(url: &str) {
    let accounts = start(url).await;
    let id = funded(&accounts, FUNDED).await;
    let mut requests = JoinSet::new();
    for number in 0..REQUESTS {
        requests.spawn_local(one(accounts.clone(), id, number));
    }
    let (mut refused, mut charged, mut allowed, mut ran) = (0, Nanos::ZERO, Nanos::ZERO, 0_i64);
    for outcome in requests.join_all().await {
        match outcome {
            Outcome::Refused => refused += 1,
            Outcome::Charged(held, cost) => {
                (charged, allowed, ran) = (charged + cost, allowed + (WORST - held), ran + 1);
            }
            Outcome::Dropped(held) => (charged, allowed, ran) = (charged + WORST, allowed + (WORST - held), ran + 1),
        }
    }
    // What was dropped settles by itself: an account that is asked afterwards has settled it.
    let balance: Balance = accounts.ask(id, Look).await.unwrap().balance;
    assert!(refused > 1_000 && ran > 1_000, "{refused} refused, {ran} ran: no race");
    assert_eq!(balance.held, Nanos::ZERO);
    let grants = accounts.ledger().grants(id, None, 10).await.unwrap();
    assert_eq!(grants.len(), 1);
    let grant = &grants[0];
    assert_eq!(grant.spent + grant.available, FUNDED, "{grant:?}");
    assert_eq!(grant.spent + balance.debt, charged, "{grant:?}");
    assert!(balance.debt <= allowed, "overspent {} where {allowed} was allowed", balance.debt);
    let audit = accounts.ledger().audit().await.unwrap();
    assert!(audit.ok, "{audit:?}");
    assert_eq!((audit.requests, audit.open_holds), (ran, 0));
    assert_eq!(accounts.running().count(), 0);
}

#[test]
fn ten_thousand_requests_at_once_spend_one_dollar_on_sqlite() {
    let folder: PathBuf = temporary("overspend");
    std::fs::create_dir_all(&folder).unwrap();
    let url = format!("sqlite://{}/ledger.db", folder.display());
    actix::System::new().block_on(race(&url));
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn ten_thousand_requests_at_once_spend_one_dollar_on_postgres() {
    let Some(url) = postgres::fresh_database() else { return };
    actix::System::new().block_on(race(&url));
}
