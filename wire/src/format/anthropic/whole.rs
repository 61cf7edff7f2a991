//! An answer that came whole: its blocks as pieces, and its usage. The answer to a count of tokens is read here too.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{
    events::{Course, error},
    stop, usage,
};
use crate::{
    fields::{Fields, Pairs, text_of},
    format::{FINISHED, openai::faults, original},
    inference::{Delta, Event, Failure, Format},
    usage::Report,
};

/// Reads a whole body. The last event is `Finished` or `Failed`.
pub(super) fn read(body: &[u8]) -> Vec<Event> {
    let text = String::from_utf8_lossy(body);
    let text = text.trim_start_matches('\u{feff}').trim();
    let Ok(fields) = Fields::of(text) else {
        let words = faults::text_words(text);
        return failed(Failure::Transport(format!("the provider's answer is not JSON: {words}")));
    };
    let is_error = fields.present("type").and_then(text_of).as_deref() == Some("error");
    if is_error || fields.present("error").is_some() {
        return failed(Failure::Provider(Box::new(error(text))));
    }
    let blocks = fields.present("content").and_then(|content| serde_json::from_str::<Vec<&RawValue>>(content).ok());
    if let Some(blocks) = blocks {
        let (deltas, report) = answer(&fields, &blocks);
        let deltas = named(deltas, fields);
        let report = report.map(|report| Event::Reported(Box::new(report)));
        return deltas.into_iter().map(Event::Delta).chain(report).chain([FINISHED]).collect();
    }
    if let Some(input) = fields.present("input_tokens").and_then(|count| count.parse().ok()) {
        let report = Report { input: Some(input), own: Some(text.into()), ..Report::default() };
        return vec![Event::Reported(Box::new(report)), FINISHED];
    }
    let words = format!("the provider's answer has no content: {}", faults::text_words(text));
    failed(Failure::Provider(Box::new(faults::in_words(words))))
}

fn failed(failure: Failure) -> Vec<Event> {
    vec![Event::Failed(failure)]
}

/// A piece for each block, and the report of usage.
fn answer(fields: &Fields, blocks: &[&RawValue]) -> (Vec<Delta>, Option<Report>) {
    let mut course = Course::default();
    course.has_output = !blocks.is_empty();
    let pieces =
        blocks.iter().zip(0..).filter_map(|(block, index)| Some(course.block(index, &Pairs::of(block.get())?)));
    let mut deltas: Vec<Delta> = pieces.collect();
    for call in deltas.iter_mut().flat_map(|delta| &mut delta.calls) {
        if call.arguments.is_empty() {
            call.arguments.push_str("{}");
        }
    }
    let reason = fields.present("stop_reason").and_then(text_of).map(Cow::into_owned);
    let has_calls = deltas.iter().any(|delta| !delta.calls.is_empty());
    let text = fields.present("stop_sequence").and_then(text_of).map(Cow::into_owned);
    let finish = reason.as_deref().map(|reason| stop::read(reason, text).with_calls(has_calls));
    let report = course.billed(usage::report(fields), finish.as_ref());
    match deltas.last_mut() {
        Some(last) => last.finish = finish,
        None => deltas.push(Delta { finish, ..Delta::default() }),
    }
    (deltas, report)
}

/// Pieces with their original, which the first one carries.
fn named(mut deltas: Vec<Delta>, mut fields: Fields) -> Vec<Delta> {
    fields.remove("usage");
    original::put(&mut deltas, Format::AnthropicMessages, fields);
    deltas
}
