//! How one payment is carried to its end, pure: what is to be done next, after each answer of the card processor and of the
//! account. While the processor knows the charge again by its key, an unanswered one is repeated with back-off; after that it
//! is only looked up, never charged again blindly. A charge that waits for its owner is given up after an hour. It knows no
//! clock, no processor and no account: whoever drives it (the payment actor, or a simulation with cards of its own) does what
//! it says and reports.

use billing::{
    Nanos, Timestamp,
    command::{Answer, Command, Refusal},
    entry::Notice,
    ids::GrantId,
    payment::Payment,
    time::DAY_MS,
};
use cards::{CardError, NextAction, Outcome, RefundOrder};

/// For how long the processor knows a charge again by its key: a day, less what a last call may take.
pub const SAME_KEY_MS: i64 = DAY_MS - 5 * 60_000;
/// How long a card's owner has.
const OWNER_MS: i64 = 60 * 60_000;
/// The first wait after no answer, and the longest; each is twice the one before.
const FIRST_WAIT_MS: i64 = 250;
const LONGEST_WAIT_MS: i64 = 5 * 60_000;
/// How often a charge that waits for its owner is looked at, where no notice comes.
const LOOK_MS: i64 = 30_000;

/// What an unanswered payment's code is once a look-up found that it was never charged.
const NEVER_CHARGED: &str = "never_charged";

/// Waits that grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackOff(i64);

impl Default for BackOff {
    fn default() -> Self {
        Self(FIRST_WAIT_MS)
    }
}

impl BackOff {
    /// Until when the next wait lasts that begins now.
    pub fn next(&mut self, now: Timestamp) -> Timestamp {
        let until = now.plus_ms(self.0);
        self.0 = (self.0 * 2).min(LONGEST_WAIT_MS);
        until
    }
}

/// Whether the processor still knows by its key what was first asked of it then.
pub fn is_known_again(begun: Timestamp, now: Timestamp) -> bool {
    now < begun.plus_ms(SAME_KEY_MS)
}

/// Whether a card may still be charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chargeable {
    /// It may.
    Yes,
    /// Not any more, or there never was one: what was charged before is looked up.
    No(&'static str),
}

/// What is to be done next for a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Charge the card, under the payment's id; then [`Pursuit::answered`].
    Charge,
    /// Look the charge up by the payment's id; then [`Pursuit::found`].
    Find,
    /// Look at the charge of this name; then [`Pursuit::answered`].
    Look(String),
    /// Give up the charge of this name; then [`Pursuit::answered`].
    Cancel(String),
    /// Tell the account what the card's owner must do; then [`Pursuit::next`].
    TellOwner(NextAction),
    /// Tell the account what came of it; then [`Pursuit::told`].
    Tell(Outcome),
    /// Wait until then; then [`Pursuit::next`].
    Wait {
        /// Until when.
        until: Timestamp,
        /// Whether a notice about the payment ends the wait.
        is_nudged: bool,
        /// What is not known yet, where that is why: worth a line in the log.
        why: Option<String>,
    },
    /// Nothing any more.
    End,
}

/// What came of telling an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// The payment ended, now or before, and that is durable; or its account is gone.
    Ended,
    /// The payment did not end.
    Open,
    /// It could not be told yet.
    NotYet,
}

/// How far a payment is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    /// The processor is to be asked, or is asked.
    Asks,
    /// The charge of this name waits for its owner.
    Waits(String),
    /// So long was waited for the owner of this charge.
    Waited(String),
    /// The charge of this name is looked at.
    Looks(String),
    /// A charge is given up.
    Cancels,
    /// The account is told, with waits of its own.
    Tells(Outcome, BackOff),
    Ended,
}

/// A payment on its way.
#[derive(Debug, Clone)]
pub struct Pursuit {
    created_at: Timestamp,
    is_automatic: bool,
    chargeable: Chargeable,
    back_off: BackOff,
    stage: Stage,
}

impl Pursuit {
    /// Of a pending payment.
    pub fn new(payment: &Payment, chargeable: Chargeable) -> Self {
        Self {
            created_at: payment.created_at,
            is_automatic: payment.purpose.is_automatic(),
            chargeable,
            back_off: BackOff::default(),
            stage: Stage::Asks,
        }
    }

    /// What is to be done now: at first, and after a wait.
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

    /// What the processor answered when it was asked, looked at, or told to cancel.
    pub fn answered(&mut self, outcome: Outcome, now: Timestamp) -> Step {
        match (self.stage.clone(), outcome) {
            (Stage::Looks(reference), Outcome::NeedsAuthentication(_) | Outcome::Unknown { .. }) => {
                self.stage = Stage::Waits(reference);
                self.next(now)
            }
            (Stage::Cancels, Outcome::NeedsAuthentication(_)) => {
                self.again(Some("it was not canceled".to_owned()), now)
            }
            // Nobody is there who could.
            (_, Outcome::NeedsAuthentication(action)) if self.is_automatic => self.cancel(action.reference),
            (_, Outcome::NeedsAuthentication(action)) => {
                self.stage = Stage::Waits(action.reference.clone());
                Step::TellOwner(action)
            }
            (_, Outcome::Unknown { why }) => self.again(Some(why), now),
            (_, ended @ (Outcome::Succeeded { .. } | Outcome::Declined { .. })) => {
                self.stage = Stage::Tells(ended.clone(), BackOff::default());
                Step::Tell(ended)
            }
        }
    }

