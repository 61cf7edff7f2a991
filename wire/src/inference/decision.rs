//! Decisions: questions about a text that are answered with a probability, a choice or a score, not with words.

/// Questions about a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The text that the questions are about.
    pub input: String,
    /// The questions, each answered on its own.
    pub questions: Vec<Question>,
}

/// One question.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// The question's name, by which its answer is identified.
    pub name: String,
    /// The question in words.
    pub text: String,
    /// The kind of answer.
    pub answer: AnswerKind,
}

/// The kind of a question's answer.
#[derive(Debug, Clone, PartialEq)]
pub enum AnswerKind {
    /// The probability that a statement is true, 0 to 1.
    Predicate,
    /// One of these options.
    Choice(Vec<String>),
    /// A number within a range.
    Score {
        /// The least.
        least: f32,
        /// The most.
        most: f32,
    },
}
