//! An answer: one `GenerateContentResponse`, or a stream of them, each with further parts of its candidates.

use serde_json::Value;

use super::{
    finish::{self, FAULTS},
    refusal, usage,
};
use crate::{
    fields::Fields,
    format::{
        incoming::{Listener, Place},
        made::hash,
        openai::fault,
        original,
        proof::GOOGLES,
    },
    inference::{CallDelta, Delta, Event, Failure, FinishReason, Format, Made, Media, Raw, TokenLogprob},
    sse::SseEvent,
};

/// The most characters of a media type that an error repeats.
const LONGEST_TYPE: usize = 100;
/// The most candidates of one answer.
const MOST_CHOICES: usize = 1_024;
/// What was read of an answer.
#[derive(Debug, Default)]
pub(super) struct Answer {
    choices: Vec<Choice>,
    /// The answer's id, from which the ids of its calls are made.
    id: String,
    /// Whether the client reads this format: it is told what is no answer, and given data of any kind.
    is_own: bool,
}

/// A candidate, as far as it came.
#[derive(Debug)]
struct Choice {
    index: u32,
    calls: u32,
    /// Characters written.
    written: usize,
    is_finished: bool,
}

impl Listener for Answer {
    fn event(&mut self, event: &SseEvent, place: Place, events: &mut Vec<Event>) -> Result<(), Failure> {
        let data = event.data.trim();
        if data.is_empty() || data == "[DONE]" {
            return Ok(());
        }
        match serde_json::from_str(data) {
            Ok(Value::Array(list)) => {
                list.iter().try_for_each(|answer| self.read(answer, self.original(|| answer.to_string()), events))?;
            }
            Ok(answer) => self.read(&answer, self.original(|| data.to_owned()), events)?,
            Err(_) if event.is_stray || place == Place::AtEnd => {}
            Err(_) => {
                return Err(Failure::Transport("a chunk of the provider's is not of a known shape".into()));
            }
        }
        Ok(())
    }

    fn is_whole(&self) -> bool {
        !self.choices.is_empty() && self.choices.iter().all(|choice| choice.is_finished)
    }

    fn has_answered(&self) -> bool {
        !self.choices.is_empty()
    }
}

impl Answer {
    /// An answer for a client of this format.
    pub(super) fn own() -> Self {
        Self { is_own: true, ..Self::default() }
    }

    /// An answer as it came, without its usage, which is told with the cost: for a client of this format.
    fn original(&self, text: impl FnOnce() -> String) -> Option<Fields> {
        let mut fields = self.is_own.then(|| Fields::of(&text()).ok()).flatten()?;
        fields.remove("usageMetadata");
        Some(fields)
    }

    /// Reads an answer, with its original.
    fn read(&mut self, answer: &Value, mut own: Option<Fields>, events: &mut Vec<Event>) -> Result<(), Failure> {
        if let Some(id) = answer.get("responseId").and_then(Value::as_str) {
            id.clone_into(&mut self.id);
        }
        let candidates = answer.get("candidates").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let begin = events.len();
        let read = candidates.iter().try_for_each(|candidate| self.candidate(candidate, events));
        // A report covers all that came before it.
        let report = usage::report(answer, searches(candidates));
        let is_report = report.is_some();
        let is_blocked = answer.pointer("/promptFeedback/blockReason").and_then(Value::as_str).is_some();
        match candidates {
            [] if is_blocked && self.choices.is_empty() => {
                let choice = self.choice(0)?;
                choice.is_finished = true;
                events.push(Event::Delta(Delta { finish: Some(FinishReason::ContentFilter), ..Delta::default() }));
            }
            // What has no neutral words: where the answer comes from, or how its prompt was rated.
            [_, ..] if self.is_own && events.len() == begin && read.is_ok() => {
                events.push(Event::Delta(Delta::default()));
            }
            _ => {}
        }
        let is_silent = events.len() == begin;
        let is_unknown = candidates.is_empty() && is_silent && !is_report && answer.get("usageMetadata").is_none();
        if !is_silent && let Some(own) = own.take() {
            let pieces = events[begin..].iter_mut().filter_map(|event| match event {
                Event::Delta(delta) => Some(delta),
                _ => None,
            });
            original::put(pieces, Format::Gemini, own);
        }
        events.extend(report.map(|report| Event::Reported(Box::new(report))));
        read?;
        if answer.get("error").is_some_and(fault::is_telling) {
            return Err(Failure::Provider(Box::new(refusal::in_answer(answer))));
        }
        if is_unknown {
            events.push(Event::Unknown(own.map_or(Raw::None, |own| Raw::Own(Format::Gemini, own))));
        }
        Ok(())
    }

