//! Speech from text ("Create speech", OpenAI API reference). The answer is the bytes of a sound, which tell no usage, or
//! events, whose last one does. So a model that is billed by tokens is asked for events, and its sound is passed on as the
//! client wants it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    super::usage,
    SPEECH, answered,
    events::{self, SoFar, ended, gain, tokens, unknown},
};
use crate::{
    fields::{BadRequest, Fields},
    format::{
        AnswerForm, AnswerReader, AnswerWriter, Answers, ClientFormat, End, FINISHED, ProviderCall, Upstream,
        WholeWriter,
        own::{self, Own},
    },
    inference::{Delta, Event, Failure, Format, Made, Raw, Request, Source, Speech, Work},
    sse,
};

/// The format.
const FORMAT: Format = Format::OpenAiSpeech;
/// Fields that cost nothing beside the text and the instructions.
const KNOWN: [&str; 7] = ["model", "input", "voice", "instructions", "response_format", "speed", "stream_format"];
/// The types of its events.
const PIECE: &str = "speech.audio.delta";
const DONE: &str = "speech.audio.done";

/// Speech, as clients ask for it.
#[derive(Debug)]
pub enum Speaking {}

impl ClientFormat for Speaking {
    type Writer = Writer;

    fn read(body: &[u8]) -> Result<Request, BadRequest> {
        read_speech(body)
    }

    fn writer(_: &Request, _: &str, _: i64) -> Writer {
        Writer(())
    }

    fn form(request: &Request) -> AnswerForm {
        let Work::Speech(speech) = &request.work else { return AnswerForm::Events };
        if request.stream { AnswerForm::Events } else { AnswerForm::Sound(media_type(speech.format.as_deref())) }
    }
}

/// The media type of an encoding.
fn media_type(format: Option<&str>) -> &'static str {
    match format {
        None | Some("mp3") => "audio/mpeg",
        Some("opus") => "audio/ogg",
        Some("aac") => "audio/aac",
        Some("flac") => "audio/flac",
        Some("wav") => "audio/wav",
        Some("pcm") => "audio/pcm",
        Some(_) => "application/octet-stream",
    }
}

/// Reads a request for speech.
///
/// # Errors
///
/// The first field with a wrong value. The error is for the client, and names the field.
pub fn read_speech(body: &[u8]) -> Result<Request, BadRequest> {
    let mut body = Fields::of_client(body)?;
    let Own { max_cost, auto_scale: _, fallbacks } = own::take(&mut body)?;
    let model = own::model(&body)?;
    let input = body.string("input")?.ok_or_else(|| BadRequest::new("input", "is required"))?;
    if input.is_empty() {
        return Err(BadRequest::new("input", "must not be empty"));
    }
    let stream = match body.string("stream_format")?.as_deref() {
        None | Some("audio") => false,
        Some("sse") => true,
        Some(_) => return Err(BadRequest::new("stream_format", "must be audio or sse")),
    };
    let speech = Speech {
        input,
        voice: body.string("voice").ok().flatten(),
        instructions: body.string("instructions")?,
        format: body.string("response_format")?,
        speed: body.number("speed", 0.25, 4.0)?,
    };
    Ok(Request {
        model,
        work: Work::Speech(speech),
        stream,
        max_cost,
        auto_scale: None,
        fallbacks,
        end_user: None,
        unread: Vec::new(),
        source: Source::of(FORMAT, body),
    })
}

/// The fields whose cost is known.
pub(super) fn known(request: &Request) -> Result<&'static [&'static str], BadRequest> {
    match request.source.body.present("voice") {
        Some(voice) if !voice.starts_with('"') => {
            let message = "a voice kept at the provider is not yours to use; name one that it has for everyone";
            Err(BadRequest::new("voice", message))
        }
        _ => Ok(&KNOWN),
    }
}

/// The call of a request for speech.
pub(super) fn call(mut request: Request, upstream: &Upstream<'_>) -> ProviderCall {
    let is_by_tokens = upstream.tier.is_some() && upstream.max_output > 0;
    let is_events = request.stream || is_by_tokens;
    if is_events && !request.stream {
        request.source.body.set("stream_format", "sse");
    }
    let answers = if is_events { Answers::Objects } else { Answers::Sound };
    answered(ProviderCall::forwarded(SPEECH, request), answers, true)
}

fn piece(bytes: Bytes, raw: Raw) -> Event {
    Event::Delta(Delta { made: Some(Box::new(Made::Sound(bytes))), raw, ..Delta::default() })
}

/// Reads the bytes of a sound.
#[derive(Debug, Default)]
pub(in crate::format) struct SoundReader {
    has_some: bool,
    is_over: bool,
}

