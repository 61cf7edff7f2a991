//! Automatic purchases. A purchase begins in the same commit as its cause, one at a time, within the monthly maximum. A
//! declined one is tried again later, a limited number of times. After credits were taken back there are none until the
//! owner sets them again (design, chapter 2.8). And alerts, which tell the owner that credits run low.

use super::draft::Draft;
use crate::{
    account::Automatic,
    alert,
    automatic::{AutoChange, AutoState, RETRIES_MS, SpendWindow, Switch},
    command::{Refusal, Reply, Scale},
    event::{Event, EventKind},
    nanos::Nanos,
    payment::{DEFAULT_METHOD, Maxima, Payment, Purpose},
    tier::Tier,
};

pub(super) fn set(draft: &mut Draft<'_>, change: AutoChange) -> Result<Reply, Refusal> {
    let before = draft.account.automatic().map(|automatic| automatic.settings.clone()).unwrap_or_default();
    let (reload, scale) = (change.reload, change.scale);
    let settings = change.apply(&before);
    settings.check().map_err(|(field, message)| Refusal::bad_amount(field, message))?;
    // After credits were taken back, purchases resume only when their owner turns them on. Turning on something else
    // never causes a reload.
    let resumes = reload == Some(Switch::On) || (scale == Some(Switch::On) && !settings.reload.is_on());
    let automatic = draft.automatic();
    automatic.settings = settings;
    let state = automatic.state.anew();
    automatic.state = AutoState { paused_at: state.paused_at.filter(|_| !resumes), ..state };
    Ok(Reply::Done)
}

/// Runs after every command: begins a reload if credits are low, and tells the owner how low they are. `before` is the balance
/// before the command, as [`Account::owned`](crate::account::Account::owned) has it.
pub(super) fn after(draft: &mut Draft<'_>, before: Nanos) {
    let reload = draft.account.automatic.as_deref().filter(|automatic| automatic.settings.reload.is_on());
    if reload.is_some_and(|automatic| draft.account.available < automatic.settings.threshold) {
        begin_reload(draft);
    }
    alert(draft, before);
}

/// Tells the owner of a line that the balance has fallen below. What running requests hold counts: it comes back, or is
/// charged, and a balance that went down and up with each request would say little.
fn alert(draft: &mut Draft<'_>, before: Nanos) {
    let (account, balance) = (&*draft.account, draft.account.owned());
    let usual = [account
        .automatic()
        .filter(|it| it.settings.reload.is_on())
        .map_or(alert::USUAL_LINE, |it| it.settings.threshold)];
    let own = account.automatic().and_then(|automatic| automatic.settings.alerts.as_deref());
    // What becomes of a purchase that is under way is told.
    if own.is_none() && account.is_buying_automatically() {
        return;
    }
    let known = account.automatic().map_or(&[][..], |automatic| &automatic.state.told);
    let mut told = known.to_vec();
    let crossed = alert::follow(&mut told, own.unwrap_or(&usual), before, balance);
    if told != known {
        draft.automatic().state.told = told;
    }
    if let Some(line) = crossed {
        let event = Event::new(EventKind::LowBalance, draft.event_subject());
        let event = event.amount("available", draft.account.available).amount("balance", balance);
        draft.tell(event.amount("threshold", line));
    }
}

/// Pauses automatic purchases because credits were taken back, until the owner sets them again. Only spending and
/// expiry may cause a purchase: a purchase that was taken back must not be repeated automatically.
pub(super) fn pause(draft: &mut Draft<'_>, reason: &str) {
    let now = draft.now;
    let automatic = draft.automatic();
    if automatic.state.paused_at.is_some() {
        return;
    }
    automatic.state.paused_at = Some(now);
    let is_on = automatic.settings.reload.is_on() || automatic.settings.scale.is_on();
    if is_on {
        let event = Event::new(EventKind::ReloadPaused, draft.event_subject());
        draft.tell(event.text("reason", reason));
    }
}