    fn choice(&mut self, index: u32) -> Result<&mut Choice, Failure> {
        let known = self.choices.iter().position(|choice| choice.index == index);
        if known.is_none() && self.choices.len() >= MOST_CHOICES {
            return Err(Failure::Transport(format!("the provider's answer has more than {MOST_CHOICES} candidates")));
        }
        let place = known.unwrap_or_else(|| {
            self.choices.push(Choice { index, calls: 0, written: 0, is_finished: false });
            self.choices.len() - 1
        });
        Ok(&mut self.choices[place])
    }

    /// Reads a candidate's parts: a delta for each, so that they keep their order.
    fn candidate(&mut self, candidate: &Value, events: &mut Vec<Event>) -> Result<(), Failure> {
        let index = candidate.get("index").and_then(Value::as_u64).and_then(|index| u32::try_from(index).ok());
        let (id, is_own) = (std::mem::take(&mut self.id), self.is_own);
        let choice = self.choice(index.unwrap_or(0));
        let read = choice.and_then(|choice| choice.read(candidate, &id, is_own, events));
        self.id = id;
        read
    }
}

impl Choice {
    fn read(&mut self, candidate: &Value, id: &str, is_own: bool, events: &mut Vec<Event>) -> Result<(), Failure> {
        let logprobs = logprobs(candidate, self.written);
        let parts = candidate.pointer("/content/parts").and_then(Value::as_array).into_iter().flatten();
        let mut deltas: Vec<Delta> = parts.flat_map(|part| self.part(part, id)).collect();
        if !logprobs.is_empty() {
            match deltas.iter_mut().rfind(|delta| !delta.text.is_empty()) {
                Some(delta) => delta.logprobs = logprobs,
                None => deltas.push(Delta { choice: self.index, logprobs, ..Delta::default() }),
            }
        }
        let mut all = candidate.pointer("/content/parts").and_then(Value::as_array).into_iter().flatten();
        let strange = all.find_map(strange_data).map(|kind| {
            let words = format!("the provider's answer has data of the type {kind}, for which no format has a place");
            Failure::Provider(Box::new(fault::in_words(words)))
        });
        let word = candidate.get("finishReason").and_then(Value::as_str);
        let word = word.filter(|word| *word != "FINISH_REASON_UNSPECIFIED");
        let fault = strange.or_else(|| {
            word.filter(|word| FAULTS.contains(word)).map(|word| {
                let said = candidate.get("finishMessage").and_then(Value::as_str).map(fault::text_words);
                let said = said.filter(|said| !said.is_empty()).unwrap_or_else(|| "the model's answer is none".into());
                Failure::Provider(Box::new(fault::in_words(format!("{said} ({word})"))))
            })
        });
        let fault = fault.filter(|_| !is_own);
        if let Some(word) = word.filter(|_| fault.is_none()) {
            self.is_finished = true;
            let finish = Some(finish::read(word, self.calls > 0));
            match deltas.last_mut() {
                Some(last) => last.finish = finish,
                None => deltas.push(Delta { choice: self.index, finish, ..Delta::default() }),
            }
        }
        events.extend(deltas.into_iter().map(Event::Delta));
        fault.map_or(Ok(()), Err)
    }

    /// A part in neutral words: nothing where it says nothing that has a place there. The proof of a call comes before it,
    /// as that of a reasoning: then clients keep it in their order.
    fn part(&mut self, part: &Value, id: &str) -> Vec<Delta> {
        let signature = part.get("thoughtSignature").and_then(Value::as_str).filter(|text| !text.is_empty());
        let signature = signature.map(|proof| [GOOGLES, proof].concat().into());
        let mut delta = Delta { choice: self.index, signature, ..Delta::default() };
        if let Some(call) = part.get("functionCall").filter(|call| call.is_object()) {
            let called = Delta { choice: self.index, calls: vec![self.call(call, id)], ..Delta::default() };
            return delta.signature.is_some().then_some(delta).into_iter().chain([called]).collect();
        }
        if let Some((media_type, base64)) = data_of(part).filter(|(kind, _)| is_image(kind)) {
            // A sketch on the way to the answer is none.
            if !is_thought(part) {
                let image = Media::Data { media_type: Some(media_type.into()), base64: base64.into() };
                delta.made = Some(Box::new(Made::Images(vec![image])));
            }
            return vec![delta];
        }
        let text = part.get("text").and_then(Value::as_str).unwrap_or_default();
        if is_thought(part) {
            text.clone_into(&mut delta.reasoning);
        } else {
            self.written += text.chars().count();
            text.clone_into(&mut delta.text);
        }
        (!text.is_empty() || delta.signature.is_some()).then_some(delta).into_iter().collect()
    }

