//! One question to an account that other nodes may answer for, pure: whether it is asked again after an answer. It knows no
//! node, no clock and no channel.

use billing::{
    command::{Answer, Command, Reply},
    ids::RequestId,
};

use crate::{
    account::{AccountError, Asked, Question, Repeats},
    running::Amounts,
};

/// What follows an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next<T> {
    /// The question is asked again, a little later.
    Again,
    /// This is the asker's answer.
    Done(Result<T, AccountError>),
}

/// A question that is asked until a node answers for its account.
#[derive(Debug, Clone)]
pub struct Asking {
    repeats: Repeats,
    /// What was handled, perhaps, without an answer. What a later try fails with says nothing of that.
    unknown: Option<AccountError>,
}

impl Asking {
    /// A question that was not asked yet.
    pub fn new<Q: Asked>(question: &Q) -> Self {
        Self { repeats: question.repeats(), unknown: None }
    }

    /// Takes the answer to a try. `is_here` is whether this process answers for the account now, `has_time` whether the
    /// asker still waits.
    pub fn next<T>(&mut self, answer: Result<T, AccountError>, is_here: bool, has_time: bool) -> Next<T> {
        match answer {
            Err(AccountError::Moved) if has_time => Next::Again,
            // It was waiting at an account that left meanwhile.
            Err(error @ AccountError::Unavailable(_)) if has_time && self.repeats != Repeats::Never && !is_here => {
                self.unknown = Some(error);
                Next::Again
            }
            Err(AccountError::Moved) => {
                let nobody = || AccountError::Unavailable("no node answers for the account now".into());
                Next::Done(Err(self.unknown.take().unwrap_or_else(nobody)))
            }
            Err(error) => Next::Done(Err(self.unknown.take().unwrap_or(error))),
            Ok(answer) => Next::Done(Ok(answer)),
        }
    }

    /// To be asked before each further try: the asker's answer where it may not be asked again. `is_known` is whether no other
    /// node can have counted this one as gone since the first try.
    pub fn gives_up<T>(&mut self, is_known: bool) -> Option<Result<T, AccountError>> {
        if is_known || self.repeats != Repeats::WhileKnown {
            return None;
        }
        self.unknown.take().map(Err)
    }
}

/// The request whose hold grows by a question.
pub fn grows(question: &Question) -> Option<RequestId> {
    match question {
        Question::Decide(command) => match **command {
            Command::Accrue { request_id, .. } => Some(request_id),
            _ => None,
        },
        _ => None,
    }
}

/// What a hold grew to: it is published where its request runs, which is where the question was asked.
pub fn grown(answer: &Answer) -> Option<Amounts> {
    match answer.result {
        Ok(Reply::Accrued { held, claimed }) => Some(Amounts { held, claimed }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unavailable(why: &str) -> AccountError {
        AccountError::Unavailable(why.to_owned())
    }

    #[test]
    fn who_may_count_as_gone_does_not_ask_again_whether_it_may_run() {
        let ask = || Asking { repeats: Repeats::WhileKnown, unknown: None };
        let mut moved = ask();
        assert_eq!(moved.next::<()>(Err(AccountError::Moved), false, true), Next::Again);
        assert_eq!(moved.gives_up::<()>(false), None, "nothing was begun");
        let mut lost = ask();
        assert_eq!(lost.next::<()>(Err(unavailable("lost")), false, true), Next::Again);
        assert_eq!(lost.gives_up::<()>(true), None);
        assert_eq!(lost.next::<()>(Err(AccountError::Moved), false, true), Next::Again);
        assert_eq!(lost.gives_up::<()>(false), Some(Err(unavailable("lost"))));
        let mut sweep = Asking::new(&Command::Sweep);
        assert_eq!(sweep.next::<()>(Err(unavailable("lost")), false, true), Next::Again);
        assert_eq!(sweep.gives_up::<()>(false), None, "the account has it once");
    }

    #[test]
    fn who_moved_is_asked_again_and_what_may_have_been_handled_only_where_that_is_safe() {
        let mut sweep = Asking::new(&Command::Sweep);
        assert_eq!(sweep.next::<()>(Err(AccountError::Moved), true, true), Next::Again);
        assert_eq!(sweep.next::<()>(Err(unavailable("lost")), false, true), Next::Again);
        let overloaded = sweep.next::<()>(Err(AccountError::Overloaded), false, true);
        assert_eq!(overloaded, Next::Done(Err(unavailable("lost"))), "the first try may have been handled");
        let mut change = Asking::new(&Command::CancelSubscription);
        let lost = change.next::<()>(Err(unavailable("lost")), false, true);
        assert_eq!(lost, Next::Done(Err(unavailable("lost"))), "once may be enough");
        let rebuilt = Asking::new(&Command::Sweep).next::<()>(Err(unavailable("rebuilt")), true, true);
        assert_eq!(rebuilt, Next::Done(Err(unavailable("rebuilt"))), "this process says so itself");
        let late = Asking::new(&Command::Sweep).next::<()>(Err(AccountError::Moved), false, false);
        assert!(matches!(late, Next::Done(Err(AccountError::Unavailable(_)))));
        assert_eq!(Asking::new(&Command::Sweep).next(Ok(7), false, false), Next::Done(Ok(7)));
    }
}
