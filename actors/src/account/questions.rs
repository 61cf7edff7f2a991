//! The questions to an account: as inputs of its machine, and as values that cross nodes, with their answers.

use billing::command::{Answer, Command};
use serde::{Deserialize, Serialize};

use super::{
    AccountError, Bought, Buy, Enter, Entered, Look, Open, Picture, Preview,
    machine::{Askers, Input},
};

/// A question to an account.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Question {
    /// Let a request run.
    Enter(Enter),
    /// Decide a command.
    Decide(Box<Command>),
    /// Begin a purchase.
    Buy(Buy),
    /// Open the account.
    Open(Open),
    /// Show the account.
    Look(Look),
    /// Decide a request without running it.
    Preview(Preview),
}

/// The answer to a [`Question`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Said {
    /// Whether the request may run.
    Entered(Box<Entered>),
    /// The answer to a command.
    Answer(Box<Answer>),
    /// The result of a purchase.
    Bought(Box<Bought>),
    /// The picture of the account.
    Picture(Box<Picture>),
}

/// A question, by its type.
pub trait Asked: Clone + Into<Question> + Send + 'static {
    /// The type of its answer.
    type Answer: TryFrom<Said, Error = AccountError> + Send + 'static;

    /// The question as an input of an account's machine.
    fn input<A: Askers>(self, reply: A::Reply<Self::Answer>) -> Input<A>;

    /// Its name, under which its times are summed.
    fn name(&self) -> &'static str;

    /// Whether it may be asked again where nobody knows if it was handled: the account has it once, or changes nothing.
    fn is_repeatable(&self) -> bool {
        true
    }
}

/// Says how a question becomes an input, and a value that crosses nodes.
macro_rules! asked {
    ($question:ty => $answer:ty, $name:expr, |$asked:pat_param, $reply:ident| $input:expr, $sent:expr $(, $is_repeatable:expr)?) => {
        impl Asked for $question {
            type Answer = $answer;

            fn name(&self) -> &'static str {
                $name(self)
            }

            fn input<A: Askers>(self, $reply: A::Reply<$answer>) -> Input<A> {
                let $asked = self;
                $input
            }
            $(
                fn is_repeatable(&self) -> bool {
                    $is_repeatable(self)
                }
            )?
        }

        impl From<$question> for Question {
            fn from(question: $question) -> Self {
                $sent(question)
            }
        }
    };
}

/// Says how an answer becomes a value that crosses nodes.
macro_rules! said {
    ($answer:ty, $said:ident) => {
        impl TryFrom<Said> for $answer {
            type Error = AccountError;

            fn try_from(said: Said) -> Result<Self, AccountError> {
                match said {
                    Said::$said(answer) => Ok(*answer),
                    _ => Err(AccountError::Unavailable("another node gave another answer than was asked for".into())),
                }
            }
        }

        impl From<$answer> for Said {
            fn from(answer: $answer) -> Self {
                Self::$said(Box::new(answer))
            }
        }
    };
}

asked!(Enter => Entered, |_: &Enter| "Enter", |enter, reply| Input::Enter(enter, reply), Self::Enter);
asked!(
    Command => Answer,
    Command::name,
    |command, reply| Input::Decide(command, reply),
    |command| Self::Decide(Box::new(command)),
    |command: &Command| matches!(command, Command::Accrue { .. } | Command::Sweep)
);
asked!(Buy => Bought, |_: &Buy| "Buy", |Buy(payment), reply| Input::Buy(payment, reply), Self::Buy, |_: &Buy| false);
asked!(Open => Answer, |_: &Open| "Open", |open, reply| Input::Open(open, reply), Self::Open);
asked!(Look => Picture, |_: &Look| "Look", |Look, reply| Input::Look(reply), Self::Look);
asked!(Preview => Answer, |_: &Preview| "Preview", |Preview(admit), reply| Input::Preview(admit, reply), Self::Preview);
said!(Entered, Entered);
said!(Answer, Answer);
said!(Bought, Bought);
said!(Picture, Picture);
