//! Alerts of an account and of a key, and what a member is told of.

use billing::{event::EventKind, notice::Choice};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Dollars;
use crate::service::{
    alerts::Lines,
    people::notices::{self, Chosen},
};

/// The balances below which the owner is told. A line is told again once the balance has been a quarter of it, and a dollar at
/// least, above it.
#[derive(Debug, Serialize, ToSchema)]
pub struct BalanceAlerts {
    object: &'static str,
    /// The lines.
    lines: Vec<Dollars>,
    /// Whether they are the usual ones, as none are set.
    usual: bool,
    /// Those that were told, and that the balance has not recovered from.
    told: Vec<Dollars>,
}

impl From<Lines> for BalanceAlerts {
    fn from(Lines { lines, are_own, told }: Lines) -> Self {
        let dollars = |lines: Vec<billing::Nanos>| lines.into_iter().map(Dollars::from).collect();
        Self { object: "balance_alerts", lines: dollars(lines), usual: !are_own, told: dollars(told) }
    }
}

/// The parts of a key's limits that the owner is told of.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyAlerts {
    /// The key's id.
    pub id: Uuid,
    /// The parts, in percent.
    pub percents: Vec<u8>,
}

/// What a member is told of by mail.
#[derive(Debug, Serialize, ToSchema)]
pub struct Notifications {
    object: &'static str,
    /// The member's role, which says what is told where nothing is chosen.
    role: &'static str,
    /// Whether nothing is chosen.
    usual: bool,
    /// Each kind of event.
    events: Vec<EventNotice>,
    /// The keys whose events are told; null: all.
    #[schema(required)]
    keys: Option<Vec<Uuid>>,
}

/// Whether a kind of event is told by mail.
#[derive(Debug, Serialize, ToSchema)]
struct EventNotice {
    /// The kind, such as `low_balance`.
    kind: &'static str,
    /// The kind in words.
    says: &'static str,
    /// Whether it is told.
    mail: bool,
    /// Whether the role is told of it.
    usual: bool,
}

impl From<Chosen> for Notifications {
    fn from(Chosen { role, choice, is_own }: Chosen) -> Self {
        let usual = Choice::usual(role);
        let event = |kind: EventKind| EventNotice {
            kind: kind.name(),
            says: notices::describe(kind),
            mail: choice.kinds.contains(&kind),
            usual: usual.kinds.contains(&kind),
        };
        Self {
            object: "notifications",
            role: role.name(),
            usual: !is_own,
            events: EventKind::ALL.map(event).into(),
            keys: choice.keys.as_ref().map(|keys| keys.iter().map(|key| key.0).collect()),
        }
    }
}
