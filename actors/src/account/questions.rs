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

    /// Whether it may be asked again where nobody knows if it was handled.
    fn repeats(&self) -> Repeats {
        Repeats::Always
    }
}

/// Whether a question may be asked again where nobody knows if it was handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeats {
    /// Once may be enough.
    Never,
    /// Only as long as no other node can have counted this one as gone since the first try: what the question began would be
    /// ended then, and it would begin once more.
    WhileKnown,
    /// The account has it once, or changes nothing.
    Always,
}

/// Says how a question becomes an input, and a value that crosses nodes.
macro_rules! asked {
    ($question:ty => $answer:ty, $name:expr, |$asked:pat_param, $reply:ident| $input:expr, $sent:expr $(, $repeats:expr)?) => {
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
                fn repeats(&self) -> Repeats {
                    $repeats(self)
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

asked!(
    Enter => Entered,
    |_: &Enter| "Enter",
    |enter, reply| Input::Enter(enter, reply),
    Self::Enter,
    |_: &Enter| Repeats::WhileKnown
);
asked!(
    Command => Answer,
    Command::name,
    |command, reply| Input::Decide(command, reply),
    |command| Self::Decide(Box::new(command)),
    |command: &Command| match command {
        Command::Accrue { .. } | Command::Sweep => Repeats::Always,
        _ => Repeats::Never,
    }
);
asked!(
    Buy => Bought,
    |_: &Buy| "Buy",
    |Buy(payment), reply| Input::Buy(payment, reply),
    Self::Buy,
    |_: &Buy| Repeats::Never
);
asked!(Open => Answer, |_: &Open| "Open", |open, reply| Input::Open(open, reply), Self::Open);
asked!(Look => Picture, |_: &Look| "Look", |Look, reply| Input::Look(reply), Self::Look);
asked!(Preview => Answer, |_: &Preview| "Preview", |Preview(admit), reply| Input::Preview(admit, reply), Self::Preview);
said!(Entered, Entered);
said!(Answer, Answer);
said!(Bought, Bought);
said!(Picture, Picture);
