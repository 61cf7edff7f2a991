//! The tables that the log makes, for their comparison with it: accounts, grants, open holds, payments, keys, saved cards,
//! webhooks and members. `farebox rebuild` compares all tables whole. A [`Table`] says which rows
//! a transition leaves behind and how they are read; all else is the same for every table.

use std::{
    collections::{BTreeMap, btree_map::OccupiedEntry},
    fmt::Debug,
    hash::{BuildHasher as _, Hash, RandomState},
};

use billing::{
    Timestamp, account::Header, card::PaymentMethod, entry::Transition, grant::Grant, hold::Hold, key::ApiKey,
    member::Membership, payment::Payment, resource::Resource, webhook::Endpoint,
};
use sea_orm::{QueryResult, Value};
use uuid::Uuid;

use super::{Audit, MOST};
use crate::{LedgerError, cards, keys, load, people, webhooks};

/// Rows of a table that are read at once: [`Table::PAGE`] says so too.
const PAGE: usize = 2_000;

/// A table, one row for each of its keys.
trait Table {
    type Key: Key;
    type State: Hash + Clone + PartialEq + Debug + Send;
    /// The comparison in words.
    const WHAT: &'static str;
    /// The rows after a key, in the order of their keys. The key's columns come first.
    const PAGE: &'static str;

    /// Tells the rows that a transition leaves behind, and `None` for one that it deletes.
    fn rows(transition: &Transition, tell: impl FnMut(Self::Key, Option<&Self::State>));

    /// The state in a row.
    fn read(row: &QueryResult) -> Result<Self::State, LedgerError>;

    /// How a row differs, in words.
    fn differs(expected: Option<&Self::State>, found: Option<&Self::State>) -> String {
        let [expected, found] =
            [expected, found].map(|state| state.map_or_else(|| "none".to_owned(), |state| format!("{state:?}")));
        format!("expected {expected}, found {found}")
    }
}

struct Accounts;

impl Table for Accounts {
    type Key = Uuid;
    type State = Header;
    const WHAT: &'static str = "account's row is not what the log says";
    const PAGE: &'static str = "SELECT id, plan, created_at, subscribed_until, debt, charged, seq, clock, wake_at, \
                                revision, frozen_at FROM account WHERE id > ? ORDER BY id LIMIT 2000";

    fn rows(transition: &Transition, mut tell: impl FnMut(Uuid, Option<&Header>)) {
        tell(transition.account_id.0, Some(&transition.header));
    }

    fn read(row: &QueryResult) -> Result<Header, LedgerError> {
        load::header(row)
    }
}

struct Grants;

impl Table for Grants {
    type Key = Uuid;
    type State = Grant;
    const WHAT: &'static str = "grant's row is not what the log says";
    const PAGE: &'static str = "SELECT id, source, source_key, paid, created_at, expires_at, funded, available, held, \
                                spent, expired, voided, recall, notices, taken_unused, taken_gone, taken_held, \
                                taken_spent FROM credit_grant WHERE id > ? ORDER BY id LIMIT 2000";

    fn rows(transition: &Transition, mut tell: impl FnMut(Uuid, Option<&Grant>)) {
        for grant in &transition.grants {
            tell(grant.id.0, Some(grant));
        }
    }

    fn read(row: &QueryResult) -> Result<Grant, LedgerError> {
        load::grant(row)
    }
}

struct Holds;

impl Table for Holds {
    type Key = (Uuid, Uuid);
    type State = Hold;
    const WHAT: &'static str = "open holds are not those of the log";
    const PAGE: &'static str = "SELECT account_id, request_id, key_id, class, units, model, provider, price_version, \
                                allocations, accrued, worst_case, claimed, placed_at, deadline, parked, session FROM hold \
                                WHERE (account_id, request_id) > (?, ?) ORDER BY account_id, request_id LIMIT 2000";

    fn rows(transition: &Transition, mut tell: impl FnMut((Uuid, Uuid), Option<&Hold>)) {
        let key = |request: billing::ids::RequestId| (transition.account_id.0, request.0);
        if let Some(hold) = &transition.hold {
            tell(key(hold.request_id), Some(hold));
        }
        if let Some(request) = transition.ended {
            tell(key(request), None);
        }
    }

    fn read(row: &QueryResult) -> Result<Hold, LedgerError> {
        load::hold(row)
    }

    fn differs(expected: Option<&Hold>, found: Option<&Hold>) -> String {
        match (expected, found) {
            (Some(_), None) => "it has not ended, and its hold is not there".to_owned(),
            (None, _) => "it has ended, and its hold is there".to_owned(),
            (Some(expected), Some(found)) => format!("expected {expected:?}, found {found:?}"),
        }
    }
}