    /// A call, which comes whole. Its id is the provider's, or one of its own in every conversation.
    fn call(&mut self, call: &Value, answer: &str) -> CallDelta {
        let text = |name: &str| call.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let (index, name) = (self.calls, text("name").unwrap_or_default());
        self.calls += 1;
        let arguments = call.get("args").filter(|args| args.is_object()).map_or_else(|| "{}".into(), Value::to_string);
        let made = || {
            let place = format!("{}/{index}", self.index);
            format!("call_{:016x}", hash([answer, name, &arguments, &place]))
        };
        let id = text("id").map_or_else(made, str::to_owned);
        CallDelta { index, id: Some(id), name: Some(name.to_owned()), arguments }
    }
}

/// The events of a body that came whole. One that came in several answers has no original that is whole.
pub(super) fn whole(mut events: Vec<Event>) -> Vec<Event> {
    let originals = events.iter().filter(|event| matches!(event, Event::Delta(Delta { raw: Raw::Own(..), .. })));
    if originals.count() > 1 {
        for event in &mut events {
            if let Event::Delta(delta) = event {
                delta.raw = Raw::None;
            }
        }
    }
    events
}

fn is_thought(part: &Value) -> bool {
    part.get("thought").and_then(Value::as_bool) == Some(true)
}

/// The type and the base64 of a part that is data.
fn data_of(part: &Value) -> Option<(&str, &str)> {
    let text = |name: &str| part.pointer("/inlineData")?.get(name)?.as_str();
    Some((text("mimeType").unwrap_or_default(), text("data")?))
}

fn is_image(media_type: &str) -> bool {
    media_type.starts_with("image/")
}

/// The type of a part's data that is no image.
fn strange_data(part: &Value) -> Option<String> {
    let (kind, _) = data_of(part).filter(|(kind, _)| !is_image(kind))?;
    Some(kind.chars().filter(|c| !c.is_control()).take(LONGEST_TYPE).collect())
}

/// The searches that Google ran for an answer.
fn searches(candidates: &[Value]) -> u64 {
    let queries = candidates.iter().filter_map(|candidate| {
        candidate.pointer("/groundingMetadata/webSearchQueries").and_then(Value::as_array).map(Vec::len)
    });
    queries.fold(0, |sum, queries| sum + queries as u64)
}

