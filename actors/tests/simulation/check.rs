//! The invariants of the design's chapter 2.9, by their numbers; two about the outside: nothing leaves an account
//! before it is in the log, and cards were charged as the payments say; and three about the log and the tables made
//! from it. The rows are checked for every account that the log got a transition of, the memory for every account
//! with nothing pending.

use std::collections::BTreeMap;

use billing::{
    Nanos, Timestamp,
    account::Account,
    entry::LineKind,
    hold::Hold,
    ids::{AccountId, GrantId, RequestId},
    key::KeyWindow,
    payment::{Payment, PaymentStatus, Purpose},
    reversal::{credits, reversed},
    time::Month,
};

use crate::{clients::session_of, keys, rows::Rows};

/// An invariant's name.
pub(crate) type Rule = &'static str;

pub(crate) const ADDS_UP: Rule = "1: a grant adds up";
pub(crate) const REPLAY: Rule = "2: the journal gives every grant and total";
pub(crate) const EXPIRED: Rule = "3: an expired grant has nothing available";
pub(crate) const HELD: Rule = "4: held is what open holds were allocated";
pub(crate) const CHARGED: Rule = "5: spent and debt are what was charged";
pub(crate) const ONCE: Rule = "6: one capture a request";
pub(crate) const MEMORY: Rule = "7: memory is the durable state";
pub(crate) const HOLD_FIRST: Rule = "8: no call without a committed hold";
pub(crate) const DURABLE: Rule = "9: an acknowledged charge is durable";
pub(crate) const ENDED: Rule = "10: every request ends";
pub(crate) const PAID: Rule = "11: purchased grants are payments less reversals";
pub(crate) const MONTH: Rule = "12: automatic spending is within its month";
pub(crate) const DENSE: Rule = "13: the journal is dense and its owners in order";
pub(crate) const PERMITS: Rule = "14: permits are the running requests'";
pub(crate) const EXACT: Rule = "15: charged is the exact cost, rounded";
pub(crate) const KEYS: Rule = "18: a key's use is within its limits";
pub(crate) const FEW_KEYS: Rule = "an account has no more keys than it may have";
pub(crate) const ACTS: Rule = "one key, one act";
pub(crate) const TAKEN: Rule = "17: credits taken are what refunds and disputes that stand say";
pub(crate) const RELOAD: Rule = "only spending and expiry begin a purchase";
pub(crate) const VOID: Rule = "a void leaves nothing to running requests either";
pub(crate) const FROZEN: Rule = "a frozen account admits nothing, and buys nothing by itself";
pub(crate) const SESSION: Rule = "a record has the session of its request";
pub(crate) const OUTBOX: Rule = "the outbox rule";
pub(crate) const CARDS: Rule = "cards are charged what payments say";
pub(crate) const TABLES: Rule = "the tables are what the log says at their place";
pub(crate) const PROJECTED: Rule = "what is in the log can be projected";
pub(crate) const SHARD: Rule = "a shard's log has its own accounts' transitions";
pub(crate) const ALONE: Rule = "one node at a time answers for a shard";
pub(crate) const LIVES: Rule = "what runs at a node that lives is not settled by others";
pub(crate) const FENCED: Rule = "only a newer owner stops an owner";
pub(crate) const CHAIN: Rule = "a log that was changed is refused, and no other";
pub(crate) const SOUND: Rule = "an assertion of the rules";

/// A broken invariant.
#[derive(Debug, Clone)]
pub(crate) struct Violation {
    pub(crate) rule: Rule,
    pub(crate) what: String,
}

pub(crate) type Checked<T = ()> = Result<T, Violation>;

/// Fails with the text of `what` unless a condition holds.
pub(crate) fn ensure(holds: bool, rule: Rule, what: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(Violation { rule, what: what() }) }
}

/// Checks the rows of one account.
pub(crate) fn rows(id: AccountId, rows: &Rows) -> Checked {
    journal(rows)?;
    requests(rows)?;
    grants(rows)?;
    charges(id, rows)?;
    payments(rows)?;
    ensure(keys::are_few(rows), FEW_KEYS, || format!("{id} has the keys {:?}", rows.working))?;
    months(rows)
}

