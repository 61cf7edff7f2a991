//! How one payment is carried to its end, pure: the next step after each answer of the card processor and of the
//! account. While the processor recognizes a charge by its key, an unanswered charge is repeated with back-off. After
//! that it is only looked up, never charged again blindly. A charge that waits for its owner is cancelled after an
//! hour. This file knows no clock, no processor and no account: the driver (the payment actor, or a simulation with its
//! own cards) does each step and reports the result.

use billing::{
    Nanos, Timestamp,
    command::{Answer, Command, Refusal},
    entry::Notice,
    ids::GrantId,
    payment::Payment,
    time::DAY_MS,
};
use cards::{CardError, ChargeOutcome, NextAction, RefundOrder};

/// How long the processor recognizes a charge by its key: a day, less the time of a last call.
pub const SAME_KEY_MS: i64 = DAY_MS - 5 * 60_000;
/// How long a card's owner has.
const OWNER_MS: i64 = 60 * 60_000;
/// The first wait after a missing answer, and the longest; each wait doubles.
const FIRST_WAIT_MS: i64 = 250;
const LONGEST_WAIT_MS: i64 = 5 * 60_000;
/// How often a charge that waits for its owner is fetched, where no event comes.
const LOOK_MS: i64 = 30_000;

/// The code of an unanswered payment once a look-up found that it was never charged.
const NEVER_CHARGED: &str = "never_charged";

/// Growing waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackOff(i64);

impl Default for BackOff {
    fn default() -> Self {
        Self(FIRST_WAIT_MS)
    }
}

impl BackOff {
    /// When a wait that begins now ends.
    pub fn next(&mut self, now: Timestamp) -> Timestamp {
        let until = now.plus_ms(self.0);
        self.0 = (self.0 * 2).min(LONGEST_WAIT_MS);
        until
    }
}

/// Whether the processor still recognizes by its key a charge first made at `begun`.
pub fn is_known_again(begun: Timestamp, now: Timestamp) -> bool {
    now < begun.plus_ms(SAME_KEY_MS)
}

/// Whether a card may still be charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chargeable {
    /// The card may be charged.
    Yes,
    /// The card may not be charged any more, or there never was one: an earlier charge is looked up.
    No(&'static str),
}

/// The next step for a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Charge the card, under the payment's id; then [`Pursuit::answered`].
    Charge,
    /// Look the charge up by the payment's id; then [`Pursuit::found`].
    Find,
    /// Fetch the charge with this id; then [`Pursuit::answered`].
    Look(String),
    /// Cancel the charge with this id; then [`Pursuit::answered`].
    Cancel(String),
    /// Report the owner's step to the account; then [`Pursuit::next`].
    TellOwner(NextAction),
    /// Report the outcome to the account; then [`Pursuit::reported`].
    Tell(ChargeOutcome),
    /// Wait until a time; then [`Pursuit::next`].
    Wait {
        /// The time.
        until: Timestamp,
        /// Whether an event about the payment ends the wait.
        is_nudged: bool,
        /// The reason, where something is still unknown: to be logged.
        why: Option<String>,
    },
    /// Nothing more to do.
    End,
}

/// The result of a report to an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportResult {
    /// The payment ended, now or before, and that is durable; or its account is gone.
    Ended,
    /// The payment did not end.
    Open,
    /// The report failed for now.
    NotYet,
}

/// The stage of a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    /// The processor is being asked.
    Asks,
    /// The charge with this id waits for its owner.
    Waits(String),
    /// The owner's time for the charge with this id is over.
    Waited(String),
    /// The charge with this id is being fetched.
    Looks(String),
    /// A charge is being cancelled.
    Cancels,
    /// The outcome is being reported to the account, with waits of its own.
    Tells(ChargeOutcome, BackOff),
    Ended,
}

/// A payment on its way to its end.
#[derive(Debug, Clone)]
pub struct Pursuit {
    created_at: Timestamp,
    is_automatic: bool,
    chargeable: Chargeable,
    back_off: BackOff,
    stage: Stage,
}

impl Pursuit {
    /// The pursuit of a pending payment.
    pub fn new(payment: &Payment, chargeable: Chargeable) -> Self {
        Self {
            created_at: payment.created_at,
            is_automatic: payment.purpose.is_automatic(),
            chargeable,
            back_off: BackOff::default(),
            stage: Stage::Asks,
        }
    }

    /// The next step, at first and after a wait.
    pub fn next(&mut self, now: Timestamp) -> Step {
        let until = self.created_at.plus_ms(OWNER_MS);
        match self.stage.clone() {
            Stage::Asks if self.chargeable == Chargeable::Yes && is_known_again(self.created_at, now) => Step::Charge,
            Stage::Asks => Step::Find,
            Stage::Waits(reference) if now < until => {
                self.stage = Stage::Waited(reference);
                Step::Wait { until: now.plus_ms(LOOK_MS).min(until), is_nudged: true, why: None }
            }
            Stage::Waited(reference) if now < until => {
                self.stage = Stage::Looks(reference.clone());
                Step::Look(reference)
            }
            Stage::Looks(reference) if now < until => Step::Look(reference),
            Stage::Waits(reference) | Stage::Waited(reference) | Stage::Looks(reference) => self.cancel(reference),
            Stage::Cancels => self.again(None, now),
            Stage::Tells(outcome, _) => Step::Tell(outcome),
            Stage::Ended => Step::End,
        }
    }

