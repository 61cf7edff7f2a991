//! Image generation and image editing.

use super::Upload;

/// Images to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageGeneration {
    /// The description of the image.
    pub prompt: String,
    /// The images that are edited; `None` where an image is made anew.
    pub edit: Option<ImageEdit>,
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

/// Images that are edited.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageEdit {
    /// How many images the model reads: those to edit, and those that say where.
    pub read: u32,
    /// The files of the request, where it is a form.
    pub files: Vec<Upload>,
}
