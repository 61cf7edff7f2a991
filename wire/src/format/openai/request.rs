//! Reads requests of chat completions and legacy completions. Farebox's own fields are taken out of the body. Members
//! that have no place in the neutral words are listed as unread.

use serde_json::Value;

use super::{
    Api,
    messages::{self, all_of},
    tools,
};
use crate::{
    fields::{BadRequest, Fields},
    format::own::{self, Own},
    inference::{Conversation, Generation, OutputLimit, ReasoningWanted, Request, Sampling, Source, TextPrompt, Work},
};

/// Reads a chat completion's request.
///
/// # Errors
///
/// The first field with a wrong value. The error is for the client, and names the field.
pub fn read_chat(body: &[u8]) -> Result<Request, BadRequest> {
    read(Api::Chat, body)
}

/// Reads a legacy completion's request.
///
/// # Errors
///
/// The first field with a wrong value. The error is for the client, and names the field.
pub fn read_completion(body: &[u8]) -> Result<Request, BadRequest> {
    read(Api::Completions, body)
}

fn read(api: Api, body: &[u8]) -> Result<Request, BadRequest> {
    let mut body = Fields::of_client(body)?;
    let Own { max_cost, auto_scale, fallbacks } = own::take(&mut body)?;
    let model = own::model(&body)?;
    let mut unread = Vec::new();
    let stream = body.boolean("stream")?.unwrap_or(false);
    if !stream && body.present("stream_options").is_some() {
        body.object("stream_options", "an object")?;
        return Err(BadRequest::new("stream_options", "is only for streams"));
    }
    usage_wanted(&body)?;
    let work = match api {
        Api::Chat => Work::Conversation(Box::new(Conversation {
            messages: messages::read(&body, &mut unread)?,
            generation: generation(&body, false, logprobs_of_chat(&body)?)?,
            ..tools::read(&body, &mut unread)
        })),
        Api::Completions => Work::Text(Box::new(text_prompt(&body)?)),
    };
    let end_user = end_user(&body);
    Ok(Request {
        model,
        work,
        stream,
        max_cost,
        auto_scale,
        fallbacks,
        end_user,
        unread: all_of(unread)?,
        source: Source::of(api.format(), body),
    })
}

/// The client's own user, by the newer field or the older one.
pub(super) fn end_user(body: &Fields) -> Option<String> {
    ["safety_identifier", "user"].into_iter().find_map(|name| body.string(name).ok().flatten())
}

/// Whether the client of a stream expects a chunk of usage without choices (`stream_options.include_usage`).
pub(super) fn usage_wanted(body: &Fields) -> Result<bool, BadRequest> {
    let options = body.object("stream_options", "an object")?;
    Ok(options.map(|options| options.boolean("include_usage")).transpose()?.flatten().unwrap_or(false))
}

/// The tokens of a completion whose request has no limit (OpenAI's API reference, "Create completion": `max_tokens`).
pub(super) const USUAL_COMPLETION: u32 = 16;

fn text_prompt(body: &Fields) -> Result<TextPrompt, BadRequest> {
    let prompt = match body.read("prompt", "a string")? {
        Some(Value::String(text)) => text,
        Some(Value::Array(list)) => match <[Value; 1]>::try_from(list) {
            Ok([Value::String(text)]) => text,
            _ => return Err(BadRequest::new("prompt", "must be a string, or an array of one string")),
        },
        Some(_) => return Err(BadRequest::new("prompt", "must be a string")),
        None => return Err(BadRequest::new("prompt", "is required")),
    };
    let echo = body.boolean("echo")?.unwrap_or(false);
    let logprobs = match body.present("logprobs") {
        Some("false") => None,
        _ => body.whole("logprobs", 0, 20)?,
    };
    let generation = generation(body, echo, logprobs)?;
    let best_of = body.whole("best_of", 1, 20)?;
    if best_of.is_some_and(|best_of| best_of < generation.n) {
        return Err(BadRequest::new("best_of", "must be at least n"));
    }
    // Other servers would write on to their model's end.
    let limit = generation.limit.or(Some(OutputLimit::usual(USUAL_COMPLETION)));
    let generation = Generation { limit, ..generation };
    // The provider refuses a suffix that is no text.
    let suffix = body.string("suffix").ok().flatten();
    Ok(TextPrompt { prompt, suffix, echo, generation: Generation { best_of, ..generation } })
}

