//! A request and its account, which share nothing but messages: what is held for a request that nobody waits for is given
//! back, and a request hears what it holds, whichever life of its account says so.

use std::time::Duration;

use actors::{
    account::{Enter, Look},
    accounts::Accounts,
    admission::{self, Admission, Admitted, NotAdmitted},
    faults::Panic,
};
use billing::{
    Nanos,
    class::{SizeClass, Weighting},
    command::Refusal,
    entry::Ending,
    hold::{HoldRequest, Work},
    ids::AccountId,
};
use futures::poll;

use crate::support::{
    accounts::{SOON, admit, funded, start},
    temporary,
};

const FUNDED: Nanos = Nanos::new(1_000_000_000);
const SLICE: Nanos = Nanos::new(1_000_000);
const HOLD: HoldRequest = HoldRequest { minimum: SLICE, expected: SLICE, worst_case: SLICE };

fn with_accounts(story: impl AsyncFnOnce(Accounts, AccountId)) {
    let folder = temporary("admission");
    std::fs::create_dir_all(&folder).unwrap();
    actix::System::new().block_on(async {
        let accounts = start(&format!("sqlite://{}/ledger.db", folder.display())).await;
        let id = funded(&accounts, FUNDED).await;
        story(accounts, id).await;
    });
    std::fs::remove_dir_all(&folder).unwrap();
}

/// A second of an open model.
fn open() -> Work {
    let class = SizeClass::ALL[0];
    Work::Open { class, units: class.weight(Weighting::Weighted) }
}

/// Requests that take all permits of an account.
async fn all_permits(accounts: &Accounts, id: AccountId) -> Vec<Admission> {
    let mut running = Vec::new();
    loop {
        let enter = Enter { admit: admit(open(), HOLD), max_wait: Duration::ZERO };
        match admission::enter(accounts, id, enter).await {
            Ok(Admitted { admission, .. }) => running.push(admission),
            Err(NotAdmitted::Refused { refusal: Refusal::ConcurrencyLimit { .. }, .. }) => return running,
            Err(error) => panic!("{error}"),
        }
    }
}

async fn enter(accounts: &Accounts, id: AccountId, work: Work, max_wait: Duration) -> Admitted {
    admission::enter(accounts, id, Enter { admit: admit(work, HOLD), max_wait }).await.unwrap()
}

#[test]
fn a_request_that_nobody_waits_for_gives_back_what_is_held_for_it() {
    const LEFT: i64 = 50;
    with_accounts(async |accounts, id| {
        for _ in 0..LEFT {
            let mut asked = Box::pin(enter(&accounts, id, Work::Closed, Duration::ZERO));
            assert!(poll!(&mut asked).is_pending(), "it was asked, and not answered");
            assert!(accounts.running().count() > 0, "it counts as running from before it is asked");
            drop(asked);
        }
        assert_eq!(accounts.running().count(), 0);
        let picture = accounts.ask(id, Look).await.unwrap();
        assert_eq!((picture.holds.len(), picture.balance.held), (0, Nanos::ZERO));
        assert_eq!(picture.balance.available, FUNDED);
        let audit = accounts.ledger().audit().await.unwrap();
        assert!(audit.ok, "{audit:?}");
        assert_eq!((audit.requests, audit.open_holds), (LEFT, 0), "each was let in, and ended");
    });
}

#[test]
fn a_request_that_leaves_the_line_is_not_let_in() {
    with_accounts(async |accounts, id| {
        let running = all_permits(&accounts, id).await;
        let count = running.len();
        assert_eq!(accounts.running().count(), count, "one that was refused runs nowhere");
        let mut second = Box::pin(enter(&accounts, id, open(), SOON));
        assert!(poll!(&mut second).is_pending());
        assert_eq!(accounts.ask(id, Look).await.unwrap().waiting, 1);
        drop(second);
        assert_eq!(accounts.ask(id, Look).await.unwrap().waiting, 0);
        for admission in running {
            admission.settle(Ending::Completed).await.unwrap();
        }
        let picture = accounts.ask(id, Look).await.unwrap();
        assert_eq!((picture.holds.len(), picture.balance.held, accounts.running().count()), (0, Nanos::ZERO, 0));
        assert_eq!(accounts.ledger().audit().await.unwrap().requests, i64::try_from(count).unwrap());
    });
}

#[test]
fn a_request_hears_what_it_holds_from_whichever_life_of_its_account() {
    with_accounts(async |accounts, id| {
        let Admitted { admission, .. } = enter(&accounts, id, open(), Duration::ZERO).await;
        assert_eq!(admission.held(), SLICE);
        // Told once it is durable.
        admission.accrue(SLICE, SLICE);
        let told = async {
            while admission.held() == SLICE {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(SOON, told).await.unwrap();
        let held = admission.held();
        assert_eq!(held, accounts.ask(id, Look).await.unwrap().holds[0].total());
        // This life dies before it can report the growth. The next finds it in the ledger, or nowhere: the journal takes no
        // entry of an earlier life that still waits in its queue.
        admission.accrue(SLICE.times(2), SLICE);
        accounts.tell(id, Panic);
        assert_eq!(admission.held(), held);
        let picture = tokio::time::timeout(SOON, async {
            loop {
                match accounts.ask(id, Look).await {
                    Ok(picture) => return picture,
                    // The life that died.
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        });
        let picture = picture.await.unwrap();
        assert_eq!(picture.holds.len(), 1, "a request that runs keeps its hold");
        assert!(admission.held() >= held, "{} and {held}", admission.held());
        assert_eq!(admission.held(), picture.holds[0].total());
        admission.settle(Ending::Completed).await.unwrap();
        let picture = accounts.ask(id, Look).await.unwrap();
        assert_eq!((picture.holds.len(), picture.balance.held), (0, Nanos::ZERO));
    });
}