/// Why a row differs that has secrets, or what people call theirs: that it does.
fn differs_in_secret(is_expected: bool, is_found: bool) -> String {
    match (is_expected, is_found) {
        (true, false) => "it is not there",
        (false, _) => "it should not be there",
        (true, true) => "it was changed",
    }
    .to_owned()
}

struct Keys;

impl Table for Keys {
    type Key = Uuid;
    type State = ApiKey;
    const WHAT: &'static str = "key is not what the log says";
    const PAGE: &'static str = "SELECT id, account_id, name, public, hash, limit_day, limit_week, limit_month, \
                                limit_total, models, scopes, created_at, expires_at, revoked_at FROM api_key \
                                WHERE id > ? ORDER BY id LIMIT 2000";

    fn rows(transition: &Transition, mut tell: impl FnMut(Uuid, Option<&ApiKey>)) {
        for resource in &transition.resources {
            if let Resource::KeyOpened(key) = resource {
                tell(key.id.0, Some(key));
            }
        }
    }

    /// Whether it was revoked is compared by [`Revoked`].
    fn read(row: &QueryResult) -> Result<ApiKey, LedgerError> {
        Ok(ApiKey { revoked_at: None, ..keys::key(row)? })
    }

    fn differs(expected: Option<&ApiKey>, found: Option<&ApiKey>) -> String {
        differs_in_secret(expected.is_some(), found.is_some())
    }
}

struct Revoked;

impl Table for Revoked {
    type Key = Uuid;
    type State = Timestamp;
    const WHAT: &'static str = "revoked keys are not those of the log";
    const PAGE: &'static str = "SELECT id, revoked_at FROM api_key WHERE id > ? AND revoked_at IS NOT NULL \
                                ORDER BY id LIMIT 2000";

    fn rows(transition: &Transition, mut tell: impl FnMut(Uuid, Option<&Timestamp>)) {
        for resource in &transition.resources {
            if let Resource::KeyRevoked { id, at, .. } = resource {
                tell(id.0, Some(at));
            }
        }
    }

    fn read(row: &QueryResult) -> Result<Timestamp, LedgerError> {
        Ok(Timestamp(row.try_get_by_index(1)?))
    }
}

struct Cards;

impl Table for Cards {
    type Key = Uuid;
    type State = PaymentMethod;
    const WHAT: &'static str = "saved card is not what the log says";
    const PAGE: &'static str = "SELECT id, account_id, processor, customer, reference, brand, last4, exp_month, exp_year, \
                                is_default, created_at, removed_at FROM payment_method WHERE id > ? \
                                ORDER BY id LIMIT 2000";

    fn rows(transition: &Transition, mut tell: impl FnMut(Uuid, Option<&PaymentMethod>)) {
        for resource in &transition.resources {
            if let Resource::Card(card) = resource {
                tell(card.id, Some(card));
            }
        }
    }

    fn read(row: &QueryResult) -> Result<PaymentMethod, LedgerError> {
        cards::method(row)
    }

    fn differs(expected: Option<&PaymentMethod>, found: Option<&PaymentMethod>) -> String {
        differs_in_secret(expected.is_some(), found.is_some())
    }
}

struct Endpoints;

impl Table for Endpoints {
    type Key = Uuid;
    type State = Endpoint;
    const WHAT: &'static str = "webhook is not what the log says";
    const PAGE: &'static str = "SELECT id, account_id, url, description, secret, kinds, key_ids, created_at, failing_since, \
                                disabled_at, disabled_because FROM webhook_endpoint WHERE id > ? \
                                ORDER BY id LIMIT 2000";

    fn rows(transition: &Transition, mut tell: impl FnMut(Uuid, Option<&Endpoint>)) {
        for resource in &transition.resources {
            match resource {
                Resource::Endpoint(endpoint) => tell(endpoint.id, Some(endpoint)),
                Resource::EndpointDeleted(id) => tell(*id, None),
                _ => {}
            }
        }
    }

    fn read(row: &QueryResult) -> Result<Endpoint, LedgerError> {
        Ok(webhooks::endpoint(row)?.endpoint)
    }

    fn differs(expected: Option<&Endpoint>, found: Option<&Endpoint>) -> String {
        differs_in_secret(expected.is_some(), found.is_some())
    }
}

struct Members;