fn journal(rows: &Rows) -> Checked {
    let (mut seq, mut epoch) = (0, 0);
    for row in &rows.journal {
        ensure(row.seq == seq || row.seq == seq + 1, DENSE, || format!("{} after {seq}", row.seq))?;
        ensure(row.epoch >= epoch, DENSE, || format!("owner {} wrote {} after owner {epoch}", row.epoch, row.seq))?;
        (seq, epoch) = (row.seq, row.epoch);
    }
    ensure(rows.header.seq == seq, DENSE, || format!("the account is at {}, its journal at {seq}", rows.header.seq))
}

/// What the journal tells of one request.
#[derive(Default)]
struct Told {
    placed: Option<u64>,
    is_placed_again: bool,
    captured: Option<u64>,
    held: Nanos,
    charged: Nanos,
}

fn requests(rows: &Rows) -> Checked {
    let mut told: BTreeMap<RequestId, Told> = BTreeMap::new();
    for row in &rows.journal {
        let Some(id) = row.line.request_id else { continue };
        let request = told.entry(id).or_default();
        request.held += row.line.held;
        request.charged += row.line.spent + row.line.debt;
        match row.line.kind {
            LineKind::HoldPlaced => {
                request.is_placed_again |= request.placed.is_some_and(|seq| seq != row.seq);
                request.placed = Some(row.seq);
            }
            LineKind::HoldCaptured => {
                let is_same = request.captured.is_none_or(|seq| seq == row.seq);
                ensure(is_same, ONCE, || format!("{id} was captured twice"))?;
                request.captured = Some(row.seq);
            }
            _ => {}
        }
    }
    let mut records = BTreeMap::new();
    for usage in &rows.usage {
        let id = usage.request_id;
        ensure(records.insert(id, usage.charged).is_none(), ONCE, || format!("{id} has two records"))?;
        let request = told.get(&id).filter(|request| request.placed.is_some());
        let request = request.ok_or_else(|| Violation { rule: HOLD_FIRST, what: format!("{id} never had a hold") })?;
        ensure(request.charged == usage.charged, ONCE, || {
            format!("{id} was charged {}, its journal says {}", usage.charged, request.charged)
        })?;
        ensure(request.captured.is_some() == usage.charged.is_positive(), ONCE, || format!("{id}: charged, captured"))?;
        ensure(usage.session == session_of(id), SESSION, || format!("{id}: {:?}", usage.session))?;
        ensure(usage.cost.charged() == Ok(usage.charged), EXACT, || format!("{id}: {usage:?}"))?;
    }
    for (id, request) in &told {
        ensure(!request.is_placed_again, ONCE, || format!("{id} was admitted twice"))?;
        let (is_open, is_recorded) = (rows.holds.contains_key(id), records.contains_key(id));
        ensure(is_open != is_recorded, ENDED, || format!("{id}: open {is_open}, recorded {is_recorded}"))?;
        ensure(is_open || request.held == Nanos::ZERO, ENDED, || format!("{id} ended and still holds credits"))?;
    }
    let unknown = rows.holds.keys().find(|id| !told.contains_key(id));
    ensure(unknown.is_none(), ENDED, || format!("the hold of {unknown:?} is not in the journal"))
}