    /// Takes the processor's answer to a charge, a fetch or a cancellation.
    pub fn answered(&mut self, outcome: ChargeOutcome, now: Timestamp) -> Step {
        match (self.stage.clone(), outcome) {
            (Stage::Looks(reference), ChargeOutcome::NeedsAuthentication(_) | ChargeOutcome::Unknown { .. }) => {
                self.stage = Stage::Waits(reference);
                self.next(now)
            }
            (Stage::Cancels, ChargeOutcome::NeedsAuthentication(_)) => {
                self.again(Some("it was not canceled".to_owned()), now)
            }
            // An automatic payment has no owner present.
            (_, ChargeOutcome::NeedsAuthentication(action)) if self.is_automatic => self.cancel(action.reference),
            (_, ChargeOutcome::NeedsAuthentication(action)) => {
                self.stage = Stage::Waits(action.reference.clone());
                Step::TellOwner(action)
            }
            (_, ChargeOutcome::Unknown { why }) => self.again(Some(why), now),
            (_, ended @ (ChargeOutcome::Succeeded { .. } | ChargeOutcome::Declined { .. })) => {
                self.stage = Stage::Tells(ended.clone(), BackOff::default());
                Step::Tell(ended)
            }
        }
    }

    /// Takes the result of a look-up: a charge that the processor does not know is never made.
    pub fn found(&mut self, found: Result<Option<ChargeOutcome>, CardError>, now: Timestamp) -> Step {
        let never = match self.chargeable {
            Chargeable::Yes => NEVER_CHARGED,
            Chargeable::No(why) => why,
        };
        let outcome = match found {
            Ok(Some(outcome)) => outcome,
            Ok(None) => ChargeOutcome::Declined { code: never.to_owned() },
            Err(error) => ChargeOutcome::Unknown { why: error.to_string() },
        };
        self.answered(outcome, now)
    }

    /// Takes the result of a report to the account.
    pub fn reported(&mut self, result: ReportResult, now: Timestamp) -> Step {
        match (&mut self.stage, result) {
            (_, ReportResult::Ended) => {
                self.stage = Stage::Ended;
                Step::End
            }
            (Stage::Tells(_, back_off), ReportResult::NotYet) => {
                Step::Wait { until: back_off.next(now), is_nudged: false, why: None }
            }
            (_, ReportResult::Open | ReportResult::NotYet) => self.again(None, now),
        }
    }

    fn cancel(&mut self, reference: String) -> Step {
        self.stage = Stage::Cancels;
        Step::Cancel(reference)
    }

    /// Asks the processor again, after a wait.
    fn again(&mut self, why: Option<String>, now: Timestamp) -> Step {
        self.stage = Stage::Asks;
        Step::Wait { until: self.back_off.next(now), is_nudged: false, why }
    }
}

/// The report of an outcome to an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Telling {
    /// This command.
    Command(Command),
    /// None: the outcome is still unknown.
    Nothing,
    /// None: another amount was paid, and credits are only made for the right amount.
    AnotherAmount {
        /// The processor's id of the charge.
        reference: String,
        /// The amount paid.
        paid: Nanos,
    },
}

/// The report of a payment's outcome, and of the event that it comes from.
pub fn telling(payment: &Payment, outcome: &ChargeOutcome, grant_id: GrantId, notice: Option<Notice>) -> Telling {
    let payment_id = payment.id;
    let command = match outcome {
        ChargeOutcome::Succeeded { reference, amount } if *amount != payment.amount => {
            return Telling::AnotherAmount { reference: reference.clone(), paid: *amount };
        }
        ChargeOutcome::Succeeded { reference, .. } => {
            Command::PaymentSucceeded { payment_id, grant_id, reference: Some(reference.clone()) }
        }
        ChargeOutcome::Declined { code } => Command::PaymentDeclined { payment_id, decline_code: code.clone() },
        ChargeOutcome::NeedsAuthentication(_) | ChargeOutcome::Unknown { .. } => return Telling::Nothing,
    };
    Telling::Command(noticed(notice, command))
}

/// A command, with the event that it comes from.
pub fn noticed(notice: Option<Notice>, command: Command) -> Command {
    match notice {
        Some(notice) => Command::Notified { notice, command: Box::new(command) },
        None => command,
    }
}