    /// What the processor found when the charge was looked up: one it never heard of is never made.
    pub fn found(&mut self, found: Result<Option<Outcome>, CardError>, now: Timestamp) -> Step {
        let never = match self.chargeable {
            Chargeable::Yes => NEVER_CHARGED,
            Chargeable::No(why) => why,
        };
        let outcome = match found {
            Ok(Some(outcome)) => outcome,
            Ok(None) => Outcome::Declined { code: never.to_owned() },
            Err(error) => Outcome::Unknown { why: error.to_string() },
        };
        self.answered(outcome, now)
    }

    /// What came of telling the account.
    pub fn told(&mut self, told: Told, now: Timestamp) -> Step {
        match (&mut self.stage, told) {
            (_, Told::Ended) => {
                self.stage = Stage::Ended;
                Step::End
            }
            (Stage::Tells(_, back_off), Told::NotYet) => {
                Step::Wait { until: back_off.next(now), is_nudged: false, why: None }
            }
            (_, Told::Open | Told::NotYet) => self.again(None, now),
        }
    }

    fn cancel(&mut self, reference: String) -> Step {
        self.stage = Stage::Cancels;
        Step::Cancel(reference)
    }

    /// The processor is asked again, after a wait.
    fn again(&mut self, why: Option<String>, now: Timestamp) -> Step {
        self.stage = Stage::Asks;
        Step::Wait { until: self.back_off.next(now), is_nudged: false, why }
    }
}

/// What an account is to be told of an outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Telling {
    /// This.
    Command(Command),
    /// Nothing: it is not known yet what came of it.
    Nothing,
    /// Nothing: another amount was paid, and credits are only ever made for what was paid.
    AnotherAmount {
        /// The processor's name for the charge.
        reference: String,
        /// What was paid.
        paid: Nanos,
    },
}

/// What an account is told of its payment's outcome, and of the notice that it comes from.
pub fn telling(payment: &Payment, outcome: &Outcome, grant_id: GrantId, notice: Option<Notice>) -> Telling {
    let payment_id = payment.id;
    let command = match outcome {
        Outcome::Succeeded { reference, amount } if *amount != payment.amount => {
            return Telling::AnotherAmount { reference: reference.clone(), paid: *amount };
        }
        Outcome::Succeeded { reference, .. } => {
            Command::PaymentSucceeded { payment_id, grant_id, reference: Some(reference.clone()) }
        }
        Outcome::Declined { code } => Command::PaymentDeclined { payment_id, decline_code: code.clone() },
        Outcome::NeedsAuthentication(_) | Outcome::Unknown { .. } => return Telling::Nothing,
    };
    Telling::Command(noticed(notice, command))
}

/// A command, with the notice it comes from.
pub fn noticed(notice: Option<Notice>, command: Command) -> Command {
    match notice {
        Some(notice) => Command::Notified { notice, command: Box::new(command) },
        None => command,
    }
}

/// What an account's answer to an outcome means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The payment ended with it.
    Ended,
    /// It had ended before, as it was told then.
    EndedBefore,
    /// It had ended before, and was paid: this goes back if it had been declined, as [`goes_back`] says of its row.
    PaidAfterItEnded(RefundOrder),
    /// It refused.
    Refused(Refusal),
}

/// What an account's answer to an outcome means. An end that was told before, by an answer or a notice, changes nothing.
pub fn heard(payment: &Payment, outcome: &Outcome, answer: Answer) -> Heard {
    match (answer.result, outcome) {
        (Ok(_), _) => Heard::Ended,
        (Err(Refusal::NoPayment(_)), Outcome::Succeeded { reference, amount }) => {
            let (key, reference, amount) = (format!("late-{}", payment.id), reference.clone(), *amount);
            Heard::PaidAfterItEnded(RefundOrder { key, id: None, reference, amount })
        }
        (Err(Refusal::NoPayment(_)), _) => Heard::EndedBefore,
        (Err(refusal), _) => Heard::Refused(refusal),
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

    fn unknown() -> Outcome {
        Outcome::Unknown { why: "no answer".to_owned() }
    }

    fn needs_owner() -> Outcome {
        Outcome::NeedsAuthentication(NextAction { reference: "pi_1".to_owned(), client_secret: "secret".to_owned() })
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
        let never = Outcome::Declined { code: NEVER_CHARGED.to_owned() };
        assert_eq!(pursuit.found(Ok(None), late), Step::Tell(never.clone()));
        assert_eq!(until(&pursuit.told(Told::NotYet, late)), late.plus_ms(FIRST_WAIT_MS));
        assert_eq!(pursuit.next(late), Step::Tell(never));
        assert_eq!(pursuit.told(Told::Ended, late), Step::End);
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
