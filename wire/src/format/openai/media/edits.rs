//! Images that are edited ("Create image edit", OpenAI API reference): the images come as the files of a form, or at
//! addresses in an object. The answer is that of images from text, under names of its own.

use bytes::Bytes;
use serde::Deserialize;

use super::{
    form::Form,
    images::{self, Writer},
};
use crate::{
    fields::{BadRequest, Fields},
    format::{ClientFormat, refused},
    inference::{ImageEdit, Request, Upload},
    object::Object,
};

/// The most images of a request, and the most bytes of one, as the API has it.
const MOST_IMAGES: usize = 16;
const LARGEST_IMAGE: usize = 50 << 20;
/// The fields of images in a form: those to edit, as one or as a list, and those that say where.
const IMAGE: &str = "image";
const LISTED: &str = "image[]";
const MASK: &str = "mask";
const MARKUP: &str = "markup";
/// The images in an object.
const IMAGES: &str = "images";
const FORM: Form = Form {
    files: &[IMAGE, LISTED, MASK, MARKUP],
    flags: &["stream"],
    numbers: &["n", "partial_images", "output_compression"],
    lists: &[],
};
/// Fields beside those of images from text: what images cost is bounded at either fidelity.
const KNOWN: [&str; 3] = [IMAGES, MASK, "input_fidelity"];
/// What the encodings begin with that are edited: PNG, JPEG, and WebP within RIFF.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
const JPEG: &[u8] = b"\xff\xd8\xff";
const RIFF: &[u8] = b"RIFF";
const WEBP: (usize, &[u8]) = (8, b"WEBP");

/// Edits, as clients ask for them.
#[derive(Debug)]
pub enum Editing {}

impl ClientFormat for Editing {
    type Writer = Writer;

    fn read(body: &[u8]) -> Result<Request, BadRequest> {
        read_edit(body)
    }

    fn writer(_: &Request, _: &str, _: i64) -> Writer {
        Writer::of_edits()
    }
}

/// An image in an object.
#[derive(Deserialize)]
struct Reference {
    image_url: Option<String>,
    file_id: Option<String>,
}

impl Reference {
    const MUST: &str = "an object with an image_url";

    const fn is_one(&self) -> bool {
        self.image_url.is_some() != self.file_id.is_some()
    }
}

/// The images of an object: those to edit, and the mask.
fn references(body: &Fields) -> Result<(Vec<Reference>, Option<Reference>), BadRequest> {
    let images: Option<Vec<Object<_>>> = body.read(IMAGES, "an array of objects with an image_url")?;
    let mask: Option<Object<_>> = body.read(MASK, Reference::MUST)?;
    let images = images.unwrap_or_default().into_iter().map(|Object(image)| image);
    Ok((images.collect(), mask.map(|Object(mask)| mask)))
}

/// Reads an object that asks for edits.
///
/// # Errors
///
/// The first field with a wrong value. The error is for the client, and names the field.
pub fn read_edit(body: &[u8]) -> Result<Request, BadRequest> {
    let body = Fields::of_client(body)?;
    let (images, mask) = references(&body)?;
    number_of(IMAGES, images.len())?;
    if let Some(place) = images.iter().position(|image| !image.is_one()) {
        return Err(BadRequest::new(format!("{IMAGES}[{place}]"), format!("must be {}", Reference::MUST)));
    }
    if mask.as_ref().is_some_and(|mask| !mask.is_one()) {
        return Err(BadRequest::new(MASK, format!("must be {}", Reference::MUST)));
    }
    images::read(body, Some(edit(images.len() + usize::from(mask.is_some()), Vec::new())))
}