fn grants(rows: &Rows) -> Checked {
    let mut replayed: BTreeMap<GrantId, [Nanos; 6]> = BTreeMap::new();
    for row in &rows.journal {
        if let Some(id) = row.line.grant_id {
            let it = &row.line;
            let moved = [it.funded, it.available, it.held, it.spent, it.expired, it.voided];
            let buckets = replayed.entry(id).or_default();
            buckets.iter_mut().zip(moved).for_each(|(bucket, by)| *bucket += by);
        }
    }
    let mut allocated: BTreeMap<GrantId, Nanos> = BTreeMap::new();
    for (id, part) in rows.holds.values().flat_map(|hold| &hold.allocations) {
        *allocated.entry(*id).or_default() += *part;
    }
    let known = replayed.len();
    ensure(known == rows.grants.len(), REPLAY, || {
        format!("{known} grants in the journal, {} rows", rows.grants.len())
    })?;
    for (id, grant) in &rows.grants {
        let parts = [grant.available, grant.held, grant.spent, grant.expired, grant.voided];
        let adds_up = parts.iter().all(|part| *part >= Nanos::ZERO) && parts.into_iter().sum::<Nanos>() == grant.funded;
        ensure(adds_up, ADDS_UP, || format!("{grant:?}"))?;
        let row = [grant.funded, grant.available, grant.held, grant.spent, grant.expired, grant.voided];
        ensure(replayed.get(id) == Some(&row), REPLAY, || format!("{grant:?} is {:?}", replayed.get(id)))?;
        let is_over = grant.is_expired(rows.header.clock) && grant.available.is_positive();
        ensure(!is_over, EXPIRED, || format!("{grant:?} at {}", rows.header.clock))?;
        let held = allocated.remove(id).unwrap_or_default();
        ensure(held == grant.held, HELD, || format!("{grant:?}: open holds have {held}"))?;
    }
    ensure(allocated.is_empty(), HELD, || format!("{allocated:?} of no grant"))
}

fn charges(id: AccountId, rows: &Rows) -> Checked {
    let debt: Nanos = rows.journal.iter().map(|row| row.line.debt).sum();
    ensure(debt == rows.header.debt, REPLAY, || format!("{id} owes {}, its journal {debt}", rows.header.debt))?;
    let spent: Nanos = rows.grants.values().map(|grant| grant.spent).sum();
    let recorded: Nanos = rows.usage.iter().map(|usage| usage.charged).sum();
    let (charged, all) = (rows.header.charged, spent + debt);
    ensure(all == charged && recorded == charged, CHARGED, || {
        format!("{id}: spent and debt {all}, recorded {recorded}, charged {charged}")
    })
}

fn payments(rows: &Rows) -> Checked {
    for payment in rows.payments.values().filter(|it| it.status == PaymentStatus::Succeeded) {
        let key = payment.grant_key();
        let grants = rows.grants.values().filter(|grant| *grant.source_key == *key).count();
        ensure(grants == 1, PAID, || format!("{payment:?} has {grants} grants"))?;
    }
    for payment in rows.payments.values() {
        let standing = reversed(&rows.known(payment.id), payment.amount);
        ensure(payment.reversed == standing, PAID, || format!("{payment:?}, {standing} stand"))?;
        let key = payment.grant_key();
        for grant in rows.grants.values().filter(|grant| *grant.source_key == *key) {
            let taken = credits(grant.funded, standing, payment.amount);
            ensure(grant.taken.total() == taken, TAKEN, || format!("{taken} of {grant:?}"))?;
        }
    }
    let has_fees = rows.payments.values().any(|it| it.cycle_end.is_some());
    let paid_until = rows.paid_until(None);
    ensure(!has_fees || rows.header.subscribed_until == paid_until, PAID, || {
        format!("paid until {:?}, fees say {paid_until:?}", rows.header.subscribed_until)
    })?;
    for grant in rows.grants.values() {
        let is_of = |it: &&Payment| it.status == PaymentStatus::Succeeded && *it.grant_key() == *grant.source_key;
        let payment = rows.payments.values().find(is_of);
        ensure(payment.is_some() || !grant.source.is_paid(), PAID, || format!("{grant:?} was not paid"))?;
        let paid = payment.map_or(Nanos::ZERO, |it| it.amount - it.reversed);
        ensure(paid == grant.paid, PAID, || format!("{grant:?} of {payment:?}"))?;
    }
    let pending = |is: fn(Purpose) -> bool| {
        rows.payments.values().filter(|it| it.status == PaymentStatus::Pending && is(it.purpose)).count()
    };
    ensure(pending(Purpose::is_automatic) <= 1, MONTH, || "two automatic purchases in flight".to_owned())?;
    ensure(pending(|it| it == Purpose::Subscription) <= 1, PAID, || "two cycles in flight".to_owned())
}

