//! A provider's transcription: an object, a text, or events. Its usage is in tokens or in seconds; some servers tell only
//! how long the recording is.

use serde_json::Value;

use super::{
    super::{
        super::{messages::read_as, provider::fault, usage},
        events::{SoFar, unknown},
    },
    FORMAT,
};
use crate::{
    fields::Fields,
    format::FINISHED,
    inference::{Delta, Event, Failure, FinishReason, Raw},
    usage::Report,
};

/// The types of its events.
pub(super) const PIECE: &str = "transcript.text.delta";
pub(super) const DONE: &str = "transcript.text.done";
/// A longer usage object is not passed on: no real one is as long.
const LONGEST_USAGE: usize = 64 << 10;
/// The most seconds that are believed to be a number of seconds at all.
const MOST_SECONDS: f64 = 1e9;

/// The usage of an answer.
fn report(fields: &Fields) -> Option<Event> {
    let own = fields.present("usage").filter(|usage| usage.len() <= LONGEST_USAGE);
    let seconds = own.and_then(|usage| milliseconds(read_as::<Value>(usage)?.get("seconds")?));
    let lasts = || milliseconds(&read_as::<Value>(fields.present("duration")?)?);
    let told = usage::report(fields).map(|mut report| {
        if !own.is_some_and(|usage| usage.contains("\"audio_tokens\"")) {
            // What was read is a recording.
            report.audio_input = report.input.unwrap_or(0);
        }
        report
    });
    let milliseconds = seconds.or_else(lasts);
    if told.is_none() && milliseconds.is_none() {
        return None;
    }
    let own = own.map(Into::into);
    let report = told.unwrap_or(Report { own, ..Report::default() });
    Some(Event::Reported(Box::new(Report { milliseconds, ..report })))
}

/// Seconds, as a number or as a text, in whole milliseconds; `None` for none at all.
fn milliseconds(seconds: &Value) -> Option<u64> {
    let seconds = seconds.as_f64().or_else(|| seconds.as_str()?.parse().ok())?;
    let is_some = seconds.is_finite() && (0.0..MOST_SECONDS).contains(&seconds);
    let milliseconds = format!("{:.0}", seconds * 1_000.0).parse().ok();
    milliseconds.filter(|milliseconds| is_some && *milliseconds > 0)
}

/// The whole text of an answer, without its usage.
fn whole(mut fields: Fields, text: String) -> Event {
    fields.remove("usage");
    let finish = Some(FinishReason::Stop);
    Event::Delta(Delta { text, finish, raw: Raw::Own(FORMAT, fields), ..Delta::default() })
}

/// Reads an object that came whole.
pub(in super::super) fn read_answer(body: &[u8]) -> Vec<Event> {
    let body = body.trim_ascii();
    let text = String::from_utf8_lossy(body);
    let Ok(fields) = Fields::parse(body) else {
        let words = fault::text_words(&text);
        return vec![Event::Failed(Failure::Transport(format!("the provider's answer has no transcript: {words}")))];
    };
    let report = report(&fields);
    if let Some(transcript) = fields.string("text").ok().flatten() {
        return [whole(fields, transcript)].into_iter().chain(report).chain([FINISHED]).collect();
    }
    let error = fault::in_answer(&serde_json::from_str(&text).unwrap_or_default(), &text);
    report.into_iter().chain([Event::Failed(Failure::Provider(Box::new(error)))]).collect()
}

/// Reads a text that came whole. An object or a page is an error.
pub(in crate::format) fn read_text_answer(body: &[u8]) -> Vec<Event> {
    let text = String::from_utf8_lossy(body);
    if text.trim_start().starts_with(['{', '<']) {
        let error = fault::in_answer(&serde_json::from_str(&text).unwrap_or_default(), &text);
        return vec![Event::Failed(Failure::Provider(Box::new(error)))];
    }
    let finish = Some(FinishReason::Stop);
    vec![Event::Delta(Delta { text: text.into_owned(), finish, ..Delta::default() }), FINISHED]
}

