//! The questions to an account as values that cross nodes, and their answers.

use billing::command::{Answer, Command};
use serde::{Deserialize, Serialize};

use super::{AccountError, Bought, Buy, Enter, Entered, Look, Open, Picture, Preview};

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

    /// Whether it may be asked again where nobody knows if it was handled: the account has it once, or changes nothing.
    fn is_repeatable(&self) -> bool {
        true
    }
}

/// Says how a question and an answer become values that cross nodes.
macro_rules! asked {
    ($question:ty => $answer:ty, |$asked:pat_param| $sent:expr $(, $is_repeatable:expr)?) => {
        impl Asked for $question {
            type Answer = $answer;
            $(
                fn is_repeatable(&self) -> bool {
                    $is_repeatable(self)
                }
            )?
        }

        impl From<$question> for Question {
            fn from($asked: $question) -> Self {
                $sent
            }
        }
    };
}

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

asked!(Enter => Entered, |enter| Self::Enter(enter), |_: &Enter| false);
asked!(Command => Answer, |command| Self::Decide(Box::new(command)), |command: &Command| matches!(command, Command::Accrue { .. } | Command::Sweep));
asked!(Buy => Bought, |buy| Self::Buy(buy), |_: &Buy| false);
asked!(Open => Answer, |open| Self::Open(open));
asked!(Look => Picture, |look| Self::Look(look));
asked!(Preview => Answer, |preview| Self::Preview(preview));
said!(Entered, Entered);
said!(Answer, Answer);
said!(Bought, Bought);
said!(Picture, Picture);