/// The log probabilities of a candidate's tokens, the first of which begins at this character.
fn logprobs(candidate: &Value, begin: usize) -> Vec<TokenLogprob> {
    let list = |name: &str| candidate.get("logprobsResult")?.get(name)?.as_array();
    let read = |entry: &Value| {
        let token = entry.get("token")?.as_str()?.to_owned();
        #[expect(clippy::cast_possible_truncation, reason = "a logarithm needs no more digits")]
        let logprob = entry.get("logProbability")?.as_f64()? as f32;
        Some((token.clone(), token.into_bytes(), logprob))
    };
    let mut offset = begin;
    let chosen = list("chosenCandidates").into_iter().flatten().enumerate().filter_map(|(place, entry)| {
        let (token, bytes, logprob) = read(entry)?;
        let top = list("topCandidates").and_then(|all| all.get(place)?.get("candidates")?.as_array());
        let top = top.into_iter().flatten().filter_map(read).collect();
        let at = offset;
        offset += token.chars().count();
        Some(TokenLogprob { token, bytes, logprob: Some(logprob), offset: at, top })
    });
    chosen.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        format::{
            AnswerWriter as _, ClientFormat as _, End, Particulars, ProviderFormat as _, Receipt, Upstream,
            WholeWriter as _,
            anthropic::Messages,
            gemini::Gemini,
            live::{Carries, LiveWriter},
            openai::{Chat, Responses},
        },
        inference::{Format, Usage},
    };

    fn read(parts: &Value) -> Vec<Event> {
        let answer = json!({"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}],
            "usageMetadata": {"promptTokenCount": 4, "candidatesTokenCount": 1_290, "totalTokenCount": 1_294}});
        Gemini.read_whole(Format::Gemini, answer.to_string().as_bytes())
    }

    fn image() -> Value {
        json!({"inlineData": {"mimeType": "image/png", "data": "AAAA"}})
    }

    fn end() -> End {
        let receipt = Receipt { cost: "0.01".into(), farebox: Particulars::default(), usage: None };
        End { usage: Usage::default(), receipt, is_cut: false }
    }

    #[test]
    fn an_image_is_written_where_the_clients_format_has_a_place() {
        let sketch = json!({"inlineData": {"mimeType": "image/png", "data": "no"}, "thought": true});
        let events = read(&json!([sketch, {"text": "here"}, image()]));
        let deltas = || -> Vec<Delta> {
            let all =
                events.iter().filter_map(|event| if let Event::Delta(delta) = event { Some(delta) } else { None });
            all.cloned().collect()
        };
        let shown = json!([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]);
        let asked = Chat::read(br#"{"model":"m","messages":[{"role":"user","content":"x"}]}"#).unwrap();
        let chat: Value = serde_json::from_slice(&Chat::writer(&asked, "0", 0).whole(deltas(), &end())).unwrap();
        let message = &chat["choices"][0]["message"];
        assert_eq!((&message["content"], &message["images"]), (&json!("here"), &shown));
        let mut writer = Chat::writer(&asked, "0", 0);
        let streamed: String = deltas().into_iter().filter_map(|delta| writer.delta(delta)).collect();
        let streamed = streamed + &writer.end(&end());
        assert!(streamed.contains(&format!(r#""images":{shown}"#)), "{streamed}");
        let asked = Responses::read(br#"{"model":"m","input":"x"}"#).unwrap();
        let mut writer = Responses::writer(&asked, "0", 0);
        let streamed: String = deltas().into_iter().filter_map(|delta| writer.delta(delta)).collect();
        let last = writer.end(&end());
        let whole: Value = serde_json::from_slice(&Responses::writer(&asked, "0", 0).whole(deltas(), &end())).unwrap();
        let item = json!({"id": "ig_001", "type": "image_generation_call", "status": "completed", "result": "AAAA"});
        assert_eq!(whole["output"][1], item);
        assert!(
            streamed.contains("response.image_generation_call.completed") && last.contains(&item.to_string()),
            "{streamed}"
        );
        let inner = Box::new(Chat::writer(&asked, "0", 0));
        let mut writer = LiveWriter::new("chat", "i".into(), inner, Carries::EventsBeyondText);
        let frames: Vec<_> = deltas().into_iter().filter_map(|delta| writer.delta(delta)).collect();
        assert!(frames.concat().contains(r#""images":["data:image/png;base64,AAAA"]"#), "{frames:?}");
        let asked = br#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"}]}"#;
        let asked = Messages::read(asked).unwrap();
        let whole = Messages::writer(&asked, "0", 0).whole(deltas(), &end());
        assert!(
            String::from_utf8(whole).unwrap().contains("[image/png: messages have no place"),
            "it is not lost unsaid"
        );
        let refused = Gemini.call(asked, &Upstream { model: "gemini-2.5-flash-image", max_output: 9, tier: None });
        assert!(matches!(refused, Err(Failure::Invalid { field, .. }) if field == "model"));
    }

    #[test]
    fn a_client_gives_an_image_back_to_the_model_that_made_it() {
        let url = "data:image/png;base64,AAAA";
        let shown = json!([{"type": "image_url", "image_url": {"url": url}, "index": 0}]);
        let chat = json!({"model": "m", "messages": [{"role": "user", "content": "x"},
            {"role": "assistant", "content": "here", "images": shown}, {"role": "user", "content": "larger"}]});
        let item = json!({"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "AAAA"});
        let said = |role: &str, text: &str| json!({"role": role, "content": text});
        let input = json!({"model": "m", "input": [said("user", "x"), said("assistant", "here"), item, said("user", "larger")]});
        for request in
            [Chat::read(chat.to_string().as_bytes()).unwrap(), Responses::read(input.to_string().as_bytes()).unwrap()]
        {
            let upstream = Upstream { model: "gemini-3-pro-image", max_output: 9, tier: None };
            let call = Gemini.call(request, &upstream).unwrap();
            let body: Value = serde_json::from_str(&call.body.to_json()).unwrap();
            assert_eq!(body["contents"][1], json!({"role": "model", "parts": [{"text": "here"}, image()]}));
        }
    }

    #[test]
    fn data_of_another_kind_is_a_failure_whose_use_is_told() {
        let sound = json!({"inlineData": {"mimeType": "audio/L16;rate=24000", "data": "AAAA"}});
        let events = read(&json!([{"text": "x"}, sound]));
        let [Event::Delta(_), Event::Reported(report), Event::Failed(failure)] = &events[..] else {
            panic!("{events:?}")
        };
        assert_eq!(report.output, Some(1_290));
        assert!(failure.to_string().contains("audio/L16"), "{failure}");
    }
}
