//! What must be true of every transition, whichever rule made it. The journal checks this before a transition becomes a
//! part of the log: the log is never changed, so a wrong transition must not reach it. The tables' constraints check the
//! same once more.

use crate::{
    account::Header,
    entry::{Line, Transition},
    hold::Work,
    nanos::Nanos,
};

/// How a transition breaks a rule of money, if it does.
pub fn fault(transition: &Transition) -> Option<String> {
    let line = transition.lines.iter().find(|line| !adds_up(line));
    if let Some(line) = line {
        return Some(format!("a line {} does not add up: {line:?}", line.kind.name()));
    }
    if transition.seq == 0 && !transition.lines.is_empty() {
        return Some("its lines have no number".to_owned());
    }
    let grant = transition.grants.iter().find_map(|grant| Some((grant, grant.fault()?)));
    if let Some((grant, fault)) = grant {
        return Some(format!("grant {} {fault}", grant.id));
    }
    if transition.hold.as_ref().is_some_and(|hold| hold.is_parked && hold.work == Work::Closed) {
        return Some("a request without a permit gave one back".to_owned());
    }
    let negative = amounts(transition).find(|(_, amount)| *amount < Nanos::ZERO);
    negative.map(|(what, amount)| format!("{what} is negative: {amount}"))
}

/// The amounts that are never negative.
fn amounts(transition: &Transition) -> impl Iterator<Item = (&'static str, Nanos)> {
    let Header { debt, charged, .. } = transition.header;
    let of_hold = transition.hold.iter().flat_map(|hold| {
        let parts = hold.allocations.iter().map(|(_, amount)| ("a hold's part", *amount));
        [("a hold's cost", hold.accrued), ("a hold's highest cost", hold.worst_case)].into_iter().chain(parts)
    });
    let of_usage = transition.usage.iter().map(|usage| ("a charge", usage.charged));
    [("the debt", debt), ("the sum of charges", charged)].into_iter().chain(of_hold).chain(of_usage)
}

/// Whether a line moves exactly what it funds.
fn adds_up(line: &Line) -> bool {
    let Line { available, held, spent, expired, voided, .. } = line;
    [available, held, spent, expired, voided].into_iter().copied().sum::<Nanos>() == line.funded
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{Timestamp, entry::LineKind, ids::AccountId, plan::Plan};

    fn transition(seq: u64) -> Transition {
        let now = Timestamp(0);
        Transition::unchanged(AccountId(Uuid::from_u128(1)), seq, now, Header::new(Plan::Free, now))
    }

    fn said(change: impl FnOnce(&mut Transition)) -> Option<String> {
        let mut transition = transition(1);
        transition.lines.push(Line::new(LineKind::DebtRepaid));
        change(&mut transition);
        fault(&transition)
    }

    #[test]
    fn what_breaks_a_rule_is_named() {
        assert_eq!(said(|_| {}), None);
        let moved = |line: &mut Line| (line.available, line.held) = (Nanos::new(-5), Nanos::new(5));
        assert_eq!(said(|transition| moved(&mut transition.lines[0])), None);
        let from_nowhere = said(|transition| transition.lines[0].funded = Nanos::new(5));
        assert!(from_nowhere.unwrap().starts_with("a line debt_repaid does not add up"));
        assert_eq!(said(|transition| transition.seq = 0).unwrap(), "its lines have no number");
        assert!(
            said(|transition| transition.header.debt = Nanos::new(-1)).unwrap().starts_with("the debt is negative")
        );
    }
}
