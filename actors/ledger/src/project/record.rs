//! Rows of facts: journal lines, usage, events, and proofs. They are written once and never changed.

use billing::{
    Nanos,
    attempt::Attempt,
    entry::{Line, Proof, Transition, UsageRecord},
    event::Event,
    quantity::Direction,
    timings::Timings,
};
use uuid::Uuid;

use super::{
    Entry,
    merge::{Merged, Noted},
};
use crate::{
    rollup::count,
    rows::{Rows, Write, storable},
};

pub(super) fn journal_rows<'a>(entries: &[Entry<'a>]) -> Rows<'a> {
    static WRITE: Write = Write::new(
        "INSERT INTO journal (account_id, seq, line, at, batch_id, epoch, kind, grant_id, request_id, d_funded, \
         d_available, d_held, d_spent, d_expired, d_voided, d_debt)",
        "",
    );
    let mut rows = Rows::new(&WRITE, 16, 2 * entries.len());
    for Entry { transition, batch_id, epoch } in entries {
        for (place, line) in transition.lines.iter().enumerate() {
            let Line { kind, grant_id, request_id, funded, available, held, spent, expired, voided, debt } = line;
            rows.push([
                transition.account_id.0.into(),
                transition.seq.into(),
                (place as u64).into(),
                transition.at.0.into(),
                (*batch_id).into(),
                (*epoch).into(),
                kind.name().into(),
                grant_id.map(|id| id.0).into(),
                request_id.map(|id| id.0).into(),
                funded.get().into(),
                available.get().into(),
                held.get().into(),
                spent.get().into(),
                expired.get().into(),
                voided.get().into(),
                debt.get().into(),
            ]);
        }
    }
    rows
}

pub(super) fn usage_rows<'a>(entries: &[Entry<'a>]) -> Rows<'a> {
    static WRITE: Write = Write::new(
        "INSERT INTO usage_record (account_id, request_id, key_id, model, provider, ending, input_tokens, \
         cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, estimated, compute_ms, billed_seconds, base_cost, fee, charged, \
         price_version, started_at, ended_at, quantities, session, admission_ms, load_ms, queue_ms, run_ms, first_ms)",
        "",
    );
    let mut rows = Rows::new(&WRITE, 27, entries.len());
    for Entry { transition, .. } in entries {
        let Some(usage) = &transition.usage else { continue };
        let UsageRecord { parts, cost, timings, .. } = usage;
        let ms = |of: fn(&Timings) -> u64| timings.as_deref().map(of);
        rows.push([
            transition.account_id.0.into(),
            usage.request_id.0.into(),
            usage.key_id.map(|id| id.0).into(),
            (&*usage.model).into(),
            (&*usage.provider).into(),
            usage.ending.name().into(),
            count(parts.tokens(Direction::Input)).into(),
            count(parts.cache_read()).into(),
            count(parts.cache_write()).into(),
            count(parts.tokens(Direction::Output)).into(),
            count(parts.reasoning()).into(),
            i64::from(usage.estimated).into(),
            count(usage.compute_ms).into(),
            count(usage.billed_seconds).into(),
            cost.base.normalize().to_string().into(),
            cost.fee.normalize().to_string().into(),
            usage.charged.get().into(),
            usage.price_version.into(),
            usage.started_at.0.into(),
            usage.ended_at.0.into(),
            parts.to_string().into(),
            usage.session.as_deref().into(),
            ms(|of| of.admission_ms).into(),
            ms(|of| of.load_ms).into(),
            ms(|of| of.queue_ms).into(),
            ms(|of| of.run_ms).into(),
            timings.as_deref().and_then(|of| of.first_ms).into(),
        ]);
    }
    rows
}

/// The attempts before those that records are of.
pub(super) fn attempt_rows<'a>(entries: &[Entry<'a>]) -> Rows<'a> {
    static WRITE: Write = Write::new(
        "INSERT INTO request_attempt (account_id, request_id, place, attempt_id, model, provider, status, code, \
         started_at, ended_at, charged)",
        "",
    );
    let mut rows = Rows::new(&WRITE, 11, 0);
    for Entry { transition, .. } in entries {
        let Some(usage) = &transition.usage else { continue };
        for (place, attempt) in usage.attempts.iter().enumerate() {
            let Attempt { request_id, model, provider, status, code, started_at, ended_at, charged } = attempt;
            rows.push([
                transition.account_id.0.into(),
                usage.request_id.0.into(),
                (place as u64).into(),
                request_id.map(|id| id.0).into(),
                (&**model).into(),
                provider.as_deref().into(),
                i64::from(*status).into(),
                (&**code).into(),
                started_at.0.into(),
                ended_at.0.into(),
                charged.get().into(),
            ]);
        }
    }
    rows
}