fn generation(body: &Fields, echo: bool, logprobs: Option<u32>) -> Result<Generation, BadRequest> {
    Ok(Generation {
        sampling: sampling(body)?,
        limit: limit(body, echo)?,
        n: body.whole("n", 1, 16)?.unwrap_or(1),
        best_of: None,
        logprobs,
    })
}

/// The output limit. A repeated prompt alone is an answer: clients ask for its log probabilities with a limit of 0.
fn limit(body: &Fields, echo: bool) -> Result<Option<OutputLimit>, BadRequest> {
    let older = body.whole("max_tokens", u32::from(!echo), u32::MAX)?;
    let newer = body.whole("max_completion_tokens", 1, u32::MAX)?;
    let both = [(newer, "max_completion_tokens"), (older, "max_tokens")];
    let found = both.into_iter().find_map(|(tokens, field)| Some((tokens?, field)));
    Ok(found.map(|(tokens, field)| OutputLimit { tokens, largest: tokens.max(older.unwrap_or(0)), field }))
}

fn sampling(body: &Fields) -> Result<Sampling, BadRequest> {
    let stop = match body.read("stop", "a string or an array of strings")? {
        None => Vec::new(),
        Some(Value::String(text)) => vec![text],
        Some(_) => body.read("stop", "a string or an array of strings")?.unwrap_or_default(),
    };
    if stop.len() > 4 || stop.iter().any(|text: &String| text.is_empty() || text.len() > 1_024) {
        return Err(BadRequest::new("stop", "must be at most 4 texts of 1 to 1,024 bytes"));
    }
    Ok(Sampling {
        temperature: body.number("temperature", 0.0, 2.0)?,
        top_p: body.number("top_p", 0.0, 1.0)?,
        top_k: top_k(body)?,
        seed: seed(body)?,
        frequency_penalty: body.number("frequency_penalty", -2.0, 2.0)?,
        presence_penalty: body.number("presence_penalty", -2.0, 2.0)?,
        logit_bias: logit_bias(body)?,
        stop,
    })
}

/// 0 and -1 both mean "all tokens".
fn top_k(body: &Fields) -> Result<Option<u32>, BadRequest> {
    match body.present("top_k") {
        Some("-1") => Ok(Some(0)),
        _ => Ok(body.whole("top_k", 0, 1_000_000)?),
    }
}

fn seed(body: &Fields) -> Result<Option<u64>, BadRequest> {
    let must = "a whole number of 64 bits";
    if let Ok(seed) = body.read::<u64>("seed", must) {
        return Ok(seed);
    }
    Ok(body.read::<i64>("seed", must)?.map(i64::cast_unsigned))
}

fn logit_bias(body: &Fields) -> Result<Vec<(u32, f32)>, BadRequest> {
    let must = "a map of at most 1,024 token ids to numbers from -100 to 100";
    let bad = || BadRequest::new("logit_bias", format!("must be {must}"));
    let Some(biases) = body.object("logit_bias", must)? else { return Ok(Vec::new()) };
    let one = |token: &str| {
        let bias = biases.number(token, -100.0, 100.0).ok().flatten().ok_or_else(bad)?;
        Ok((token.parse().map_err(|_| bad())?, bias))
    };
    biases.names().map(one).collect()
}

fn logprobs_of_chat(body: &Fields) -> Result<Option<u32>, BadRequest> {
    let top = body.whole("top_logprobs", 0, 20)?;
    match (body.boolean("logprobs")?.unwrap_or(false), top) {
        (true, top) => Ok(Some(top.unwrap_or(0))),
        (false, Some(1..)) => Err(BadRequest::new("top_logprobs", "needs logprobs to be true")),
        (false, Some(0) | None) => Ok(None),
    }
}

/// How much a model is to reason, where the body has OpenAI's field.
pub(super) fn reasoning(body: &Fields) -> ReasoningWanted {
    ReasoningWanted { effort: body.string("reasoning_effort").ok().flatten(), max_tokens: None }
}

#[cfg(test)]
mod tests;
