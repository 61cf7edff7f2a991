//! Speech from text, and text from speech.

use super::Upload;

/// A text to be spoken.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Speech {
    /// The text.
    pub input: String,
    /// The voice, where the provider has it for everyone.
    pub voice: Option<String>,
    /// Instructions on how to speak, in words.
    pub instructions: Option<String>,
    /// The encoding: `mp3`, `opus`, `wav`, ...
    pub format: Option<String>,
    /// The speed, 0.25 to 4; 1 is a person's usual speed.
    pub speed: Option<f32>,
}

impl Speech {
    /// The characters of the text, by which some providers bill.
    pub fn characters(&self) -> u64 {
        self.input.chars().count() as u64
    }
}

/// Speech to be transcribed.
#[derive(Debug, Clone, PartialEq)]
pub struct Transcription {
    /// The recording.
    pub recording: Upload,
    /// How long the recording lasts, in milliseconds; `None` where that could not be measured.
    pub milliseconds: Option<u64>,
    /// Whether the text is translated to English.
    pub translate: bool,
    /// A text with likely words, to guide the model.
    pub prompt: Option<String>,
    /// What the answer is.
    pub form: TranscriptForm,
}

/// What the answer to a transcription is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TranscriptForm {
    /// An object with the text.
    #[default]
    Object,
    /// The text alone.
    Text,
    /// Subtitles, as `SubRip` has them or as `WebVTT` has them. They are the provider's own words.
    Subtitles,
}
