//! The plan of a request to an open model: whether the model can serve the request, and the seconds that the caller
//! pays for.

use std::sync::Arc;

use billing::{
    Nanos,
    class::Weighting,
    hold::{HoldRequest, Work},
};
use wire::inference::Request;

use super::{Plan, Target, invalid, max_cost::max_cost};
use crate::{
    catalogue::OpenModel,
    gateway::{capability, serve::ServeError},
};

/// Seconds held beyond the running one.
pub(in crate::gateway) const SLICE_SECONDS: u64 = 5;

/// The terms on which a pool runs a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::gateway) struct SecondsTerms {
    /// The model. Its class has the rate.
    pub(in crate::gateway) model: Arc<OpenModel>,
    /// The seconds that the caller's `max_cost` pays for; `None` without one.
    pub(in crate::gateway) allowed: Option<u64>,
}

impl SecondsTerms {
    /// The cost of seconds, clamped to the ledger's range.
    pub(in crate::gateway) fn cost(&self, seconds: u64) -> Nanos {
        self.model.class.cost_nanos(seconds)
    }

    /// The cost of the allowed seconds.
    pub(super) fn most(&self) -> Option<Nanos> {
        self.model.class.cost(self.allowed?).charged().ok()
    }
}

pub(super) fn plan(model: &Arc<OpenModel>, request: &Request, weighting: Weighting) -> Result<Plan, ServeError> {
    if !model.task.does(request.task()) {
        return Err(invalid("model", format!("{} does not do that; try its other route", model.id)));
    }
    capability::check_open(request)?;
    let class = model.class;
    let allowed = max_cost(request)?.map(|most| class.seconds_paid_by(most));
    if allowed == Some(0) {
        let message = format!("one second of class {} costs ${}", class.name(), class.per_second());
        return Err(invalid("max_cost", message));
    }
    let slice = class.cost_nanos(allowed.unwrap_or(SLICE_SECONDS).min(SLICE_SECONDS));
    Ok(Plan {
        work: Work::Open { class, units: class.weight(weighting) },
        hold: HoldRequest { minimum: class.cost_nanos(1), expected: slice, worst_case: slice },
        output: None,
        target: Target::Open(SecondsTerms { model: Arc::clone(model), allowed }),
    })
}

#[cfg(test)]
mod tests {
    use billing::class::SizeClass;
    use wire::format::openai::read_chat;

    use super::*;
    use crate::catalogue::OpenTask;

    fn planned(fields: &str) -> Result<(SecondsTerms, HoldRequest), ServeError> {
        let id: Arc<str> = "m".into();
        let (class, import) = (SizeClass::B7, (0, 0));
        let model = OpenModel {
            id,
            task: OpenTask::Generation,
            folder: "m".into(),
            class,
            parameters: 1,
            context: 8,
            needs_cpu: false,
            import,
        };
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}]{fields}}}"#);
        let request = read_chat(body.as_bytes()).unwrap();
        let plan = plan(&Arc::new(model), &request, Weighting::default())?;
        let Target::Open(terms) = plan.target else { panic!("planned for a provider") };
        Ok((terms, plan.hold))
    }

    #[test]
    fn max_cost_is_whole_seconds_at_the_rate_of_the_class() {
        let seconds = |max_cost: &str| planned(&format!(r#","max_cost":"{max_cost}""#)).unwrap();
        let (terms, hold) = seconds("0.000215999");
        assert_eq!((terms.allowed, terms.most()), (Some(2), Some(Nanos::new(144_000))));
        assert_eq!((hold.minimum, hold.worst_case), (Nanos::new(72_000), Nanos::new(144_000)));
        let (terms, hold) = seconds("0.0072");
        assert_eq!((terms.allowed, hold.worst_case), (Some(100), Nanos::new(360_000)), "a slice is held");
        let (terms, hold) = planned("").unwrap();
        assert_eq!((terms.allowed, terms.most(), hold.worst_case), (None, None, Nanos::new(360_000)));
    }

    #[test]
    fn what_no_second_is_paid_for_or_the_model_can_not_do_is_refused_by_its_field() {
        let Err(ServeError::Invalid { field, .. }) = planned(r#","max_cost":"0.000071999""#) else { panic!() };
        assert_eq!(field, "max_cost");
        assert!(matches!(planned(r#","functions":[{"name":"f"}]"#), Err(ServeError::Failed(_))));
    }
}
