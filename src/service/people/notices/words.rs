//! Events in words, for letters. The data of an event are texts that the rules wrote; one that is missing, as in an event of an
//! earlier version, is left out.

use std::collections::BTreeMap;

use billing::event::EventKind;
use ledger::notices::Waiting;

/// The names of the things that events are about.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// The address of the account.
    pub(super) account: String,
    /// Names by ids.
    pub(super) of: BTreeMap<String, String>,
}

/// A kind of event, as people choose among them.
pub(super) const fn describe(kind: EventKind) -> &'static str {
    match kind {
        EventKind::LowBalance => "Credits have fallen below a line",
        EventKind::CreditsExpiring => "Credits expire soon",
        EventKind::ReloadFailed => "An automatic purchase was declined",
        EventKind::ReloadDisabled => "Automatic purchases were turned off, as they were declined too often",
        EventKind::ReloadCapped => "Auto-reload has reached its monthly maximum",
        EventKind::TierFalling => "The tier falls soon",
        EventKind::KeyLimitNear => "A key has reached a line of its limits",
        EventKind::SubscriptionRenewed => "The plan was renewed",
        EventKind::SubscriptionFailed => "The plan could not be renewed",
        EventKind::SubscriptionEnded => "The plan has ended",
        EventKind::PaymentReversed => "A payment was refunded or charged back",
        EventKind::PaymentRestored => "Credits of a refund or a dispute are back",
        EventKind::ReloadPaused => "Automatic purchases are paused, as credits were taken back",
        EventKind::WebhookDisabled => "A webhook was turned off, as it failed",
        EventKind::MemberJoined => "Somebody became a member",
        EventKind::MemberRoleChanged => "A member’s role was changed",
        EventKind::MemberLeft => "Somebody is a member no more",
        EventKind::MoreWanted => "A member asks for more",
        EventKind::AccountFrozen => "The account was frozen",
        EventKind::AccountUnfrozen => "The account is frozen no more",
    }
}

/// The subject of a letter about one event.
pub(super) fn subject(kind: EventKind, data: &BTreeMap<String, String>) -> String {
    match (kind, data.get("threshold")) {
        (EventKind::LowBalance, Some(line)) => format!("Credits have fallen below ${line}"),
        _ => describe(kind).replace('’', "'"),
    }
}

/// An event in a sentence.
pub(super) fn says(event: &Waiting, names: &Names) -> String {
    let Waiting { kind, data, .. } = event;
    let text = |name: &str| data.get(name).map_or("?", String::as_str);
    let dollars = |name: &str| format!("${}", text(name));
    let at = |name: &str| minute(text(name));
    let named = |name: &str| names.of.get(text(name)).map_or(text(name), String::as_str);
    match kind {
        EventKind::LowBalance => {
            let left = if data.contains_key("balance") { "balance" } else { "available" };
            format!("Credits have fallen below {}: {} is left.", dollars("threshold"), dollars(left))
        }
        EventKind::CreditsExpiring => {
            let (days, plural) = (text("days"), if text("days") == "1" { "" } else { "s" });
            let (amount, at) = (dollars("amount"), at("expires_at"));
            format!("{amount} of credits expire in {days} day{plural}, at {at}.")
        }
        EventKind::ReloadFailed => format!(
            "An automatic purchase of {} was declined ({}). It is tried again at {}.",
            dollars("amount"),
            text("decline_code"),
            at("retry_at")
        ),
        EventKind::ReloadDisabled => format!(
            "An automatic purchase of {} was declined ({}), for the {}th time in a row: automatic purchases are off.",
            dollars("amount"),
            text("decline_code"),
            text("failures")
        ),
        EventKind::ReloadCapped => format!(
            "Auto-reload buys no more this month: {} was spent, and {} more would exceed what is set.",
            dollars("spent"),
            dollars("amount")
        ),
        EventKind::TierFalling => format!(
            "At {} the tier falls from {} to {}: models up to {}, and {} concurrency units.",
            at("at"),
            dollars("from"),
            dollars("to"),
            text("largest_class"),
            text("units")
        ),
        EventKind::KeyLimitNear => format!(
            "The key {} has spent {} of its limit of {} ({}).",
            named("key_id"),
            dollars("spent"),
            dollars("limit"),
            match text("window") {
                "total" => "in all".to_owned(),
                window => format!("a {window}"),
            }
        ),
        EventKind::SubscriptionRenewed => {
            format!("The plan was renewed for {}, until {}.", dollars("fee"), at("paid_until"))
        }
        EventKind::SubscriptionFailed => format!(
            "The plan could not be renewed: the card was declined ({}). It is tried again at {}.",
            text("decline_code"),
            at("retry_at")
        ),
        EventKind::SubscriptionEnded => format!("The plan has ended ({}).", text("reason")),
        EventKind::PaymentReversed => {
            format!("{} of a payment was taken back ({}, {}).", dollars("amount"), text("kind"), text("state"))
        }
        EventKind::PaymentRestored => {
            format!("{} of a payment is back ({}, {}).", dollars("amount"), text("kind"), text("state"))
        }
        EventKind::ReloadPaused => format!(
            "Automatic purchases are paused, as credits were taken back ({}). Turn them on again where they are wanted.",
            text("reason")
        ),
        EventKind::WebhookDisabled => format!("A webhook was turned off ({}).", text("reason")),
        EventKind::MemberJoined => format!("{} became a member, as {}.", named("person_id"), text("role")),
        EventKind::MemberRoleChanged => {
            format!("{} is {} now, by {}.", named("person_id"), text("role"), named("by"))
        }
        EventKind::MemberLeft => format!("{} is a member no more, by {}.", named("person_id"), named("by")),
        EventKind::MoreWanted => match text("wants") {
            "limit" => format!("{} asks for a higher limit.", named("person_id")),
            wanted => format!("{} asks for {wanted}.", named("person_id")),
        },
        EventKind::AccountFrozen => {
            "The account was frozen by whoever runs this gateway: no new request is admitted. Ask them why.".to_owned()
        }
        EventKind::AccountUnfrozen => "The account is frozen no more: requests are admitted again.".to_owned(),
    }
}

