//! Images from text ("Create image", OpenAI API reference), and what editing shares with it. An answer comes whole, or as
//! events: images that are not done, and one that is, with the usage.

use serde_json::{Value, json};

use super::{
    super::{messages::read_as, provider::fault, usage},
    EDITS, IMAGES, answered, drawn, edits,
    events::{self, SoFar, ended, gain, tokens, unknown, with_gain},
};
use crate::{
    fields::{BadRequest, Fields},
    format::{
        AnswerWriter, Answers, ClientFormat, End, FINISHED, ProviderCall, Upstream, WholeWriter,
        own::{self, Own},
    },
    inference::{Delta, Event, Failure, FinishReason, Format, ImageEdit, ImageGeneration, Raw, Request, Source, Work},
    sse::{self, LARGEST_EVENT},
    usage::Report,
};

/// The format.
const FORMAT: Format = Format::OpenAiImages;
/// The most bytes of an answer: ten images of a common size that don't compress at all.
pub const LARGEST: usize = 128 << 20;
/// Fields that cost nothing beside the prompt, the size, the quality and the numbers of images.
const KNOWN: [&str; 15] = [
    "model",
    "prompt",
    "background",
    "moderation",
    "n",
    "output_compression",
    "output_format",
    "partial_images",
    "quality",
    "response_format",
    "size",
    "stream",
    "style",
    "user",
    "safety_identifier",
];
/// Encodings that are images of their own: others are made by further models.
const ENCODINGS: [&str; 3] = ["png", "jpeg", "webp"];

/// The types of an answer's events.
#[derive(Debug, PartialEq, Eq)]
struct Types {
    /// An image that is not done.
    partial: &'static str,
    /// The image that is.
    completed: &'static str,
}

/// Of images from text.
const MADE: Types = Types { partial: "image_generation.partial_image", completed: "image_generation.completed" };
/// Of images that are edited.
const EDITED: Types = Types { partial: "image_edit.partial_image", completed: "image_edit.completed" };
/// The most images of a request, and the most of one that are shown before it is done.
const MOST: u32 = 10;
const MOST_PARTIALS: u32 = 3;

/// Images, as clients ask for them.
#[derive(Debug)]
pub enum Drawing {}

impl ClientFormat for Drawing {
    type Writer = Writer;

    fn read(body: &[u8]) -> Result<Request, BadRequest> {
        read_images(body)
    }

    fn writer(_: &Request, _: &str, _: i64) -> Writer {
        Writer::of(&MADE)
    }
}

/// Reads a request for images.
///
/// # Errors
///
/// The first field with a wrong value. The error is for the client, and names the field.
pub fn read_images(body: &[u8]) -> Result<Request, BadRequest> {
    read(Fields::of_client(body)?, None)
}

/// Reads a request from its fields, and what it edits.
pub(super) fn read(mut body: Fields, edit: Option<ImageEdit>) -> Result<Request, BadRequest> {
    let Own { max_cost, auto_scale: _, fallbacks } = own::take(&mut body)?;
    let model = own::model(&body)?;
    let prompt = body.string("prompt")?.ok_or_else(|| BadRequest::new("prompt", "is required"))?;
    if prompt.is_empty() {
        return Err(BadRequest::new("prompt", "must not be empty"));
    }
    let stream = body.boolean("stream")?.unwrap_or(false);
    let (n, partials) = (body.whole("n", 1, MOST)?, body.whole("partial_images", 0, MOST_PARTIALS)?);
    if stream && n.is_some_and(|n| n > 1) {
        return Err(BadRequest::new("n", "must be 1 for a stream"));
    }
    let images = ImageGeneration {
        prompt,
        edit,
        n,
        size: body.string("size")?,
        quality: body.string("quality")?,
        format: body.string("output_format")?,
        partials: partials.unwrap_or(0),
    };
    refuse_larger(&images, if stream { LARGEST_EVENT } else { LARGEST })?;
    let end_user = body.string("user").ok().flatten();
    Ok(Request {
        model,
        work: Work::Image(images),
        stream,
        max_cost,
        auto_scale: None,
        fallbacks,
        end_user,
        unread: Vec::new(),
        source: Source::of(FORMAT, body),
    })
}

/// Refuses images that may be larger together than an answer may be: they would be paid for, and not arrive.
fn refuse_larger(images: &ImageGeneration, largest: usize) -> Result<(), BadRequest> {
    let sides = images.size.as_deref().and_then(|size| size.split_once('x'));
    let sides = sides.and_then(|(wide, high)| Some((wide.parse::<usize>().ok()?, high.parse::<usize>().ok()?)));
    let Some((wide, high)) = sides else { return Ok(()) };
    // Four bytes a pixel, in base64.
    let each = wide.saturating_mul(high).saturating_mul(16) / 3;
    let n = images.n.map_or(1, |n| n as usize);
    if each.saturating_mul(n) > largest {
        let message = format!("so many images of this size may be larger than {} MiB: ask for fewer", largest >> 20);
        return Err(BadRequest::new(if n > 1 { "n" } else { "size" }, message));
    }
    Ok(())
}