fn months(rows: &Rows) -> Checked {
    let of = |month: Month, purpose, status| -> Nanos {
        let is = |it: &&Payment| it.purpose == purpose && it.status == status && it.created_at.month() == month;
        rows.payments.values().filter(is).map(|it| it.amount).sum()
    };
    for (month, window) in &rows.windows {
        let both = [PaymentStatus::Pending, PaymentStatus::Succeeded];
        let reloads = both.map(|status| of(*month, Purpose::AutoReload, status));
        let scales = both.map(|status| of(*month, Purpose::AutoScale, status));
        let (reloaded, all) = (reloads[0] + reloads[1], reloads[0] + reloads[1] + scales[0] + scales[1]);
        let within = reloaded <= window.reload_max && all <= window.spend_max;
        ensure(within, MONTH, || format!("{reloaded} and {all} in {month}: {window:?}"))?;
        if rows.windows.last_key_value().is_some_and(|(last, _)| last == month) {
            let counted = [window.reload_reserved, window.reload_settled, window.scale_reserved, window.scale_settled];
            let paid = [reloads[0], reloads[1], scales[0], scales[1]];
            ensure(counted == paid, MONTH, || format!("{month}: payments {paid:?}, {window:?}"))?;
        }
    }
    Ok(())
}

/// Checks that an account in memory with nothing pending equals the one that would be loaded.
pub(crate) fn memory(account: &Account, rows: &Rows, now: Timestamp) -> Checked {
    let at = now.max(rows.header.clock);
    let same = |what: &str, memory: String, disk: String| {
        ensure(memory == disk, MEMORY, || format!("{what}: in memory {memory}, on disk {disk}"))
    };
    if account.header != rows.header {
        same("header", format!("{:?}", account.header), format!("{:?}", rows.header))?;
    }
    let loaded = rows.load(account.id, now);
    for (id, grant) in account.grants().iter().map(|grant| (grant.id, grant)) {
        ensure(rows.grants.get(&id) == Some(grant), MEMORY, || format!("{grant:?}, {:?}", rows.grants.get(&id)))?;
    }
    let live = |account: &Account| -> Vec<GrantId> {
        account.grants().iter().filter(|grant| grant.is_live(at)).map(|grant| grant.id).collect()
    };
    ensure(live(account) == live(&loaded), MEMORY, || "live grants differ".to_owned())?;
    let mut holds: Vec<&Hold> = account.holds().collect();
    holds.sort_by_key(|hold| hold.request_id);
    ensure(holds.iter().copied().eq(rows.holds.values()), MEMORY, || format!("holds {holds:?}, {:?}", rows.holds))?;
    let mut pending: Vec<&Payment> = account.pending_payments().collect();
    pending.sort_by_key(|payment| payment.id);
    ensure(pending.iter().copied().eq(rows.pending()), MEMORY, || format!("payments {pending:?}"))?;
    let is_same = account.subscription() == rows.subscription.as_ref()
        && account.automatic() == rows.automatic().as_ref()
        && account.balance(at) == loaded.balance(at);
    ensure(is_same, MEMORY, || {
        let plan = |it: &Account| format!("{:?} {:?} {:?}", it.subscription(), it.automatic(), it.balance(at));
        format!("{} on disk {}", plan(account), plan(&loaded))
    })?;
    for (id, key) in account.keys() {
        let held: Nanos = rows.holds.values().filter(|hold| hold.key_id == Some(id)).map(Hold::claim).sum();
        for (window, spent) in KeyWindow::ALL.into_iter().zip(rows.spent_by_key(id, at)) {
            let used = key.used(window, at);
            ensure(used == spent + held, MEMORY, || format!("key {id} used {used}, records {spent} and {held} held"))?;
            let limit = key.limits().of(window).unwrap_or(used);
            ensure(used <= limit, KEYS, || format!("key {id} used {used} of {limit} in a {}", window.name()))?;
        }
    }
    Ok(())
}

/// Checks a keyed request by its unique amount: added at most once, and exactly once if its caller was told so.
pub(crate) fn act(rows: &Rows, amount: Nanos, is_told: bool) -> Checked {
    let done = rows.grants.values().filter(|grant| grant.funded == amount).count();
    ensure(done <= 1 && (done == 1 || !is_told), ACTS, || format!("the act of {amount} was done {done} times"))
}
