//! Acts: requests under an idempotency key that change money. Each is repeated until it is answered, at any process
//! that is alive then. An act without an answer may have been carried out: before it is repeated, its account is asked
//! to write everything pending, and its proof is looked for.

use billing::{
    Nanos,
    command::{Command, Fund},
    entry::Proof,
    grant::Source,
    ids::{AccountId, GrantId, RequestId},
};

use crate::{
    answers::{Answered, Got},
    asks::Who,
    marks::Mark,
    mutants::Mutant,
    world::World,
};

/// The stage of an act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Sent to this owner.
    Asked(u64),
    /// Not answered: to be looked for.
    Unknown,
    /// This owner was asked to write everything pending.
    Looking(u64),
    /// Everything pending was written: this owner looks for the proof in the tables, with this mark.
    Reading(u64, Mark),
    /// Everything pending was written, and there is no proof.
    Undone,
    /// The caller knows that the act was carried out.
    Told,
    /// Refused.
    Refused,
}

/// One act. Its amount is unique.
#[derive(Debug, Clone)]
pub(crate) struct Act {
    pub(crate) account: AccountId,
    pub(crate) amount: Nanos,
    stage: Stage,
}

impl Act {
    pub(crate) fn is_told(&self) -> bool {
        self.stage == Stage::Told
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Told | Stage::Refused)
    }

    /// A process died: the acts that it was asked for get no answer.
    pub(crate) fn is_left_by(&mut self, owner: u64) {
        if matches!(self.stage, Stage::Asked(of) | Stage::Looking(of) | Stage::Reading(of, _) if of == owner) {
            self.stage = Stage::Unknown;
        }
    }
}

impl World {
    /// A client sends an act.
    pub(crate) fn act_once(&mut self, owner: u64, account: AccountId) {
        let id = RequestId(self.new_id());
        let amount = Nanos::new(1_000 + i64::try_from(self.acts.len()).unwrap_or(0));
        self.say(|| format!("act {id} of {account} for {amount}"));
        self.stats.acts += 1;
        self.acts.insert(id, Act { account, amount, stage: Stage::Undone });
        self.attempt(owner, id);
    }

    /// Carries an act out. Each attempt would make a grant of its own.
    fn attempt(&mut self, owner: u64, id: RequestId) {
        let grant_id = GrantId(self.new_id());
        let Some(act) = self.acts.get_mut(&id) else { return };
        act.stage = Stage::Asked(owner);
        let (account, amount) = (act.account, act.amount);
        let fund = Fund {
            grant_id,
            source: Source::Goodwill,
            source_key: format!("try {grant_id}"),
            amount,
            paid: Nanos::ZERO,
            expires_at: None,
            subscribed_until: None,
        };
        let proof =
            Proof { request_id: id, act: "grant".into(), subject: String::new(), amount: Some(amount), reason: None };
        let command = Command::Proven { proof, command: Box::new(Command::Fund(fund)) };
        self.ask(owner, account, Who::Acting(id), command);
    }

    /// Repeats or looks for an act without an answer.
    pub(crate) fn act_goes_on(&mut self) -> bool {
        let able: Vec<RequestId> = self
            .acts
            .iter()
            .filter(|(_, act)| match act.stage {
                Stage::Unknown | Stage::Undone => true,
                Stage::Reading(owner, mark) => self.may_read(owner, mark),
                Stage::Asked(_) | Stage::Looking(_) | Stage::Told | Stage::Refused => false,
            })
            .map(|(id, _)| *id)
            .collect();
        let (Some(id), Some(owner)) = (self.random.pick(&able), self.any_owner()) else { return false };
        let Act { account, stage, .. } = self.acts[&id];
        let is_proved = self.disk.tables.has_proof(id);
        match stage {
            Stage::Undone => {
                self.say(|| format!("act {id} is asked again of owner {owner}"));
                self.stats.acts_again += 1;
                self.attempt(owner, id);
            }
            Stage::Reading(..) => {
                self.say(|| format!("act {id} is proved: {is_proved}"));
                self.end_act(id, if is_proved { Stage::Told } else { Stage::Undone });
            }
            Stage::Unknown | Stage::Asked(_) | Stage::Looking(_) | Stage::Told | Stage::Refused => {
                self.end_act(id, Stage::Looking(owner));
                self.ask(owner, account, Who::Acting(id), Command::Sweep);
            }
        }
        true
    }

    fn end_act(&mut self, id: RequestId, stage: Stage) {
        if let Some(act) = self.acts.get_mut(&id) {
            act.stage = stage;
        }
    }

    /// Takes the outcome of an act.
    pub(crate) fn acted(&mut self, id: RequestId, got: Got) {
        let Some(Act { account, stage, .. }) = self.acts.get(&id).cloned() else { return };
        let next = match (stage, got) {
            (Stage::Asked(_), Ok(Answered::Command(answer))) if answer.result.is_ok() => {
                if self.mutant == Some(Mutant::ProofInALaterCommit) {
                    self.disk.prove(account, id);
                }
                Stage::Told
            }
            (Stage::Asked(_), Ok(Answered::Command(_))) => Stage::Refused,
            (Stage::Looking(owner), Ok(_)) => Stage::Reading(owner, self.mark_of(owner)),
            (Stage::Asked(_) | Stage::Looking(_), _) => Stage::Unknown,
            (stage, _) => stage,
        };
        self.say(|| format!("act {id}: {next:?}"));
        self.end_act(id, next);
    }
}
