//! Image generation, and changes to images.

use super::Media;

/// Images to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageGeneration {
    /// What is to be seen.
    pub prompt: String,
    /// What is changed; none where an image is made anew.
    pub images: Vec<Media>,
    /// Where the first of them may be changed.
    pub mask: Option<Media>,
    /// How many are wanted; the model's default where none is said.
    pub n: Option<u32>,
    /// Width and height in pixels: `1024x1024`, or `auto`. It is a part of the price.
    pub size: Option<String>,
    /// `low`, `medium`, `high`, `auto`. It is a part of the price.
    pub quality: Option<String>,
    /// The encoding of the answer: `png`, `jpeg`, `webp`.
    pub format: Option<String>,
}