/// Whether the cost of a field is known.
///
/// # Errors
///
/// A value has no known cost.
pub(super) fn known(request: &Request) -> Result<Vec<&'static str>, BadRequest> {
    let Work::Image(images) = &request.work else { return Ok(KNOWN.to_vec()) };
    if images.format.as_ref().is_some_and(|format| !ENCODINGS.contains(&&**format)) {
        let message = format!("has a known price for {}; with your own provider-key it passes", ENCODINGS.join(", "));
        return Err(BadRequest::new("output_format", message));
    }
    let of_edits = images.edit.as_ref().map(|edit| edits::known(&request.source.body, edit)).transpose()?;
    Ok(KNOWN.iter().chain(of_edits.into_iter().flatten()).copied().collect())
}

/// The call of a request for images.
pub(super) fn call(mut request: Request, upstream: &Upstream<'_>) -> ProviderCall {
    // A price file that bounds an image bounds all sizes.
    if let Work::Image(images) = &request.work
        && let Some(size) = drawn::size(upstream.model, images)
        && upstream.tier.is_some()
        && upstream.max_output == 0
    {
        request.source.body.set("size", size);
    }
    let (path, uploads) = match &request.work {
        Work::Image(ImageGeneration { edit: Some(edit), .. }) => (EDITS, edit.files.clone()),
        _ => (IMAGES, Vec::new()),
    };
    let is_streamed = request.stream;
    ProviderCall { uploads, ..answered(ProviderCall::forwarded(path, request), Answers::Objects, is_streamed) }
}

/// The usage of an object with so many images.
fn report(fields: &Fields, images: u64) -> Event {
    let told = usage::report(fields);
    let mut report = told.unwrap_or_else(|| Report { output: None, ..Report::default() });
    let is_apart = fields.present("usage").is_some_and(|usage| usage.contains("\"output_tokens_details\""));
    if !is_apart {
        // All of it is images.
        report.image_output = report.output.unwrap_or(0);
    }
    report.images = Some(images);
    Event::Reported(Box::new(report))
}

/// How many images an object has.
fn count(fields: &Fields) -> u64 {
    fields.present("data").and_then(read_as::<Vec<&serde_json::value::RawValue>>).map_or(0, |data| data.len() as u64)
}

/// The piece of an answer that has images, without its usage.
fn piece(mut fields: Fields) -> Event {
    fields.remove("usage");
    let finish = Some(FinishReason::Stop);
    Event::Delta(Delta { finish, raw: Raw::Own(FORMAT, fields), ..Delta::default() })
}

/// Reads an answer that came whole.
pub(super) fn read_answer(body: &[u8]) -> Vec<Event> {
    let body = body.trim_ascii();
    let Ok(fields) = Fields::parse(body) else {
        let words = fault::text_words(&String::from_utf8_lossy(body));
        return vec![Event::Failed(Failure::Transport(format!("the provider's answer has no images: {words}")))];
    };
    match count(&fields) {
        0 => {
            let text = String::from_utf8_lossy(body);
            let error = fault::in_answer(&serde_json::from_str(&text).unwrap_or_default(), &text);
            let told = usage::report(&fields).map(|_| report(&fields, 0));
            told.into_iter().chain([Event::Failed(Failure::Provider(Box::new(error)))]).collect()
        }
        images => {
            let report = report(&fields, images);
            vec![piece(fields), report, FINISHED]
        }
    }
}

/// Reads an event of images.
#[expect(clippy::unnecessary_wraps, reason = "others of its kind fail")]
pub(super) fn event(so_far: &mut SoFar, kind: &str, fields: Fields, events: &mut Vec<Event>) -> Result<(), Failure> {
    let images = if [MADE.completed, EDITED.completed].contains(&kind) { 1 } else { count(&fields) };
    if images > 0 {
        so_far.is_done = true;
        let report = report(&fields, images);
        events.extend([piece(fields), report]);
    } else if [MADE.partial, EDITED.partial].contains(&kind) {
        so_far.has_some = true;
        events.push(Event::Delta(Delta { raw: Raw::Own(FORMAT, fields), ..Delta::default() }));
    } else {
        events.push(unknown(FORMAT, fields));
    }
    Ok(())
}

/// Writes one answer.
#[derive(Debug)]
pub struct Writer {
    types: &'static Types,
    /// The image that is done, until it is paid for.
    done: Option<Fields>,
}

impl Writer {
    const fn of(types: &'static Types) -> Self {
        Self { types, done: None }
    }