impl AnswerReader for SoundReader {
    fn feed(&mut self, bytes: &[u8], events: &mut Vec<Event>) {
        self.has_some = true;
        events.push(piece(Bytes::copy_from_slice(bytes), Raw::None));
    }

    fn end(&mut self, events: &mut Vec<Event>) {
        let nothing = || Event::Failed(Failure::Transport("the provider answered nothing".into()));
        if !std::mem::replace(&mut self.is_over, true) {
            events.push(if self.has_some { FINISHED } else { nothing() });
        }
    }

    fn cut(&mut self, failure: Failure, events: &mut Vec<Event>) {
        if !std::mem::replace(&mut self.is_over, true) {
            events.push(Event::Failed(failure));
        }
    }

    fn is_over(&self) -> bool {
        self.is_over
    }
}

/// Reads an event of speech.
pub(super) fn event(so_far: &mut SoFar, kind: &str, fields: Fields, events: &mut Vec<Event>) -> Result<(), Failure> {
    match kind {
        PIECE => {
            let sound = fields.string("audio").ok().flatten().and_then(|audio| STANDARD.decode(audio).ok());
            let sound = sound.ok_or_else(|| Failure::Transport("a piece of the sound is not in base64".into()))?;
            so_far.has_some = true;
            events.push(piece(sound.into(), Raw::Own(FORMAT, fields)));
        }
        DONE => {
            so_far.is_done = true;
            events.extend(usage::report(&fields).map(|mut report| {
                // All of it is sound.
                report.audio_output = report.output.unwrap_or(0);
                Event::Reported(Box::new(report))
            }));
        }
        _ => events.push(unknown(FORMAT, fields)),
    }
    Ok(())
}

/// Writes speech as events.
#[derive(Debug)]
pub struct Writer(());

impl AnswerWriter for Writer {
    fn delta(&mut self, delta: Delta) -> Option<String> {
        if let Some(own) = delta.raw.of(FORMAT) {
            return Some(sse::encode(&own.to_json()));
        }
        let sound = delta.sound()?;
        Some(sse::encode(&json!({"type": PIECE, "audio": STANDARD.encode(sound)}).to_string()))
    }

    fn cost(&mut self, _: &str, _: u64) -> Option<String> {
        None
    }

    fn silence(&self) -> Option<String> {
        Some(sse::comment("waiting"))
    }

    fn end(&mut self, end: &End) -> String {
        let mut done = json!({"type": DONE});
        if let (Value::Object(done), Value::Object(gain)) = (&mut done, gain(end, tokens(end))) {
            done.extend(gain);
        }
        ended(done.to_string().as_bytes())
    }

    fn failed(&mut self, error: &Value) -> String {
        events::failed(error)
    }
}

impl WholeWriter for Writer {
    fn whole(&mut self, deltas: Vec<Delta>, _: &End) -> Vec<u8> {
        deltas.iter().filter_map(Delta::sound).flatten().copied().collect()
    }

    fn media_type(&self) -> &'static str {
        "application/octet-stream"
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
        read_speech(format!(r#"{{"model":"tts-1","input":"héllo","voice":"alloy"{fields}}}"#).as_bytes())
    }

    fn upstream(max_output: u32, tier: Option<Tier>) -> Upstream<'static> {
        Upstream { model: "up", max_output, tier }
    }

