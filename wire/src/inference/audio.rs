//! Speech from text, and text from speech.

use super::Media;

/// A text to be spoken.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Speech {
    /// The text.
    pub input: String,
    /// Who speaks.
    pub voice: String,
    /// How it is to be spoken, in words.
    pub instructions: Option<String>,
    /// The encoding: `mp3`, `opus`, `wav`, ...
    pub format: Option<String>,
    /// 0.25 to 4; 1 is as fast as people speak.
    pub speed: Option<f32>,
}

/// Speech to be written down.
#[derive(Debug, Clone, PartialEq)]
pub struct Transcription {
    /// What is spoken.
    pub audio: Media,
    /// Its file's name, by which some providers know its encoding.
    pub file_name: Option<String>,
    /// The language it is spoken in (ISO 639-1), where the client knows it.
    pub language: Option<String>,
    /// Whether the text is to be English, whatever is spoken.
    pub translate: bool,
    /// Words that may come, to guide the model.
    pub prompt: Option<String>,
    /// 0 to 1; 0 is greedy.
    pub temperature: Option<f32>,
    /// How closely places in time are told.
    pub timestamps: Timestamps,
}

/// How closely a transcription tells when something was said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Timestamps {
    /// Not at all.
    #[default]
    None,
    /// By sentences or so.
    Segment,
    /// By words.
    Word,
}