/// A time to the minute.
pub(super) fn minute(at: &str) -> String {
    match (at.get(..10), at.get(11..16)) {
        (Some(day), Some(minute)) => format!("{day} {minute} UTC"),
        _ => at.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use billing::{Timestamp, ids::AccountId};
    use uuid::Uuid;

    use super::*;

    fn said(kind: EventKind, data: &[(&str, &str)]) -> String {
        let data = data.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        let event = Waiting { account_id: AccountId(Uuid::nil()), event_id: Uuid::nil(), kind, at: Timestamp(0), data };
        let of = [("k1".to_owned(), "laptop".to_owned()), ("p1".to_owned(), "bob@example.com".to_owned())].into();
        says(&event, &Names { account: String::new(), of })
    }

    #[test]
    fn events_are_told_in_sentences() {
        let low = [("available", "0.10"), ("balance", "4.90"), ("threshold", "5.00")];
        assert_eq!(said(EventKind::LowBalance, &low), "Credits have fallen below $5.00: $4.90 is left.");
        assert_eq!(
            said(EventKind::LowBalance, &[low[0], low[2]]),
            "Credits have fallen below $5.00: $0.10 is left.",
            "of an earlier version"
        );
        let near = [("key_id", "k1"), ("window", "day"), ("limit", "1.00"), ("spent", "0.81"), ("percent", "80")];
        assert_eq!(
            said(EventKind::KeyLimitNear, &near),
            "The key laptop has spent $0.81 of its limit of $1.00 (a day)."
        );
        let expiring = [("amount", "2.00"), ("days", "1"), ("expires_at", "2026-12-28T10:15:16.000Z")];
        assert_eq!(
            said(EventKind::CreditsExpiring, &expiring),
            "$2.00 of credits expire in 1 day, at 2026-12-28 10:15 UTC."
        );
        let changed = [("person_id", "p1"), ("role", "billing"), ("by", "operator")];
        assert_eq!(said(EventKind::MemberRoleChanged, &changed), "bob@example.com is billing now, by operator.");
    }

    #[test]
    fn each_kind_says_something_even_without_data() {
        for kind in EventKind::ALL {
            assert!(said(kind, &[]).len() > 10 && subject(kind, &BTreeMap::new()).is_ascii(), "{kind:?}");
        }
    }
}