/// Reads an event of a transcription.
#[expect(clippy::unnecessary_wraps, reason = "others of its kind fail")]
pub(in super::super) fn event(
    so_far: &mut SoFar,
    kind: &str,
    fields: Fields,
    events: &mut Vec<Event>,
) -> Result<(), Failure> {
    let text = |name: &str| fields.string(name).ok().flatten();
    match kind {
        PIECE => {
            let text = text("delta").unwrap_or_default();
            so_far.has_some = true;
            events.push(Event::Delta(Delta { text, raw: Raw::Own(FORMAT, fields), ..Delta::default() }));
        }
        // The last event has all of the text again; an object that came whole has it for the first time.
        DONE | "" if let Some(text) = text("text") => {
            so_far.is_done = true;
            let report = report(&fields);
            events.push(whole(fields, if so_far.has_some { String::new() } else { text }));
            events.extend(report);
        }
        _ => events.push(unknown(FORMAT, fields)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{ProviderFormat as _, openai::OpenAi};

    fn reported(body: &str) -> Option<Report> {
        read_answer(body.as_bytes()).into_iter().find_map(|event| match event {
            Event::Reported(report) => Some(*report),
            _ => None,
        })
    }

    #[test]
    fn usage_is_read_in_tokens_or_in_seconds() {
        let of = |usage: &str| {
            let report = reported(&format!(r#"{{"text":"hi"{usage}}}"#));
            report.map(|report| (report.input, report.audio_input, report.output, report.milliseconds))
        };
        assert_eq!(of(r#","usage":{"type":"duration","seconds":9}"#), Some((None, 0, None, Some(9_000))));
        assert_eq!(of(r#","duration":8.470000267028809"#), Some((None, 0, None, Some(8_470))));
        assert_eq!(of(r#","duration":"8.47","usage":{"seconds":9.0}"#), Some((None, 0, None, Some(9_000))));
        let tokens = r#","usage":{"type":"tokens","input_tokens":14,"input_token_details":{"text_tokens":10,"audio_tokens":4},"output_tokens":3,"total_tokens":17}"#;
        assert_eq!(of(tokens), Some((Some(14), 4, Some(3), None)));
        assert_eq!(of(r#","usage":{"input_tokens":14,"output_tokens":3}"#), Some((Some(14), 14, Some(3), None)));
        for none in ["", r#","usage":null"#, r#","usage":{"seconds":-1}"#, r#","duration":1e300"#, r#","duration":0"#] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn objects_and_texts_are_read_and_errors_are_errors() {
        let [Event::Delta(delta), FINISHED] = &read_answer(br#"{"text":"hi","usage":null}"#)[..] else { panic!() };
        assert_eq!(
            (&*delta.text, delta.raw.of(FORMAT).map(Fields::to_json).as_deref()),
            ("hi", Some(r#"{"text":"hi"}"#))
        );
        for bad in ["", "{}", "hi", r#"{"error":{"message":"no"}}"#] {
            assert!(matches!(read_answer(bad.as_bytes()).last(), Some(Event::Failed(_))), "{bad}");
        }
        for good in ["", "1\n00:00:00,000 --> 00:00:01,000\nhi\n"] {
            let [Event::Delta(delta), FINISHED] = &read_text_answer(good.as_bytes())[..] else { panic!() };
            assert_eq!(delta.text, good);
        }
        for bad in [r#"{"error":{"message":"no"}}"#, "<html>"] {
            assert!(matches!(&read_text_answer(bad.as_bytes())[..], [Event::Failed(_)]), "{bad}");
        }
    }

    #[test]
    fn events_cut_at_every_byte_are_the_same_text() {
        let stream = "data: {\"type\":\"transcript.text.delta\",\"delta\":\"he\"}\n\ndata: {\"type\":\"transcript.text.delta\",\"delta\":\"y\"}\n\ndata: {\"type\":\"transcript.text.done\",\"text\":\"hey\",\"usage\":{\"type\":\"tokens\",\"input_tokens\":4,\"output_tokens\":2}}\n\n";
        for cut in 0..=stream.len() {
            let read = |is_cut: bool| {
                let (mut reader, mut events) = (OpenAi.reader(FORMAT), Vec::new());
                reader.feed(&stream.as_bytes()[..cut], &mut events);
                if is_cut {
                    reader.cut(Failure::Timeout("idle"), &mut events);
                } else {
                    reader.feed(&stream.as_bytes()[cut..], &mut events);
                    reader.end(&mut events);
                }
                events
            };
            let events = read(false);
            let text: String = events
                .iter()
                .filter_map(|event| if let Event::Delta(delta) = event { Some(&*delta.text) } else { None })
                .collect();
            assert_eq!(text, "hey", "cut at {cut}");
            let [.., Event::Reported(report), FINISHED] = &events[..] else { panic!("{events:?}") };
            assert_eq!((report.input, report.output), (Some(4), Some(2)));
            assert_eq!(read(true).last() == Some(&FINISHED), cut >= stream.len() - 2, "cut at {cut}");
        }
    }

    #[test]
    fn an_object_in_place_of_a_stream_is_the_whole_text() {
        let (mut reader, mut events) = (OpenAi.reader(FORMAT), Vec::new());
        reader.feed(br#"{"text":"hey","usage":{"type":"duration","seconds":2}}"#, &mut events);
        reader.end(&mut events);
        let [Event::Delta(delta), Event::Reported(report), FINISHED] = &events[..] else { panic!("{events:?}") };
        assert_eq!((&*delta.text, report.milliseconds), ("hey", Some(2_000)));
    }
}
