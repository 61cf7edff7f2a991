//! Rows of an account's purchases: payments, their reversals, its plan, and its automatic purchases.

use billing::{Nanos, account::Automatic, subscription::AtEnd};

use super::merge::Merged;
use crate::rows::{Rows, Write};

pub(super) fn reversal_rows<'a>(merged: &Merged<'a>) -> Rows<'a> {
    static WRITE: Write = Write::new(
        "INSERT INTO payment_reversal (payment_id, id, account_id, kind, reference, card, amount, state, created_at, \
         changed_at, left_ms)",
        "ON CONFLICT (payment_id, id) DO UPDATE SET reference = excluded.reference, card = excluded.card, \
         state = excluded.state, changed_at = excluded.changed_at, left_ms = excluded.left_ms",
    );
    let mut rows = Rows::new(&WRITE, 11, merged.reversals.len());
    for (account_id, row) in merged.reversals.values() {
        rows.push([
            row.payment_id.0.into(),
            row.id.0.into(),
            account_id.0.into(),
            row.kind.name().into(),
            row.reference.as_deref().into(),
            row.card.as_deref().into(),
            row.amount.get().into(),
            row.state.name().into(),
            row.created_at.0.into(),
            row.changed_at.map(|at| at.0).into(),
            row.left_ms.into(),
        ]);
    }
    rows
}

pub(super) fn payment_rows<'a>(merged: &Merged<'a>) -> Rows<'a> {
    static WRITE: Write = Write::new(
        "INSERT INTO payment (id, account_id, purpose, amount, reversed, status, method, reference, decline_code, \
         grant_key, created_at, ended_at, cycle_end, reload_max, spend_max)",
        "ON CONFLICT (id) DO UPDATE SET status = excluded.status, reversed = excluded.reversed, \
         reference = excluded.reference, decline_code = excluded.decline_code, ended_at = excluded.ended_at, \
         cycle_end = excluded.cycle_end",
    );
    let mut rows = Rows::new(&WRITE, 15, merged.payments.len());
    for (account_id, payment) in merged.payments.values() {
        rows.push([
            payment.id.0.into(),
            account_id.0.into(),
            payment.purpose.name().into(),
            payment.amount.get().into(),
            payment.reversed.get().into(),
            payment.status.name().into(),
            payment.method.as_str().into(),
            payment.reference.as_deref().into(),
            payment.decline_code.as_deref().into(),
            payment.grant_key().into(),
            payment.created_at.0.into(),
            payment.ended_at.map(|at| at.0).into(),
            payment.cycle_end.map(|at| at.0).into(),
            payment.maxima.map(|maxima| maxima.reload.get()).into(),
            payment.maxima.map(|maxima| maxima.spend.get()).into(),
        ]);
    }
    rows
}

pub(super) fn subscription_rows<'a>(merged: &Merged<'a>) -> Rows<'a> {
    static WRITE: Write = Write::new(
        "INSERT INTO subscription (account_id, status, cancels, method, started_at, failures, retry_at)",
        "ON CONFLICT (account_id) DO UPDATE SET status = excluded.status, cancels = excluded.cancels, \
         method = excluded.method, started_at = excluded.started_at, failures = excluded.failures, \
         retry_at = excluded.retry_at",
    );
    let mut rows = Rows::new(&WRITE, 7, merged.subscriptions.len());
    for (account_id, subscription) in &merged.subscriptions {
        rows.push([
            account_id.0.into(),
            subscription.status.name().into(),
            i64::from(subscription.at_end == AtEnd::Cancel).into(),
            subscription.method.as_str().into(),
            subscription.started_at.0.into(),
            i64::from(subscription.failures).into(),
            subscription.retry_at.map(|at| at.0).into(),
        ]);
    }
    rows
}

pub(super) fn automatic_rows<'a>(merged: &Merged<'a>) -> Rows<'a> {
    static WRITE: Write = Write::new(
        "INSERT INTO auto_purchase (account_id, reload, threshold, amount, monthly_max, scale, monthly_spend, method, \
         begun, failures, retry_at, full_month, paused_at, alerts, told)",
        "ON CONFLICT (account_id) DO UPDATE SET reload = excluded.reload, threshold = excluded.threshold, \
         amount = excluded.amount, monthly_max = excluded.monthly_max, scale = excluded.scale, \
         monthly_spend = excluded.monthly_spend, method = excluded.method, begun = excluded.begun, \
         failures = excluded.failures, retry_at = excluded.retry_at, full_month = excluded.full_month, \
         paused_at = excluded.paused_at, alerts = excluded.alerts, told = excluded.told",
    );
    let mut rows = Rows::new(&WRITE, 15, merged.automatics.len());
    for (account_id, Automatic { settings, state, .. }) in &merged.automatics {
        rows.push([
            account_id.0.into(),
            i64::from(settings.reload.is_on()).into(),
            settings.threshold.get().into(),
            settings.amount.get().into(),
            settings.monthly_max.get().into(),
            i64::from(settings.scale.is_on()).into(),
            settings.monthly_spend.get().into(),
            settings.method.as_deref().into(),
            state.begun.into(),
            i64::from(state.failures).into(),
            state.retry_at.map(|at| at.0).into(),
            state.full_month.map(|month| month.0).into(),
            state.paused_at.map(|at| at.0).into(),
            settings.alerts.as_deref().map(amounts_text).into(),
            amounts_text(&state.told).into(),
        ]);
    }
    rows
}

/// Amounts in nano-dollars between spaces.
fn amounts_text(amounts: &[Nanos]) -> String {
    amounts.iter().map(|amount| amount.get().to_string()).collect::<Vec<_>>().join(" ")
}

pub(super) fn window_rows<'a>(merged: &Merged<'a>) -> Rows<'a> {
    static WRITE: Write = Write::new(
        "INSERT INTO spend_window (account_id, month, reload_reserved, reload_settled, scale_reserved, \
         scale_settled, reload_max, spend_max)",
        "ON CONFLICT (account_id, month) DO UPDATE SET reload_reserved = excluded.reload_reserved, \
         reload_settled = excluded.reload_settled, scale_reserved = excluded.scale_reserved, \
         scale_settled = excluded.scale_settled, reload_max = excluded.reload_max, spend_max = excluded.spend_max",
    );
    let mut rows = Rows::new(&WRITE, 8, merged.windows.len());
    for ((account_id, month), window) in &merged.windows {
        rows.push([
            account_id.0.into(),
            month.0.into(),
            window.reload_reserved.get().into(),
            window.reload_settled.get().into(),
            window.scale_reserved.get().into(),
            window.scale_settled.get().into(),
            window.reload_max.get().into(),
            window.spend_max.get().into(),
        ]);
    }
    rows
}