    /// Of an answer with images that are edited.
    pub(super) const fn of_edits() -> Self {
        Self::of(&EDITED)
    }
}

impl AnswerWriter for Writer {
    fn delta(&mut self, delta: Delta) -> Option<String> {
        let Raw::Own(FORMAT, fields) = delta.raw else { return None };
        if delta.finish.is_some() {
            self.done = Some(fields);
            return None;
        }
        let kind = fields.string("type").ok().flatten().unwrap_or_default();
        let data = fields.to_json();
        Some(if kind == self.types.partial { sse::named(&kind, &data) } else { sse::encode(&data) })
    }

    fn cost(&mut self, _: &str, _: u64) -> Option<String> {
        None
    }

    fn silence(&self) -> Option<String> {
        Some(sse::comment("waiting"))
    }

    fn end(&mut self, end: &End) -> String {
        let gain = gain(end, tokens(end));
        let last = match self.done.take() {
            Some(done) if done.present("data").is_none() => with_gain(&done, &gain),
            // It came whole, though a stream was asked for.
            done => {
                let images = done.and_then(|done| read_as::<Vec<Value>>(done.present("data")?));
                let mut event = json!({"type": self.types.completed});
                let image = images.and_then(|images| images.into_iter().next()).unwrap_or_default();
                for members in [image, gain] {
                    if let (Value::Object(event), Value::Object(members)) = (&mut event, members) {
                        event.extend(members);
                    }
                }
                event.to_string().into_bytes()
            }
        };
        format!("event: {}\n{}", self.types.completed, ended(&last))
    }

    fn failed(&mut self, error: &Value) -> String {
        events::failed(error)
    }
}

