//! Image generation and image editing.

use super::Media;

/// Images to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageGeneration {
    /// The description of the image.
    pub prompt: String,
    /// The images to edit; empty where an image is made anew.
    pub images: Vec<Media>,
    /// The area of the first image that may change.
    pub mask: Option<Media>,
    /// The number of images; `None` for the model's default.
    pub n: Option<u32>,
    /// Width and height in pixels: `1024x1024`, or `auto`. A part of the price.
    pub size: Option<String>,
    /// `low`, `medium`, `high`, `auto`. A part of the price.
    pub quality: Option<String>,
    /// The encoding of the answer: `png`, `jpeg`, `webp`.
    pub format: Option<String>,
    /// How many images are shown before they are done.
    pub partials: u32,
}