impl Table for Members {
    type Key = (Uuid, Uuid);
    type State = Membership;
    const WHAT: &'static str = "members are not those of the log";
    const PAGE: &'static str = "SELECT account_id, person_id, role, since FROM membership \
                                WHERE (account_id, person_id) > (?, ?) ORDER BY account_id, person_id LIMIT 2000";

    fn rows(transition: &Transition, mut tell: impl FnMut((Uuid, Uuid), Option<&Membership>)) {
        for resource in &transition.resources {
            match resource {
                Resource::Member(member) => tell((transition.account_id.0, member.person_id.0), Some(member)),
                Resource::MemberLeft(person) => tell((transition.account_id.0, person.0), None),
                _ => {}
            }
        }
    }

    fn read(row: &QueryResult) -> Result<Membership, LedgerError> {
        people::membership(row)
    }
}

struct Payments;

impl Table for Payments {
    type Key = Uuid;
    type State = Payment;
    const WHAT: &'static str = "payment is not what the log says";
    const PAGE: &'static str = "SELECT id, purpose, amount, reversed, status, method, reference, decline_code, created_at, \
                                ended_at, cycle_end, reload_max, spend_max FROM payment WHERE id > ? \
                                ORDER BY id LIMIT 2000";

    fn rows(transition: &Transition, mut tell: impl FnMut(Uuid, Option<&Payment>)) {
        for payment in &transition.payments {
            tell(payment.id.0, Some(payment));
        }
    }

    fn read(row: &QueryResult) -> Result<Payment, LedgerError> {
        load::payment(row)
    }
}

/// All tables, before the first row of the log.
pub(super) fn all() -> [Box<dyn Compare>; 9] {
    [
        compared::<Accounts>(),
        compared::<Grants>(),
        compared::<Holds>(),
        compared::<Keys>(),
        compared::<Revoked>(),
        compared::<Cards>(),
        compared::<Endpoints>(),
        compared::<Members>(),
        compared::<Payments>(),
    ]
}

/// The comparisons in words.
pub(super) fn checks() -> impl Iterator<Item = &'static str> {
    all().into_iter().map(|table| table.what())
}

/// The key of a row.
trait Key: Copy + Ord + Default + Send {
    fn read(row: &QueryResult) -> Result<Self, LedgerError>;

    fn values(self) -> Vec<Value>;

    /// The id that a violation names.
    fn id(self) -> Uuid;
}

impl Key for Uuid {
    fn read(row: &QueryResult) -> Result<Self, LedgerError> {
        Ok(row.try_get_by_index(0)?)
    }

    fn values(self) -> Vec<Value> {
        vec![self.into()]
    }

    fn id(self) -> Uuid {
        self
    }
}

impl Key for (Uuid, Uuid) {
    fn read(row: &QueryResult) -> Result<Self, LedgerError> {
        Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?))
    }

    fn values(self) -> Vec<Value> {
        vec![self.0.into(), self.1.into()]
    }

    fn id(self) -> Uuid {
        self.1
    }
}

/// A table's comparison: first the log is applied, then the rows are compared a page at a time, then the log explains the
/// differences, if there are any.
pub(super) trait Compare: Send {
    fn what(&self) -> &'static str;

    /// Remembers what a transition makes of the table.
    fn apply(&mut self, transition: &Transition);

    /// The query of the next page, and the key after which it begins.
    fn next(&self) -> (&'static str, Vec<Value>);

    /// Compares a page. If the log `is_whole`, a row that it does not have should not be there; else the row may be older.
    fn compare(&mut self, rows: &[QueryResult], is_whole: bool) -> Result<(), LedgerError>;

    /// Whether all rows are compared.
    fn is_done(&self) -> bool;

    fn has_differences(&self) -> bool;

    /// Remembers what a transition makes of the rows that differ.
    fn explain(&mut self, transition: &Transition);

    /// Tells the differences.
    fn say(&self, audit: &mut Audit);
}

struct Compared<T: Table> {
    /// The hashes of the last states in the log, less those that were compared.
    last: BTreeMap<T::Key, u64>,
    /// Nobody who changes a row knows how it is hashed.
    hashes: RandomState,
    /// The last key that was read.
    after: T::Key,
    is_done: bool,
    /// What was found of the first rows that differ.
    found: BTreeMap<T::Key, Option<T::State>>,
    /// What the log says of them.
    expected: BTreeMap<T::Key, Option<T::State>>,
}

fn compared<T: Table + 'static>() -> Box<dyn Compare> {
    Box::new(Compared::<T> {
        last: BTreeMap::new(),
        hashes: RandomState::new(),
        after: T::Key::default(),
        is_done: false,
        found: BTreeMap::new(),
        expected: BTreeMap::new(),
    })
}