/// The meaning of an account's answer to an outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnswerMeaning {
    /// The payment ended with this outcome.
    Ended,
    /// The payment had ended before, with the same outcome.
    EndedBefore,
    /// The payment had ended before, and was paid now. The money goes back if the payment was declined, as
    /// [`goes_back`] decides by its row.
    PaidAfterItEnded(RefundOrder),
    /// The account refused the outcome.
    Refused(Refusal),
}

/// The meaning of an account's answer to an outcome. An end that was reported before, by an answer or an event, changes
/// nothing.
pub fn meaning_of(payment: &Payment, outcome: &ChargeOutcome, answer: Answer) -> AnswerMeaning {
    match (answer.result, outcome) {
        (Ok(_), _) => AnswerMeaning::Ended,
        (Err(Refusal::NoPayment(_)), ChargeOutcome::Succeeded { reference, amount }) => {
            let (key, reference, amount) = (format!("late-{}", payment.id), reference.clone(), *amount);
            AnswerMeaning::PaidAfterItEnded(RefundOrder { key, id: None, reference, amount })
        }
        (Err(Refusal::NoPayment(_)), _) => AnswerMeaning::EndedBefore,
        (Err(refusal), _) => AnswerMeaning::Refused(refusal),
    }
}

/// Whether money that came for a payment after its end goes back, by the payment's row.
pub const fn goes_back(stored: &Payment) -> bool {
    stored.decline_code.is_some()
}

#[cfg(test)]
mod tests {
    use billing::{ids::PaymentId, payment::Purpose};
    use uuid::Uuid;

    use super::*;

    const NOW: Timestamp = Timestamp(1_000);

    fn pursuit(purpose: Purpose) -> Pursuit {
        let payment = Payment::new(PaymentId(Uuid::nil()), purpose, Nanos::dollars(10), "card".to_owned(), NOW);
        Pursuit::new(&payment, Chargeable::Yes)
    }

    fn unknown() -> ChargeOutcome {
        ChargeOutcome::Unknown { why: "no answer".to_owned() }
    }

    fn needs_owner() -> ChargeOutcome {
        ChargeOutcome::NeedsAuthentication(NextAction {
            reference: "pi_1".to_owned(),
            client_secret: "secret".to_owned(),
        })
    }

    fn until(step: &Step) -> Timestamp {
        match step {
            Step::Wait { until, .. } => *until,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn waits_double_up_to_five_minutes() {
        let mut back_off = BackOff::default();
        let waits: Vec<_> = (0..13).map(|_| back_off.next(Timestamp(0)).0).collect();
        assert_eq!(waits[..3], [250, 500, 1_000]);
        assert_eq!(waits[12], LONGEST_WAIT_MS);
    }

    #[test]
    fn an_unanswered_charge_is_repeated_while_it_is_known_again_and_then_only_looked_up() {
        let mut pursuit = pursuit(Purpose::Purchase);
        assert_eq!(pursuit.next(NOW), Step::Charge);
        assert_eq!(until(&pursuit.answered(unknown(), NOW)), NOW.plus_ms(FIRST_WAIT_MS));
        assert_eq!(pursuit.next(NOW.plus_ms(SAME_KEY_MS - 1)), Step::Charge);
        let late = NOW.plus_ms(SAME_KEY_MS);
        pursuit.answered(unknown(), late);
        assert_eq!(pursuit.next(late), Step::Find);
        let never = ChargeOutcome::Declined { code: NEVER_CHARGED.to_owned() };
        assert_eq!(pursuit.found(Ok(None), late), Step::Tell(never.clone()));
        assert_eq!(until(&pursuit.reported(ReportResult::NotYet, late)), late.plus_ms(FIRST_WAIT_MS));
        assert_eq!(pursuit.next(late), Step::Tell(never));
        assert_eq!(pursuit.reported(ReportResult::Ended, late), Step::End);
    }

    #[test]
    fn a_charge_that_waits_for_its_owner_is_looked_at_and_given_up_after_an_hour() {
        let mut owned = pursuit(Purpose::Purchase);
        owned.next(NOW);
        assert!(matches!(owned.answered(needs_owner(), NOW), Step::TellOwner(_)));
        assert_eq!(until(&owned.next(NOW)), NOW.plus_ms(LOOK_MS));
        let looked = NOW.plus_ms(LOOK_MS);
        assert_eq!(owned.next(looked), Step::Look("pi_1".to_owned()));
        assert_eq!(until(&owned.answered(unknown(), looked)), looked.plus_ms(LOOK_MS));
        assert_eq!(owned.next(NOW.plus_ms(OWNER_MS)), Step::Cancel("pi_1".to_owned()));
        assert!(matches!(owned.answered(needs_owner(), looked), Step::Wait { why: Some(_), .. }));
    }

    #[test]
    fn nobody_is_waited_for_in_an_automatic_purchase() {
        let mut automatic = pursuit(Purpose::AutoReload);
        automatic.next(NOW);
        assert_eq!(automatic.answered(needs_owner(), NOW), Step::Cancel("pi_1".to_owned()));
    }
}