impl WholeWriter for Writer {
    fn whole(&mut self, deltas: Vec<Delta>, end: &End) -> Vec<u8> {
        let gain = gain(end, tokens(end));
        match deltas.iter().find_map(|delta| delta.raw.of(FORMAT)) {
            Some(answer) => with_gain(answer, &gain),
            None => gain.to_string().into_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        format::{Particulars, ProviderFormat as _, Receipt, openai::OpenAi, terms},
        inference::Usage,
        usage::Tier,
    };

    fn read(fields: &str) -> Result<Request, BadRequest> {
        read_images(format!(r#"{{"model":"gpt-image-1","prompt":"a cat"{fields}}}"#).as_bytes())
    }

    #[test]
    fn what_is_wrong_or_has_no_price_is_named() {
        for (fields, field) in [
            (r#","prompt":"""#, "prompt"),
            (r#","n":11"#, "n"),
            (r#","n":2,"stream":true"#, "n"),
            (r#","partial_images":4"#, "partial_images"),
            (r#","size":1024"#, "size"),
            (r#","n":10,"size":"3840x2160""#, "n"),
            (r#","size":"99999x99999""#, "size"),
            (r#","size":"3840x2160","stream":true"#, "size"),
        ] {
            assert_eq!(read(fields).unwrap_err().field, field, "{fields}");
        }
        assert!(read(r#","n":10,"size":"1536x1024""#).is_ok());
        for (fields, field) in [
            (r#","complexity":"high""#, "complexity"),
            (r#","output_format":"svg""#, "output_format"),
            (r#","svg":{"model":"gpt-6"}"#, "svg"),
            (r#","frame_count":4"#, "frame_count"),
        ] {
            assert_eq!(terms(&read(fields).unwrap()).unwrap_err().field, field, "{fields}");
        }
        assert!(terms(&read(r#","quality":"low","output_format":"webp","user":"u""#).unwrap()).is_ok());
    }

    #[test]
    fn a_size_that_the_model_would_choose_without_a_bound_is_ours() {
        let sent = |model: &str, fields: &str, tier, max_output| {
            let upstream = Upstream { model, max_output, tier };
            OpenAi.call(read(fields).unwrap(), &upstream).unwrap().body.to_json()
        };
        let standard = Some(Tier::Standard);
        let of = |model: &str, more: &str| format!(r#"{{"model":"{model}","prompt":"a cat"{more}}}"#);
        let (one, two) = ("gpt-image-1", "gpt-image-2");
        assert_eq!(sent(one, "", standard, 0), of(one, ""));
        assert_eq!(sent(two, "", standard, 0), of(two, r#","size":"1024x1024""#));
        assert_eq!(sent(two, r#","size":"auto""#, standard, 0), of(two, r#","size":"1024x1024""#));
        assert_eq!(sent(two, "", None, 0), of(two, ""), "it is the client's own affair");
        assert_eq!(sent(two, "", standard, 9_000), of(two, ""), "the price file bounds every size");
    }

    const WHOLE: &str = r#"{"created":1,"data":[{"b64_json":"AAAA"},{"b64_json":"BBBB"}],"usage":{"input_tokens":10,"input_tokens_details":{"text_tokens":10,"image_tokens":0},"output_tokens":544,"total_tokens":554}}"#;

    fn end(usage: Option<&str>) -> End {
        let receipt = Receipt { cost: "0.01".into(), farebox: Particulars::default(), usage: usage.map(Into::into) };
        End { usage: Usage { input: 10, output: 544, ..Usage::default() }, receipt, is_cut: false }
    }

    #[test]
    fn an_answer_passes_with_its_cost_and_its_usage_is_read() {
        let events = read_answer(WHOLE.as_bytes());
        let [Event::Delta(delta), Event::Reported(report), FINISHED] = &events[..] else { panic!("{events:?}") };
        assert_eq!((report.input, report.output, report.image_output), (Some(10), Some(544), 544));
        assert_eq!((report.images, report.image_input), (Some(2), 0));
        let written = Writer::of(&MADE).whole(vec![delta.clone()], &end(report.own.as_deref()));
        let written: Value = serde_json::from_slice(&written).unwrap();
        assert_eq!(written["data"], json!([{"b64_json": "AAAA"}, {"b64_json": "BBBB"}]));
        assert_eq!((&written["usage"]["cost"], &written["usage"]["output_tokens"]), (&json!("0.01"), &json!(544)));
        let parts = WHOLE.replace(
            r#""total_tokens""#,
            r#""output_tokens_details":{"text_tokens":44,"image_tokens":500},"total_tokens""#,
        );
        let [_, Event::Reported(report), _] = &read_answer(parts.as_bytes())[..] else { panic!() };
        assert_eq!((report.output, report.image_output), (Some(544), 500));
        for bad in ["", "{}", "[]", r#"{"data":[]}"#, r#"{"error":{"message":"no"}}"#, "nonsense"] {
            assert!(matches!(read_answer(bad.as_bytes()).last(), Some(Event::Failed(_))), "{bad}");
        }
        let unused = r#"{"data":[],"usage":{"input_tokens":10,"output_tokens":1}}"#;
        assert!(matches!(&read_answer(unused.as_bytes())[..], [Event::Reported(_), Event::Failed(_)]));
    }

    #[test]
    fn a_stream_shows_images_and_holds_the_last_back_until_it_is_paid() {
        let stream = "event: image_generation.partial_image\ndata: {\"type\":\"image_generation.partial_image\",\"b64_json\":\"AA\",\"partial_image_index\":0}\n\nevent: image_generation.completed\ndata: {\"type\":\"image_generation.completed\",\"b64_json\":\"BB\",\"usage\":{\"input_tokens\":10,\"output_tokens\":372}}\n\n";
        for cut in 0..=stream.len() {
            let (mut reader, mut events) = (OpenAi.reader(FORMAT), Vec::new());
            reader.feed(&stream.as_bytes()[..cut], &mut events);
            reader.feed(&stream.as_bytes()[cut..], &mut events);
            reader.end(&mut events);
            let [Event::Delta(partial), Event::Delta(done), Event::Reported(report), FINISHED] = &events[..] else {
                panic!("cut at {cut}: {events:?}")
            };
            assert_eq!((report.output, report.image_output, report.images), (Some(372), 372, Some(1)));
            let mut writer = Writer::of(&MADE);
            let first = writer.delta(partial.clone()).unwrap();
            assert!(stream.starts_with(&first), "{first}");
            assert_eq!(writer.delta(done.clone()), None);
            let last = writer.end(&end(report.own.as_deref()));
            assert!(
                last.contains(r#""b64_json":"BB","usage":{"input_tokens":10,"output_tokens":372,"cost":"0.01"}"#),
                "{last}"
            );
            assert!(sse::is_last(last.as_bytes()));
            let (mut reader, mut events) = (OpenAi.reader(FORMAT), Vec::new());
            reader.feed(&stream.as_bytes()[..cut], &mut events);
            reader.cut(Failure::Timeout("idle"), &mut events);
            assert_eq!(events.last() == Some(&FINISHED), cut >= stream.len() - 2, "cut at {cut}");
        }
    }

    #[test]
    fn an_answer_that_came_whole_is_the_one_event_of_a_stream() {
        let (mut reader, mut events) = (OpenAi.reader(FORMAT), Vec::new());
        reader.feed(WHOLE.as_bytes(), &mut events);
        reader.end(&mut events);
        let [Event::Delta(done), Event::Reported(_), FINISHED] = &events[..] else { panic!("{events:?}") };
        let mut writer = Writer::of(&MADE);
        assert_eq!(writer.delta(done.clone()), None);
        let last = writer.end(&end(None));
        assert!(last.contains(r#"{"type":"image_generation.completed","b64_json":"AAAA","usage":"#), "{last}");
    }
}