/// Reads a form that asks for edits.
///
/// # Errors
///
/// The first field with a wrong value. The error is for the client, and names the field.
pub fn read_edit_form(content_type: &str, body: &Bytes) -> Result<Request, BadRequest> {
    let (fields, files) = FORM.read(content_type, body)?;
    let of = |field: &'static str| files.iter().filter(move |file| &*file.field == field).count();
    number_of(IMAGE, of(IMAGE) + of(LISTED))?;
    if let Some(twice) = [MASK, MARKUP].into_iter().find(|field| of(field) > 1) {
        return Err(BadRequest::new(twice, "comes twice"));
    }
    if let Some(file) = files.iter().find(|file| file.bytes.is_empty() || file.bytes.len() > LARGEST_IMAGE) {
        return Err(BadRequest::new(&*file.field, format!("must have 1 to {LARGEST_IMAGE} bytes")));
    }
    images::read(fields, Some(edit(files.len(), files)))
}

fn number_of(field: &str, images: usize) -> Result<(), BadRequest> {
    match images {
        0 => Err(BadRequest::new(field, "is required")),
        1..=MOST_IMAGES => Ok(()),
        _ => Err(BadRequest::new(field, format!("must be at most {MOST_IMAGES} images"))),
    }
}

fn edit(read: usize, files: Vec<Upload>) -> ImageEdit {
    ImageEdit { read: u32::try_from(read).unwrap_or(u32::MAX), files }
}

/// The fields of an edit whose cost is known, beside those of images from text.
///
/// # Errors
///
/// A file is no image, or is kept at the provider.
pub(super) fn known(body: &Fields, edit: &ImageEdit) -> Result<&'static [&'static str], BadRequest> {
    if let Some(file) = edit.files.iter().find(|file| !is_image(&file.bytes)) {
        return Err(BadRequest::new(&*file.field, "is no image: it must be png, jpeg or webp"));
    }
    if edit.files.is_empty() {
        let (images, mask) = references(body)?;
        if let Some(place) = images.iter().position(|image| image.file_id.is_some()) {
            return Err(refused::kept(&format!("{IMAGES}[{place}].file_id"), "image_url"));
        }
        if mask.is_some_and(|mask| mask.file_id.is_some()) {
            return Err(refused::kept("mask.file_id", "image_url"));
        }
    }
    Ok(&KNOWN)
}