    #[test]
    fn a_request_is_read_and_what_is_wrong_is_named() {
        let request = read(r#","speed":1.5,"response_format":"wav""#).unwrap();
        assert_eq!(Speaking::form(&request), AnswerForm::Sound("audio/wav"));
        let Work::Speech(speech) = &request.work else { panic!() };
        assert_eq!((speech.characters(), speech.speed), (5, Some(1.5)), "characters are not bytes");
        assert_eq!(Speaking::form(&read(r#","stream_format":"sse""#).unwrap()), AnswerForm::Events);
        for (fields, field) in [
            (r#","input":"""#, "input"),
            (r#","input":null"#, "input"),
            (r#","input":["a"]"#, "input"),
            (r#","speed":9"#, "speed"),
            (r#","stream_format":"ogg""#, "stream_format"),
            (r#","instructions":1"#, "instructions"),
        ] {
            assert_eq!(read(fields).unwrap_err().field, field, "{fields}");
        }
        for (fields, field) in [(r#","language":"en""#, "language"), (r#","voice":{"id":"voice_1"}"#, "voice")] {
            assert_eq!(terms(&read(fields).unwrap()).unwrap_err().field, field, "{fields}");
        }
    }

    #[test]
    fn a_model_of_tokens_is_asked_for_events_and_any_other_as_the_client_asked() {
        let sent = |fields: &str, upstream: Upstream<'_>| {
            let call = OpenAi.call(read(fields).unwrap(), &upstream).unwrap();
            assert_eq!((&*call.path, call.is_streamed), (SPEECH, true));
            (call.body.to_json(), call.answers)
        };
        let body = |more: &str| format!(r#"{{"model":"up","input":"héllo","voice":"alloy"{more}}}"#);
        let standard = Some(Tier::Standard);
        assert_eq!(sent("", upstream(0, standard)), (body(""), Answers::Sound));
        assert_eq!(sent("", upstream(9, standard)), (body(r#","stream_format":"sse""#), Answers::Objects));
        assert_eq!(sent("", upstream(9, None)), (body(""), Answers::Sound), "it is the client's own affair");
        let sse = r#","stream_format":"sse""#;
        assert_eq!(sent(sse, upstream(0, standard)), (body(sse), Answers::Objects));
    }

    const STREAM: &str = "data: {\"type\":\"speech.audio.delta\",\"audio\":\"AAEC\"}\n\ndata: {\"type\":\"speech.audio.delta\",\"audio\":\"Aw==\"}\n\ndata: {\"type\":\"speech.audio.done\",\"usage\":{\"input_tokens\":5,\"output_tokens\":40,\"total_tokens\":45}}\n\n";

    fn events_of(pieces: &[&[u8]], is_cut: bool) -> Vec<Event> {
        let (mut reader, mut events) = (OpenAi.reader(FORMAT), Vec::new());
        for piece in pieces {
            reader.feed(piece, &mut events);
        }
        if is_cut {
            reader.cut(Failure::Timeout("idle"), &mut events);
        } else {
            reader.end(&mut events);
        }
        events
    }

    #[test]
    fn events_cut_at_every_byte_are_the_same_sound_and_its_usage() {
        let bytes = STREAM.as_bytes();
        for cut in 0..=bytes.len() {
            let events = events_of(&[&bytes[..cut], &bytes[cut..]], false);
            let sound: Vec<u8> = events
                .iter()
                .filter_map(|event| if let Event::Delta(delta) = event { delta.sound() } else { None })
                .flatten()
                .copied()
                .collect();
            assert_eq!(sound, [0, 1, 2, 3], "cut at {cut}");
            let [.., Event::Reported(report), FINISHED] = &events[..] else { panic!("{events:?}") };
            assert_eq!((report.input, report.output, report.audio_output), (Some(5), Some(40), 40));
            let broken = events_of(&[&bytes[..cut]], true);
            let is_whole = cut >= bytes.len() - 2;
            assert_eq!(broken.last() == Some(&FINISHED), is_whole, "cut at {cut}: {broken:?}");
        }
        for bad in [
            "",
            "data: {\"error\":{\"message\":\"no\"}}\n\n",
            "data: {\"type\":\"speech.audio.delta\",\"audio\":\"?\"}\n\n",
            "{\"detail\":\"no\"}",
        ] {
            assert!(matches!(events_of(&[bad.as_bytes()], false).last(), Some(Event::Failed(_))), "{bad}");
        }
    }

    #[test]
    fn the_bytes_of_a_sound_pass_and_nothing_is_no_sound() {
        let read = |pieces: &[&[u8]]| {
            let (mut reader, mut events) = (SoundReader::default(), Vec::new());
            for piece in pieces {
                reader.feed(piece, &mut events);
            }
            reader.end(&mut events);
            reader.end(&mut events);
            events
        };
        let [Event::Delta(first), Event::Delta(_), FINISHED] = &read(&[b"ab", b"c"])[..] else { panic!() };
        assert_eq!(first.sound().map(|sound| &sound[..]), Some(&b"ab"[..]));
        assert!(matches!(&read(&[])[..], [Event::Failed(_)]));
    }

    #[test]
    fn a_client_of_events_gets_its_usage_with_the_cost() {
        let events = events_of(&[STREAM.as_bytes()], false);
        let mut writer = Writer(());
        let mut written = String::new();
        for event in events {
            if let Event::Delta(delta) = event {
                written += &writer.delta(delta).unwrap();
            }
        }
        let sound = Delta { made: Some(Box::new(Made::Sound(Bytes::from_static(&[3])))), ..Delta::default() };
        assert!(written.ends_with(&writer.delta(sound).unwrap()), "{written}");
        let receipt = Receipt { cost: "0.01".into(), farebox: Particulars::default(), usage: None };
        let usage = Usage { input: 5, output: 40, ..Usage::default() };
        let end = writer.end(&End { usage, receipt, is_cut: false });
        assert!(end.starts_with("data: {\"type\":\"speech.audio.done\",\"usage\":{\"input_tokens\":5,\"output_tokens\":40,\"total_tokens\":45,\"cost\":\"0.01\"},"), "{end}");
        assert!(sse::is_last(end.as_bytes()));
    }
}
