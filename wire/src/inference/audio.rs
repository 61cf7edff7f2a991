//! Speech from text, and text from speech.

use super::Media;

/// A text to be spoken.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Speech {
    /// The text.
    pub input: String,
    /// The voice.
    pub voice: String,
    /// Instructions on how to speak, in words.
    pub instructions: Option<String>,
    /// The encoding: `mp3`, `opus`, `wav`, ...
    pub format: Option<String>,
    /// The speed, 0.25 to 4; 1 is a person's usual speed.
    pub speed: Option<f32>,
}

/// Speech to be transcribed.
#[derive(Debug, Clone, PartialEq)]
pub struct Transcription {
    /// The recording.
    pub audio: Media,
    /// The file's name, by which some providers recognize the encoding.
    pub file_name: Option<String>,
    /// The language of the speech (ISO 639-1), where the client knows it.
    pub language: Option<String>,
    /// Whether the text is translated to English.
    pub translate: bool,
    /// A text with likely words, to guide the model.
    pub prompt: Option<String>,
    /// 0 to 1; 0 is greedy.
    pub temperature: Option<f32>,
    /// How finely the text is timed.
    pub timestamps: Timestamps,
}

/// How finely a transcription is timed.
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
