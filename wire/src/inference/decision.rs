//! Decisions: questions about a text that are answered with a probability, a choice or a score, not with words.

/// Questions about a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// What is asked about.
    pub input: String,
    /// The questions, each answered by itself.
    pub questions: Vec<Question>,
}

/// One question.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// The question's name, by which its answer is found.
    pub name: String,
    /// The question in words.
    pub text: String,
    /// What answers it.
    pub answer: AnswerKind,
}

/// What answers a question.
#[derive(Debug, Clone, PartialEq)]
pub enum AnswerKind {
    /// How likely it is true, 0 to 1.
    Predicate,
    /// Which of these it is.
    Choice(Vec<String>),
    /// A number within a range.
    Score {
        /// The least.
        least: f32,
        /// The most.
        most: f32,
    },
}