impl<T: Table> Compared<T> {
    fn differs(&mut self, key: T::Key, found: Option<T::State>) {
        if self.found.len() < MOST {
            self.found.insert(key, found);
        }
    }

    /// The rows before a key that the log has, and the table has not.
    fn skip(&mut self, is_before: impl Fn(&T::Key) -> bool) {
        while let Some(first) = self.last.first_entry()
            && is_before(first.key())
        {
            let (key, _) = first.remove_entry();
            self.differs(key, None);
        }
    }
}

impl<T: Table> Compare for Compared<T> {
    fn what(&self) -> &'static str {
        T::WHAT
    }

    fn apply(&mut self, transition: &Transition) {
        let Self { last, hashes, .. } = self;
        T::rows(transition, |key, state| match state {
            Some(state) => drop(last.insert(key, hashes.hash_one(state))),
            None => drop(last.remove(&key)),
        });
    }

    fn next(&self) -> (&'static str, Vec<Value>) {
        (T::PAGE, self.after.values())
    }

    fn compare(&mut self, rows: &[QueryResult], is_whole: bool) -> Result<(), LedgerError> {
        for row in rows {
            let (key, found) = (T::Key::read(row)?, T::read(row)?);
            self.after = key;
            self.skip(|other| *other < key);
            let expected = self.last.first_entry().filter(|first| *first.key() == key).map(OccupiedEntry::remove);
            let is_so = expected.map_or(!is_whole, |expected| expected == self.hashes.hash_one(&found));
            if !is_so {
                self.differs(key, Some(found));
            }
        }
        if rows.len() < PAGE {
            self.skip(|_| true);
            self.is_done = true;
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.is_done
    }

    fn has_differences(&self) -> bool {
        !self.found.is_empty()
    }

    fn explain(&mut self, transition: &Transition) {
        T::rows(transition, |key, state| {
            if self.found.contains_key(&key) {
                self.expected.insert(key, state.cloned());
            }
        });
    }

    fn say(&self, audit: &mut Audit) {
        for (key, found) in &self.found {
            let expected = self.expected.get(key).and_then(Option::as_ref);
            audit.note(19, T::WHAT, format!("{}: {}", key.id(), T::differs(expected, found.as_ref())));
        }
    }
}

#[cfg(test)]
mod tests {
    use billing::{decide::open, ids::AccountId, plan::Plan};

    use crate::{project::Logged, tests::new_ledger};

    use super::*;

    #[tokio::test]
    async fn rows_are_compared_on_every_page_and_the_log_says_what_was_expected() {
        let (ledger, _folder) = new_ledger().await;
        let id = |number: i64| AccountId(Uuid::from_u128(number.unsigned_abs().into()));
        let many = i64::try_from(2 * PAGE).unwrap() + 5;
        let opened = (1..=many).map(|number| {
            let (_, opened) = open(id(number), format!("{number}@example.com"), Plan::Free, Timestamp(number));
            *opened.transition.unwrap()
        });
        let transitions: Vec<_> = opened.collect();
        let rows = [ledger.tails()[0].next(&transitions, Timestamp(9))];
        assert!(ledger.append(&rows).await.unwrap().is_empty());
        let logged = Logged::new(&rows[0], transitions, None);
        assert_eq!(ledger.audit().await.unwrap().behind, 1);
        ledger.project(&[logged]).await.unwrap();
        let audit = ledger.audit().await.unwrap();
        assert!(audit.ok && audit.behind == 0, "{:?}", audit.violations);

        let (first, last) = (id(3), id(many));
        for (sql, id) in [
            ("UPDATE account SET clock = clock + 1 WHERE id = ?", first),
            ("DELETE FROM credit_grant WHERE account_id = ?", last),
        ] {
            ledger.tables.execute_raw(ledger.statement(sql, [id.0.into()])).await.unwrap();
        }
        let audit = ledger.audit().await.unwrap();
        let said = |what: &str| {
            let of = audit.violations.iter().filter(|violation| violation.what.starts_with(what));
            of.map(|violation| violation.what.clone()).collect::<Vec<_>>()
        };
        let accounts = said(Accounts::WHAT);
        assert!(accounts.len() == 1 && accounts[0].contains(&first.0.to_string()), "{accounts:?}");
        assert!(accounts[0].contains("clock: Timestamp(3)") && accounts[0].contains("found Header"), "{accounts:?}");
        let grants = said(Grants::WHAT);
        assert!(grants.len() == 1 && grants[0].ends_with("found none"), "{grants:?}");
    }
}
