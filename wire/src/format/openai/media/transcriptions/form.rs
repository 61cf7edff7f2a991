//! The form of a transcription: its recording, and its fields.

use bytes::Bytes;

use super::{super::form::Form, FORMAT};
use crate::{
    fields::BadRequest,
    format::own::{self, Own},
    inference::{Request, Source, TranscriptForm, Transcription, Work},
    recording,
};

/// The largest file, as the API has it.
pub const LARGEST_FILE: usize = 25 << 20;
/// The field of the recording.
const FILE: &str = "file";
const FORM: Form = Form {
    files: &[FILE],
    flags: &["stream"],
    // A temperature passes as it was written.
    numbers: &[],
    lists: &[
        "include",
        "keywords",
        "languages",
        "timestamp_granularities",
        "known_speaker_names",
        "known_speaker_references",
    ],
};

/// Reads the form of a transcription, or of a translation to English.
///
/// # Errors
///
/// The first field with a wrong value. The error is for the client, and names the field.
pub fn read_form(content_type: &str, body: &Bytes, translate: bool) -> Result<Request, BadRequest> {
    let (mut body, mut files) = FORM.read(content_type, body)?;
    let recording = files.pop().ok_or_else(|| BadRequest::new(FILE, "is required"))?;
    if !files.is_empty() {
        return Err(BadRequest::new(FILE, "comes twice"));
    }
    if recording.bytes.is_empty() || recording.bytes.len() > LARGEST_FILE {
        return Err(BadRequest::new(FILE, format!("must have 1 to {LARGEST_FILE} bytes")));
    }
    let Own { max_cost, auto_scale: _, fallbacks } = own::take(&mut body)?;
    let model = own::model(&body)?;
    let stream = body.boolean("stream")?.unwrap_or(false);
    let form_of_answer = match body.string("response_format")?.as_deref() {
        None | Some("json" | "verbose_json" | "diarized_json") => TranscriptForm::Object,
        Some("text") => TranscriptForm::Text,
        Some("srt" | "vtt") => TranscriptForm::Subtitles,
        Some(_) => {
            let message = "must be json, text, srt, verbose_json, vtt or diarized_json";
            return Err(BadRequest::new("response_format", message));
        }
    };
    if stream && (form_of_answer != TranscriptForm::Object || translate) {
        let field = if translate { "stream" } else { "response_format" };
        return Err(BadRequest::new(field, "has no stream"));
    }
    let work = Work::Transcription(Transcription {
        milliseconds: recording::milliseconds(&recording.bytes),
        recording,
        translate,
        prompt: body.string("prompt")?,
        form: form_of_answer,
    });
    Ok(Request {
        model,
        work,
        stream,
        max_cost,
        auto_scale: None,
        fallbacks,
        end_user: None,
        unread: Vec::new(),
        source: Source::of(FORMAT, body),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        format::{Answers, ProviderFormat as _, Upstream, openai::OpenAi, terms},
        multipart,
        usage::Tier,
    };

    const TYPE: &str = "multipart/form-data; boundary=xYz";

    fn read(fields: &[(&str, &str)], file: &[u8]) -> Result<Request, BadRequest> {
        let mut form = Vec::new();
        // The file stands first: fields come in any order.
        form.extend_from_slice(b"--xYz\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n");
        form.extend_from_slice(file);
        for (name, value) in fields {
            let part = format!("\r\n--xYz\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}");
            form.extend_from_slice(part.as_bytes());
        }
        form.extend_from_slice(b"\r\n--xYz--\r\n");
        read_form(TYPE, &form.into(), false)
    }

    #[test]
    fn a_form_is_read_as_an_object_and_sent_as_a_form() {
        let fields = [
            ("model", "whisper-1"),
            ("temperature", "0.20"),
            ("timestamp_granularities[]", "word"),
            ("timestamp_granularities[]", "segment"),
            ("response_format", "verbose_json"),
            ("models[]", "other"),
            ("max_cost", "0.5"),
        ];
        let request = read(&fields, b"sound").unwrap();
        assert_eq!((&request.fallbacks[..], request.max_cost.as_deref()), (&["other".to_owned()][..], Some("0.5")));
        let expected = r#"{"model":"whisper-1","temperature":"0.20","timestamp_granularities[]":["word","segment"],"response_format":"verbose_json"}"#;
        assert_eq!(request.source.body.to_json(), expected);
        assert!(terms(&request).is_ok());
        let upstream = Upstream { model: "up", max_output: 0, tier: Some(Tier::Standard) };
        let call = OpenAi.call(request, &upstream).unwrap();
        assert_eq!((&*call.path, call.answers), ("/audio/transcriptions", Answers::Objects));
        let (kind, form) = call.body();
        let sent = multipart::read(&kind, &form.into()).unwrap();
        let parts: Vec<_> = sent.parts.iter().map(|part| (&*part.name, &part.bytes[..])).collect();
        assert_eq!(parts[..2], [("model", &b"up"[..]), ("temperature", b"0.20")]);
        assert_eq!((parts.len(), parts[5]), (6, ("file", &b"sound"[..])));
        assert_eq!(sent.parts[5].file_name.as_deref(), Some("a.wav"));
    }

    #[test]
    fn a_text_is_asked_for_as_an_object_where_the_gateway_pays() {
        let sent = |form: &str, tier| {
            let request = read(&[("model", "m"), ("response_format", form)], b"sound").unwrap();
            let call = OpenAi.call(request, &Upstream { model: "m", max_output: 0, tier }).unwrap();
            (call.body.string("response_format").unwrap().unwrap(), call.answers)
        };
        let standard = Some(Tier::Standard);
        assert_eq!(sent("text", standard), ("json".into(), Answers::Objects));
        assert_eq!(sent("text", None), ("text".into(), Answers::Text));
        assert_eq!(sent("srt", standard), ("srt".into(), Answers::Text));
        assert_eq!(sent("verbose_json", standard), ("verbose_json".into(), Answers::Objects));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let model = ("model", "m");
        for (fields, field) in [
            (&[][..], "model"),
            (&[model, model], "model"),
            (&[model, ("response_format", "docx")], "response_format"),
            (&[model, ("stream", "maybe")], "stream"),
            (&[model, ("stream", "true"), ("response_format", "srt")], "response_format"),
            (&[model, ("file", "again")], "file"),
            (&[model, ("maxCost", "1")], "maxCost"),
        ] {
            assert_eq!(read(fields, b"sound").unwrap_err().field, field, "{fields:?}");
        }
        assert_eq!(read(&[model], b"").unwrap_err().field, "file");
        assert_eq!(read(&[model], &vec![0; LARGEST_FILE + 1]).unwrap_err().field, "file");
        for unknown in ["known_speaker_names[]", "a_field_of_tomorrow"] {
            let request = read(&[model, (unknown, "x")], b"sound").unwrap();
            assert_eq!(terms(&request).unwrap_err().field, unknown);
        }
        let no_file: Bytes = "--xYz\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nm\r\n--xYz--".into();
        assert_eq!(read_form(TYPE, &no_file, false).unwrap_err().field, "file");
    }
}
