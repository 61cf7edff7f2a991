//! Rows of an account's state: the account, its grants, and its holds after a call.

use std::fmt::Write as _;

use billing::{
    Nanos,
    account::Header,
    entry::Opened,
    grant::Taken,
    hold::{Hold, Work},
};

use super::{Entry, merge::Merged};
use crate::rows::{Rows, Write};

/// Rows of new accounts. Their other rows follow.
pub(super) fn opened_rows<'a>(entries: &[Entry<'a>]) -> Rows<'a> {
    static WRITE: Write = Write::new("INSERT INTO account (id, email, plan, created_at, clock)", "");
    let mut rows = Rows::new(&WRITE, 5, 0);
    for Entry { transition, .. } in entries {
        let Some(Opened { email }) = &transition.opened else { continue };
        let Header { plan, created_at, .. } = &transition.header;
        rows.push([
            transition.account_id.0.into(),
            email.as_str().into(),
            plan.name().into(),
            created_at.0.into(),
            created_at.0.into(),
        ]);
    }
    rows
}

/// Each call changes every account that its other rows belong to. The time to wake has rows of its own.
pub(super) fn account_rows<'a>(merged: &Merged<'a>) -> Rows<'a> {
    static WRITE: Write = Write::new(
        "WITH v (plan, subscribed_until, debt, charged, seq, clock, frozen_at, id) AS (",
        ") UPDATE account SET plan = v.plan, subscribed_until = v.subscribed_until, debt = v.debt, \
         charged = v.charged, seq = v.seq, clock = v.clock, frozen_at = v.frozen_at FROM v WHERE account.id = v.id",
    );
    let mut rows = Rows::new(&WRITE, 8, merged.headers.len());
    for (id, header) in &merged.headers {
        rows.push([
            header.plan.name().into(),
            header.subscribed_until.map(|until| until.0).into(),
            header.debt.get().into(),
            header.charged.get().into(),
            header.seq.into(),
            header.clock.0.into(),
            header.frozen_at.map(|at| at.0).into(),
            id.0.into(),
        ]);
    }
    rows
}

/// The accounts' times to wake, which seldom change. SQLite rewrites an index's entry whenever its column is named, even
/// if the value stays the same.
pub(super) fn wake_rows<'a>(merged: &Merged<'a>) -> Rows<'a> {
    static WRITE: Write = Write::new(
        "WITH v (wake_at, id) AS (",
        ") UPDATE account SET wake_at = v.wake_at FROM v \
         WHERE account.id = v.id AND account.wake_at IS DISTINCT FROM v.wake_at",
    );
    let mut rows = Rows::new(&WRITE, 2, merged.headers.len());
    for (id, header) in &merged.headers {
        rows.push([header.wake_at.map(|at| at.0).into(), id.0.into()]);
    }
    rows
}

pub(super) fn grant_rows<'a>(merged: &Merged<'a>) -> Rows<'a> {
    static WRITE: Write = Write::new(
        "INSERT INTO credit_grant (id, account_id, source, source_key, paid, created_at, expires_at, funded, available, \
         held, spent, expired, voided, recall, notices)",
        "ON CONFLICT (id) DO UPDATE SET paid = excluded.paid, available = excluded.available, held = excluded.held, \
         spent = excluded.spent, expired = excluded.expired, voided = excluded.voided, recall = excluded.recall, \
         notices = excluded.notices",
    );
    let mut rows = Rows::new(&WRITE, 15, merged.grants.len());
    for (account_id, grant) in merged.grants.values() {
        rows.push([
            grant.id.0.into(),
            account_id.0.into(),
            grant.source.name().into(),
            (&*grant.source_key).into(),
            grant.paid.get().into(),
            grant.created_at.0.into(),
            grant.expires_at.0.into(),
            grant.funded.get().into(),
            grant.available.get().into(),
            grant.held.get().into(),
            grant.spent.get().into(),
            grant.expired.get().into(),
            grant.voided.get().into(),
            grant.recall.get().into(),
            i64::from(grant.notices).into(),
        ]);
    }
    rows
}

/// The changes of grants by refunds and disputes, apart from the rest: few grants ever have any.
pub(super) fn taken_rows<'a>(merged: &Merged<'a>) -> Rows<'a> {
    static WRITE: Write = Write::new(
        "WITH v (expires_at, unused, gone, held, spent, id) AS (",
        ") UPDATE credit_grant SET expires_at = v.expires_at, taken_unused = v.unused, taken_gone = v.gone, \
         taken_held = v.held, taken_spent = v.spent FROM v WHERE credit_grant.id = v.id",
    );
    let mut rows = Rows::new(&WRITE, 6, merged.taken.len());
    for grant in merged.taken.values() {
        let Taken { unused, gone, held, spent } = grant.taken;
        rows.push([
            grant.expires_at.0.into(),
            unused.get().into(),
            gone.get().into(),
            held.get().into(),
            spent.get().into(),
            grant.id.0.into(),
        ]);
    }
    rows
}

pub(super) fn hold_rows<'a>(merged: &Merged<'a>) -> Rows<'a> {
    static WRITE: Write = Write::new(
        "INSERT INTO hold (account_id, request_id, key_id, class, units, model, provider, price_version, allocations, accrued, worst_case, \
         claimed, placed_at, deadline, parked, session)",
        "ON CONFLICT (account_id, request_id) DO UPDATE SET allocations = excluded.allocations, \
                accrued = excluded.accrued, claimed = excluded.claimed, deadline = excluded.deadline, parked = excluded.parked",
    );
    let mut rows = Rows::new(&WRITE, 16, merged.holds.len());
    for (account_id, hold) in merged.holds.values() {
        let (class, units) = match hold.work {
            Work::Open { class, units } => (Some(class.name()), units.0),
            Work::Closed => (None, 0),
        };
        rows.push([
            account_id.0.into(),
            hold.request_id.0.into(),
            hold.key_id.map(|id| id.0).into(),
            class.into(),
            i64::from(units).into(),
            (&*hold.model).into(),
            (&*hold.provider).into(),
            hold.price_version.into(),
            allocations_text(hold).into(),
            hold.accrued.get().into(),
            hold.worst_case.get().into(),
            hold.claimed.map(Nanos::get).into(),
            hold.placed_at.0.into(),
            hold.deadline.0.into(),
            i64::from(hold.is_parked).into(),
            hold.session.as_deref().into(),
        ]);
    }
    rows
}

/// `grant=nanos` pairs, separated by spaces.
fn allocations_text(hold: &Hold) -> String {
    let mut text = String::with_capacity(48 * hold.allocations.len());
    for (grant, amount) in &hold.allocations {
        let between = if text.is_empty() { "" } else { " " };
        // Writing to a String never fails.
        let _ = write!(text, "{between}{}={}", grant.0.simple(), amount.get());
    }
    text
}

pub(super) fn ended_rows<'a>(merged: &Merged<'a>) -> Rows<'a> {
    static WRITE: Write = Write::new("DELETE FROM hold WHERE (account_id, request_id) IN (", ")");
    let mut rows = Rows::new(&WRITE, 2, merged.ended.len());
    for (account_id, request_id) in &merged.ended {
        rows.push([account_id.0.into(), request_id.0.into()]);
    }
    rows
}
