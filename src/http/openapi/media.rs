//! Speech, transcriptions and images in the document.

use utoipa::openapi::{
    RefOr,
    schema::{ArrayBuilder, KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type},
};

use super::inference::{of_type, open};
use crate::http::views::Dollars;

/// The media types of sounds.
pub(super) const SOUNDS: [&str; 8] = [
    "audio/mpeg",
    "audio/ogg",
    "audio/opus",
    "audio/aac",
    "audio/flac",
    "audio/wav",
    "audio/pcm",
    "application/octet-stream",
];

fn text(says: &'static str) -> ObjectBuilder {
    of_type(Type::String).description(Some(says))
}

pub(super) fn speech_body() -> RefOr<Schema> {
    let object = of_type(Type::Object)
        .property("model", of_type(Type::String))
        .property("input", text("The text that is spoken."))
        .property("voice", of_type(Type::String))
        .property("instructions", text("How to speak. Not every model reads them."))
        .property("response_format", text("`mp3` (if not given), `opus`, `aac`, `flac`, `wav` or `pcm`."))
        .property("speed", of_type(Type::Number).description(Some("0.25 to 4.")))
        .property("stream_format", text("`audio` (if not given), or `sse`: events, the last of which has the usage."));
    open(object.required("model").required("input")).into()
}

/// The bytes of a sound.
pub(super) fn sound() -> RefOr<Schema> {
    of_type(Type::String).format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary))).into()
}

pub(super) fn speech_events() -> RefOr<Schema> {
    text("Server-sent events: `speech.audio.delta`, then `speech.audio.done` with usage and cost.").into()
}

fn form() -> ObjectBuilder {
    let file = of_type(Type::String).format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary)));
    let says = "A recording of at most 25 MB: flac, mp3, mp4, m4a, ogg, wav or webm.";
    of_type(Type::Object)
        .property("file", file.description(Some(says)))
        .property("model", of_type(Type::String))
        .property("prompt", text("Likely words, to guide the model."))
        .property(
            "response_format",
            text("`json` (if not given), `text`, `srt`, `verbose_json`, `vtt` or `diarized_json`."),
        )
        .property("temperature", of_type(Type::Number))
        .required("file")
        .required("model")
}

pub(super) fn transcription_form() -> RefOr<Schema> {
    let object = form()
        .property("language", text("The language of the speech (ISO 639-1)."))
        .property("stream", of_type(Type::Boolean))
        .property("timestamp_granularities[]", ArrayBuilder::new().items(of_type(Type::String)))
        .property("include[]", ArrayBuilder::new().items(of_type(Type::String)));
    open(object).into()
}

pub(super) fn translation_form() -> RefOr<Schema> {
    open(form()).into()
}

/// An object with usage and cost.
fn charged(object: ObjectBuilder) -> ObjectBuilder {
    let usage = of_type(Type::Object).property("cost", Dollars::schema_of());
    open(object.property("usage", open(usage)).property("farebox", open(of_type(Type::Object))))
}

pub(super) fn transcript() -> RefOr<Schema> {
    charged(of_type(Type::Object).property("text", of_type(Type::String)).required("text")).into()
}

pub(super) fn transcript_events() -> RefOr<Schema> {
    text("Server-sent events: `transcript.text.delta`, then `transcript.text.done` with usage and cost.").into()
}

/// What images from text and edits share.
fn drawing() -> ObjectBuilder {
    let whole = |says| of_type(Type::Integer).description(Some(says));
    of_type(Type::Object)
        .property("model", of_type(Type::String))
        .property("prompt", of_type(Type::String))
        .property("n", whole("1 (if not given) to 10 images."))
        .property("size", text("`1024x1024`, `1024x1536`, `1536x1024`, another where the model has it, or `auto`."))
        .property("quality", text("`low`, `medium`, `high`, where the model has them `xhigh` and `max`, or `auto`."))
        .property("output_format", text("`png`, `jpeg` or `webp`."))
        .property("output_compression", of_type(Type::Integer))
        .property("background", of_type(Type::String))
        .property("response_format", text("`url` or `b64_json`, where the model has both."))
        .property("stream", of_type(Type::Boolean))
        .property("partial_images", whole("0 to 3 images that are shown before they are done. Each costs."))
        .required("model")
        .required("prompt")
}

pub(super) fn images_body() -> RefOr<Schema> {
    open(drawing().property("moderation", of_type(Type::String))).into()
}

pub(super) fn edits_form() -> RefOr<Schema> {
    let file = || of_type(Type::String).format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary)));
    let image = "One image (png, jpeg or webp), or up to 16 as `image[]`. An object in place of the form has `images`: \
                 objects with an `image_url`.";
    let object = drawing()
        .property("image", file().description(Some(image)))
        .property("mask", file().description(Some("What may change of the first image: where it is transparent.")))
        .property("input_fidelity", text("`low` or `high`, where the model has them."))
        .required("image");
    open(object).into()
}

pub(super) fn images() -> RefOr<Schema> {
    let object = of_type(Type::Object)
        .property("created", of_type(Type::Integer))
        .property("data", ArrayBuilder::new().items(open(of_type(Type::Object))))
        .required("data");
    charged(object).into()
}

pub(super) fn image_events() -> RefOr<Schema> {
    let says =
        "Server-sent events: `image_generation.partial_image`, then `image_generation.completed` with usage and cost.";
    text(says).into()
}

pub(super) fn edit_events() -> RefOr<Schema> {
    text("Server-sent events: `image_edit.partial_image`, then `image_edit.completed` with usage and cost.").into()
}
