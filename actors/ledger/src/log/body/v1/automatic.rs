//! Stored automatic purchases, and alerts (of form 6).

use billing::{Nanos, account, automatic, time::Month};

use super::{
    super::v6::Alerts,
    BadBody,
    context::{Reading, Writing},
    malformed,
    numbers::{Numbered as _, value},
};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Automatic {
    #[prost(message, optional, tag = "1")]
    pub(super) settings: Option<Settings>,
    #[prost(message, optional, tag = "2")]
    state: Option<State>,
    #[prost(message, optional, tag = "3")]
    window: Option<Window>,
    #[prost(message, optional, tag = "4")]
    alerts: Option<Alerts>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Settings {
    #[prost(uint32, tag = "1")]
    pub(super) reload: u32,
    #[prost(int64, tag = "2")]
    threshold: i64,
    #[prost(int64, tag = "3")]
    amount: i64,
    #[prost(int64, tag = "4")]
    monthly_max: i64,
    #[prost(uint32, tag = "5")]
    pub(super) scale: u32,
    #[prost(int64, tag = "6")]
    monthly_spend: i64,
    #[prost(string, optional, tag = "7")]
    method: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct State {
    #[prost(uint64, tag = "1")]
    begun: u64,
    #[prost(uint32, tag = "2")]
    failures: u32,
    #[prost(sint64, optional, tag = "3")]
    retry_at: Option<i64>,
    #[prost(int64, optional, tag = "4")]
    full_month: Option<i64>,
    #[prost(sint64, optional, tag = "5")]
    paused_at: Option<i64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Window {
    #[prost(int64, tag = "1")]
    month: i64,
    #[prost(int64, tag = "2")]
    reload_reserved: i64,
    #[prost(int64, tag = "3")]
    reload_settled: i64,
    #[prost(int64, tag = "4")]
    scale_reserved: i64,
    #[prost(int64, tag = "5")]
    scale_settled: i64,
    #[prost(int64, tag = "6")]
    reload_max: i64,
    #[prost(int64, tag = "7")]
    spend_max: i64,
}

impl Automatic {
    pub(super) fn write(automatic: &account::Automatic, to: &Writing) -> Self {
        let account::Automatic { settings, state, window } = automatic;
        Self {
            settings: Some(Settings::write(settings)),
            state: Some(State::write(state, to)),
            window: Some(Window::write(*window)),
            alerts: Alerts::write(settings, state),
        }
    }

    pub(super) fn read(self, from: &Reading) -> Result<account::Automatic, BadBody> {
        let Self { settings, state, window, alerts } = self;
        let (alerts, told) = alerts.unwrap_or_default().read();
        Ok(account::Automatic {
            settings: settings.ok_or_else(|| malformed("automatic.settings"))?.read(alerts)?,
            state: state.ok_or_else(|| malformed("automatic.state"))?.read(told, from),
            window: window.ok_or_else(|| malformed("automatic.window"))?.read(),
        })
    }
}

impl Settings {
    fn write(settings: &automatic::AutoSettings) -> Self {
        let automatic::AutoSettings { reload, threshold, amount, monthly_max, scale, monthly_spend, method, alerts: _ } =
            settings;
        Self {
            reload: reload.number(),
            threshold: threshold.get(),
            amount: amount.get(),
            monthly_max: monthly_max.get(),
            scale: scale.number(),
            monthly_spend: monthly_spend.get(),
            method: method.clone(),
        }
    }

    fn read(self, alerts: Option<Vec<Nanos>>) -> Result<automatic::AutoSettings, BadBody> {
        let Self { reload, threshold, amount, monthly_max, scale, monthly_spend, method } = self;
        Ok(automatic::AutoSettings {
            reload: value(reload, "automatic.settings.reload")?,
            threshold: Nanos::new(threshold),
            amount: Nanos::new(amount),
            monthly_max: Nanos::new(monthly_max),
            scale: value(scale, "automatic.settings.scale")?,
            monthly_spend: Nanos::new(monthly_spend),
            method,
            alerts,
        })
    }
}

impl State {
    fn write(state: &automatic::AutoState, to: &Writing) -> Self {
        let automatic::AutoState { begun, failures, retry_at, full_month, paused_at, told: _ } = state;
        Self {
            begun: *begun,
            failures: *failures,
            retry_at: to.maybe_time(*retry_at),
            full_month: full_month.map(|Month(month)| month),
            paused_at: to.maybe_time(*paused_at),
        }
    }

    fn read(self, told: Vec<Nanos>, from: &Reading) -> automatic::AutoState {
        let Self { begun, failures, retry_at, full_month, paused_at } = self;
        automatic::AutoState {
            begun,
            failures,
            retry_at: from.maybe_time(retry_at),
            full_month: full_month.map(Month),
            paused_at: from.maybe_time(paused_at),
            told,
        }
    }
}

impl Window {
    fn write(window: automatic::SpendWindow) -> Self {
        let automatic::SpendWindow {
            month: Month(month),
            reload_reserved,
            reload_settled,
            scale_reserved,
            scale_settled,
            reload_max,
            spend_max,
        } = window;
        Self {
            month,
            reload_reserved: reload_reserved.get(),
            reload_settled: reload_settled.get(),
            scale_reserved: scale_reserved.get(),
            scale_settled: scale_settled.get(),
            reload_max: reload_max.get(),
            spend_max: spend_max.get(),
        }
    }

    fn read(self) -> automatic::SpendWindow {
        let Self { month, reload_reserved, reload_settled, scale_reserved, scale_settled, reload_max, spend_max } =
            self;
        automatic::SpendWindow {
            month: Month(month),
            reload_reserved: Nanos::new(reload_reserved),
            reload_settled: Nanos::new(reload_settled),
            scale_reserved: Nanos::new(scale_reserved),
            scale_settled: Nanos::new(scale_settled),
            reload_max: Nanos::new(reload_max),
            spend_max: Nanos::new(spend_max),
        }
    }
}
