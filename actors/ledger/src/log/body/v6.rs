//! Form 6: the older forms, and alerts: an account's own lines of low credits, the lines that were told, and a key's own lines. A
//! body without any of that is written in an older form.

use billing::{Nanos, automatic, entry, resource::Resource};

/// Whether only this form can hold all of a transition.
pub(super) fn is_needed(transition: &entry::Transition) -> bool {
    let has_alerts = transition.automatic.as_ref().is_some_and(|it| Alerts::write(&it.settings, &it.state).is_some());
    has_alerts || transition.resources.iter().any(|resource| matches!(resource, Resource::KeyAlerts { .. }))
}

/// Alerts of an account.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Alerts {
    /// The owner's lines; none: the usual one.
    #[prost(message, optional, tag = "1")]
    lines: Option<Lines>,
    #[prost(int64, repeated, tag = "2")]
    told: Vec<i64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Lines {
    #[prost(int64, repeated, tag = "1")]
    lines: Vec<i64>,
}

fn written(lines: &[Nanos]) -> Vec<i64> {
    lines.iter().map(|line| line.get()).collect()
}

fn read(lines: Vec<i64>) -> Vec<Nanos> {
    lines.into_iter().map(Nanos::new).collect()
}

impl Alerts {
    /// None where there is nothing but what is usual.
    pub(super) fn write(settings: &automatic::AutoSettings, state: &automatic::AutoState) -> Option<Self> {
        let lines = settings.alerts.as_ref().map(|lines| Lines { lines: written(lines) });
        let alerts = Self { lines, told: written(&state.told) };
        (alerts != Self::default()).then_some(alerts)
    }

    /// The owner's lines, and those that were told.
    pub(super) fn read(self) -> (Option<Vec<Nanos>>, Vec<Nanos>) {
        (self.lines.map(|Lines { lines }| read(lines)), read(self.told))
    }
}