fn is_image(bytes: &[u8]) -> bool {
    let is_webp = || bytes.starts_with(RIFF) && bytes.get(WEBP.0..).is_some_and(|rest| rest.starts_with(WEBP.1));
    bytes.starts_with(PNG) || bytes.starts_with(JPEG) || is_webp()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        format::{ProviderFormat as _, Upstream, openai::OpenAi, terms},
        inference::Work,
        multipart,
        usage::Tier,
    };

    const TYPE: &str = "multipart/form-data; boundary=xYz";
    const STANDARD: Upstream<'_> = Upstream { model: "up", max_output: 0, tier: Some(Tier::Standard) };

    fn form(parts: &[(&str, &[u8])]) -> Bytes {
        let mut form = Vec::new();
        for (name, value) in parts {
            let file = if FORM.files.contains(name) { "; filename=\"a.png\"\r\ncontent-type: image/png" } else { "" };
            let head = format!("--xYz\r\ncontent-disposition: form-data; name=\"{name}\"{file}\r\n\r\n");
            form.extend_from_slice(head.as_bytes());
            form.extend_from_slice(value);
            form.extend_from_slice(b"\r\n");
        }
        form.extend_from_slice(b"--xYz--\r\n");
        form.into()
    }

    fn of_form(parts: &[(&str, &[u8])]) -> Result<Request, BadRequest> {
        read_edit_form(TYPE, &form(parts))
    }

    fn of_object(fields: &str) -> Result<Request, BadRequest> {
        read_edit(format!(r#"{{"model":"gpt-image-2","prompt":"a hat"{fields}}}"#).as_bytes())
    }

    const MODEL: (&str, &[u8]) = ("model", b"gpt-image-2");
    const PROMPT: (&str, &[u8]) = ("prompt", b"a hat");

    #[test]
    fn every_image_of_a_form_goes_on_under_its_own_field() {
        let parts = [("image[]", PNG), MODEL, PROMPT, ("n", b"2"), ("image[]", JPEG), ("mask", PNG)];
        let request = of_form(&parts).unwrap();
        let Work::Image(images) = &request.work else { panic!() };
        assert_eq!((images.n, images.edit.as_ref().unwrap().read), (Some(2), 3));
        assert!(terms(&request).is_ok());
        let call = OpenAi.call(request, &STANDARD).unwrap();
        assert_eq!(&*call.path, "/images/edits");
        let (kind, form) = call.body();
        let sent = multipart::read(&kind, &form.into()).unwrap();
        let sent: Vec<_> = sent.parts.iter().map(|part| (&*part.name, &part.bytes[..])).collect();
        let expected = [("model", &b"up"[..]), PROMPT, ("n", b"2"), ("image[]", PNG), ("image[]", JPEG), ("mask", PNG)];
        assert_eq!(sent, expected);
    }

    #[test]
    fn a_list_is_no_image() {
        for fields in [r#","images":[["https://x/y.png",null]]"#, r#","images":[{"image_url":"x"}],"mask":["x",null]"#]
        {
            let refused = of_object(fields).unwrap_err();
            assert!(
                refused.to_string().contains(Reference::MUST) || refused.to_string().contains("objects"),
                "{refused}"
            );
        }
    }

    #[test]
    fn images_at_addresses_pass_in_an_object() {
        let images = r#","images":[{"image_url":"https://x/y.png"},{"image_url":"data:image/png;base64,AA=="}]"#;
        let request = of_object(images).unwrap();
        let Work::Image(asked) = &request.work else { panic!() };
        assert_eq!(asked.edit.as_ref().unwrap().read, 2);
        assert!(terms(&request).is_ok());
        let call = OpenAi.call(request, &STANDARD).unwrap();
        assert_eq!(call.body.to_json(), format!(r#"{{"model":"up","prompt":"a hat"{images}}}"#));
    }

    #[test]
    fn what_is_wrong_or_has_no_price_is_named() {
        let image = ("image", PNG);
        let many = vec![("image[]", PNG); 17];
        for (parts, field) in [
            (&[MODEL, PROMPT][..], "image"),
            (&[image, PROMPT], "model"),
            (&[image, MODEL], "prompt"),
            (&[image, MODEL, PROMPT, ("n", b"two")], "n"),
            (&[image, MODEL, PROMPT, ("n", b"11")], "n"),
            (&[image, MODEL, PROMPT, ("stream", b"yes")], "stream"),
            (&[image, MODEL, PROMPT, ("mask", PNG), ("mask", PNG)], "mask"),
            (&[("image", b""), MODEL, PROMPT], "image"),
            (&many, "image"),
        ] {
            assert_eq!(of_form(parts).unwrap_err().field, field, "{parts:?}");
        }
        for (parts, field) in [
            (("image[]", &b"<html>"[..]), "image[]"),
            (("mask", b"RIFF\0\0\0\0WAVE"), "mask"),
            (("complexity", b"high"), "complexity"),
            (("output_format", b"svg"), "output_format"),
        ] {
            let request = of_form(&[image, MODEL, PROMPT, parts]).unwrap();
            assert_eq!(terms(&request).unwrap_err().field, field);
        }
        let webp = ("image", &b"RIFF\0\0\0\0WEBPVP8 "[..]);
        assert!(terms(&of_form(&[webp, MODEL, PROMPT, ("input_fidelity", b"high")]).unwrap()).is_ok());
        for (fields, field) in [
            ("", "images"),
            (r#","images":[]"#, "images"),
            (r#","images":[{}]"#, "images[0]"),
            (r#","images":["x"]"#, "images"),
            (r#","images":[{"image_url":"x","file_id":"y"}]"#, "images[0]"),
            (r#","images":[{"image_url":"x"}],"mask":{}"#, "mask"),
        ] {
            assert_eq!(of_object(fields).unwrap_err().field, field, "{fields}");
        }
        for (fields, field) in [
            (r#","images":[{"file_id":"f"}]"#, "images[0].file_id"),
            (r#","images":[{"image_url":"x"}],"mask":{"file_id":"f"}"#, "mask.file_id"),
        ] {
            assert_eq!(terms(&of_object(fields).unwrap()).unwrap_err().field, field, "{fields}");
        }
    }
}