/// An event that is repeated exists already.
pub(super) fn event_rows<'a>(entries: &[Entry<'a>]) -> Rows<'a> {
    static WRITE: Write = Write::new(
        "INSERT INTO account_event (account_id, id, kind, subject, at, data)",
        "ON CONFLICT (account_id, kind, subject) DO NOTHING",
    );
    let mut rows = Rows::new(&WRITE, 6, 0);
    for Entry { transition, .. } in entries {
        for (place, event) in transition.events.iter().enumerate() {
            let data: serde_json::Map<_, _> = event
                .data
                .iter()
                .map(|(name, text)| {
                    (name.clone().into_owned(), storable(text).map_or_else(|| text.as_str().into(), Into::into))
                })
                .collect();
            rows.push([
                transition.account_id.0.into(),
                event_id(transition, place, event).into(),
                event.kind.name().into(),
                event.subject.as_str().into(),
                transition.at.0.into(),
                serde_json::Value::Object(data).to_string().into(),
            ]);
        }
    }
    rows
}

/// An event's id: the same whenever its row is made, and in the order of time as other ids.
fn event_id(transition: &Transition, place: usize, event: &Event) -> Uuid {
    let mut hasher = blake3::Hasher::new();
    for part in [transition.account_id.0.as_bytes(), event.kind.name().as_bytes(), b" ", event.subject.as_bytes()] {
        hasher.update(part);
    }
    let mut rest = [0; 10];
    hasher.finalize_xof().fill(&mut rest);
    // The events of a millisecond keep their order.
    let order = (transition.header.seq << 4 | place.min(15) as u64).to_be_bytes();
    rest[..2].copy_from_slice(&order[6..]);
    let at = u64::try_from(transition.at.0).unwrap_or_default();
    uuid::Builder::from_unix_timestamp_millis(at, &rest).into_uuid()
}

/// A processor's event is written with its effect. If it exists already, its effect does too: a repeated command
/// changes nothing but the time of the last delivery.
pub(super) fn notice_rows<'a>(merged: &Merged<'a>) -> Rows<'a> {
    static WRITE: Write = Write::new(NOTICE, NOTED);
    let mut rows = Rows::new(&WRITE, 5, merged.notices.len());
    for Noted { first, at, signed_at } in merged.notices.values() {
        rows.push([
            (&*first.processor).into(),
            first.id.as_str().into(),
            first.kind.as_str().into(),
            signed_at.0.into(),
            at.0.into(),
        ]);
    }
    rows
}

/// The amounts charged beyond keys' limits, ever.
pub(super) fn beyond_rows<'a>(merged: &Merged<'_>) -> Rows<'a> {
    static WRITE: Write =
        Write::new("WITH v (beyond, id) AS (", ") UPDATE api_key SET beyond = v.beyond FROM v WHERE api_key.id = v.id");
    let mut rows = Rows::new(&WRITE, 2, merged.beyond.len());
    for (id, beyond) in &merged.beyond {
        rows.push([beyond.get().into(), id.0.into()]);
    }
    rows
}

/// Operators' actions with their reasons.
pub(super) fn action_rows<'a>(entries: &[Entry<'a>]) -> Rows<'a> {
    static WRITE: Write = Write::new("INSERT INTO audit_log (id, at, account_id, action, subject, amount, reason)", "");
    let mut rows = Rows::new(&WRITE, 7, 0);
    for Entry { transition, .. } in entries {
        let Some(Proof { request_id, act, subject, amount, reason: Some(reason) }) = &transition.proof else {
            continue;
        };
        rows.push([
            request_id.0.into(),
            transition.at.0.into(),
            transition.account_id.0.into(),
            (&**act).into(),
            subject.as_str().into(),
            amount.map(Nanos::get).into(),
            reason.as_str().into(),
        ]);
    }
    rows
}

/// Proofs of other requests without a row of their own.
pub(super) fn proof_rows<'a>(entries: &[Entry<'a>]) -> Rows<'a> {
    static WRITE: Write = Write::new("INSERT INTO request_proof (id, at, account_id, act, subject, amount)", "");
    let mut rows = Rows::new(&WRITE, 6, 0);
    for Entry { transition, .. } in entries {
        let Some(Proof { request_id, act, subject, amount, reason: None }) = &transition.proof else { continue };
        rows.push([
            request_id.0.into(),
            transition.at.0.into(),
            transition.account_id.0.into(),
            (&**act).into(),
            subject.as_str().into(),
            amount.map(Nanos::get).into(),
        ]);
    }
    rows
}

/// The statement for a processor's event, around its values.
pub(crate) const NOTICE: &str = "INSERT INTO webhook_event (processor, id, kind, signed_at, at)";
pub(crate) const NOTED: &str = "ON CONFLICT (processor, id) DO UPDATE SET signed_at = excluded.signed_at \
                                WHERE webhook_event.signed_at < excluded.signed_at";