/// Begins a reload if that is possible.
fn begin_reload(draft: &mut Draft<'_>) {
    let now = draft.now;
    let Some(Automatic { settings, state, window }) = draft.account.automatic.as_deref() else { return };
    let is_early = state.paused_at.is_some() || state.retry_at.is_some_and(|at| now < at);
    let is_frozen = draft.account.header.frozen_at.is_some();
    if is_frozen || is_early || draft.account.is_buying_automatically() {
        return;
    }
    let (amount, month) = (settings.amount, now.month());
    if !window.at(now).has_room(Purpose::AutoReload, amount, settings) {
        if state.full_month != Some(month) {
            let subject = format!("{month} {} {}", settings.monthly_max, settings.monthly_spend);
            let event = Event::new(EventKind::ReloadCapped, subject)
                .amount("amount", amount)
                .amount("spent", window.at(now).all())
                .amount("monthly_max", settings.monthly_max)
                .amount("max_monthly_spend", settings.monthly_spend);
            draft.tell(event);
            draft.automatic().state.full_month = Some(month);
        }
        return;
    }
    buy(draft, Purpose::AutoReload, amount);
}

/// Reserves the amount in this month and begins the payment.
fn buy(draft: &mut Draft<'_>, purpose: Purpose, amount: Nanos) {
    let now = draft.now;
    let Automatic { settings, state, window } = draft.automatic();
    *window = window.at(now);
    window.reserve(purpose, amount, settings);
    state.retry_at = None;
    state.begun += 1;
    let number = state.begun;
    let method = settings.method.clone().unwrap_or_else(|| DEFAULT_METHOD.to_owned());
    let maxima = Maxima { reload: settings.monthly_max, spend: settings.monthly_spend };
    draft.begin_payment((purpose, number), amount, method, Some(maxima));
}

/// Buys the gap to the next tier with more units for a request that found no permit, if that is wanted and allowed.
pub(super) fn scale(draft: &mut Draft<'_>, wanted: Option<Switch>, tier: Tier) -> Scale {
    let now = draft.now;
    let settings = draft.account.automatic().map(|automatic| automatic.settings.scale).unwrap_or_default();
    if !wanted.unwrap_or(settings).is_on() {
        return Scale::Off;
    }
    if draft.account.is_buying_automatically() {
        return Scale::Buying;
    }
    let Some(next) = tier.next_with_more_units() else { return Scale::Top };
    let default = Automatic::default();
    let Automatic { settings, state, window } = draft.account.automatic().unwrap_or(&default);
    if state.paused_at.is_some() {
        return Scale::Paused;
    }
    if let Some(at) = state.retry_at.filter(|at| now < *at) {
        return Scale::NotBefore(at);
    }
    let amount = next.to_buy(draft.account.purchased(now));
    if !window.at(now).has_room(Purpose::AutoScale, amount, settings) {
        return Scale::OverMaximum(amount);
    }
    buy(draft, Purpose::AutoScale, amount);
    Scale::Buying
}

/// Whether the payment's reservation is in the current window. Reservations of earlier months are gone.
fn is_reserved(payment: &Payment, window: &SpendWindow) -> bool {
    payment.purpose.is_automatic() && payment.created_at.month() == window.month
}

/// Settles the reservation of a payment that was paid.
pub(super) fn succeeded(draft: &mut Draft<'_>, payment: &Payment) {
    if !payment.purpose.is_automatic() {
        return;
    }
    let automatic = draft.automatic();
    if is_reserved(payment, &automatic.window) {
        automatic.window.settle(payment.purpose, payment.amount);
    }
    automatic.state.failures = 0;
    automatic.state.retry_at = None;
}

/// Returns the reservation of a payment that was declined, and sets the next attempt.
pub(super) fn declined(draft: &mut Draft<'_>, payment: &Payment, decline_code: &str) {
    if !payment.purpose.is_automatic() {
        return;
    }
    let now = draft.now;
    let automatic = draft.automatic();
    if is_reserved(payment, &automatic.window) {
        automatic.window.give_back(payment.purpose, payment.amount);
    }
    automatic.state.failures += 1;
    let failures = automatic.state.failures;
    let retry = usize::try_from(failures - 1).ok().and_then(|place| RETRIES_MS.get(place));
    let event = if let Some(wait) = retry {
        let retry_at = now.plus_ms(*wait);
        automatic.state.retry_at = Some(retry_at);
        Event::new(EventKind::ReloadFailed, payment.id.to_string()).at("retry_at", retry_at)
    } else {
        automatic.settings.reload = Switch::Off;
        automatic.settings.scale = Switch::Off;
        automatic.state = automatic.state.anew();
        Event::new(EventKind::ReloadDisabled, payment.id.to_string())
    };
    let event = event.text("purpose", payment.purpose.name()).amount("amount", payment.amount);
    draft.tell(event.text("decline_code", decline_code).text("failures", failures.to_string()));
}
