//! The fields of a request to an open model: honoured fields, fields that do not affect an answer, and fields accepted
//! only with values that request nothing. Any other field is refused, with the nearest known name.

use serde_json::Value;
use wire::inference::{Format, Request, Task, Unread};

use super::{Unable, of_messages};
use crate::catalogue::nearest::nearest;

/// The requests that have a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Both,
    Chat,
    Completion,
}

/// The treatment of a field. Null counts as absent, for all fields.
#[derive(Clone, Copy)]
pub(super) enum Takes {
    /// Honoured. Wrong values were refused when the request was read.
    Used,
    /// No value changes an answer.
    Harmless,
    /// Accepted with these values, which request nothing; refused with others.
    Only(&'static [&'static str]),
    /// Checked by a function; the text names the accepted values.
    Checked(
        fn(&Request) -> Result<(), Unable>,
        #[cfg_attr(not(test), expect(dead_code, reason = "the documentation's words, which a test compares"))]
        &'static str,
    ),
}

use Of::{Both, Chat, Completion};
use Takes::{Checked, Harmless, Only, Used};

/// A field.
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) of: Of,
    pub(super) takes: Takes,
}

pub(super) const fn field(name: &'static str, of: Of, takes: Takes) -> Field {
    Field { name, of, takes }
}

/// All known fields.
pub(super) const FIELDS: &[Field] = &[
    field("model", Both, Used),
    field("messages", Chat, Checked(|_| Ok(()), "texts; see below")),
    field("prompt", Completion, Used),
    field("max_tokens", Both, Used),
    field("max_completion_tokens", Both, Used),
    field("temperature", Both, Used),
    field("top_p", Both, Used),
    field("top_k", Both, Used),
    field("seed", Both, Used),
    field("stop", Both, Used),
    field("n", Both, Used),
    field("frequency_penalty", Both, Used),
    field("presence_penalty", Both, Used),
    field("logit_bias", Both, Used),
    field("logprobs", Both, Used),
    field("top_logprobs", Chat, Used),
    field("stream", Both, Used),
    field("stream_options", Both, Checked(stream_options, "`include_usage`; `include_obfuscation` is ignored")),
    field("echo", Completion, Used),
    field("echo", Chat, Only(&["false"])),
    field("max_cost", Both, Used),
    field("autoScale", Both, Used),
    field("user", Both, Harmless),
    field("metadata", Both, Harmless),
    field("store", Both, Harmless),
    field("safety_identifier", Both, Harmless),
    field("prompt_cache_key", Both, Harmless),
    field("prompt_cache_retention", Both, Harmless),
    field("parallel_tool_calls", Chat, Used),
    field("parallel_tool_calls", Completion, Harmless),
    field("service_tier", Both, Only(&["\"auto\"", "\"default\"", "\"standard\""])),
    field("tools", Chat, Checked(tools, "functions, or any with `tool_choice: \"none\"`; see below")),
    field("tools", Completion, Checked(no_tools, "`[]`, or any with `tool_choice: \"none\"`")),
    field("tool_choice", Chat, Checked(choice, "`none`, `auto`, `required`, a function")),
    field("tool_choice", Completion, Only(&["\"none\"", "\"auto\""])),
    field("functions", Both, Checked(functions, "`[]`, or any with `function_call: \"none\"`")),
    field("function_call", Both, Only(&["\"none\"", "\"auto\""])),
    field("response_format", Chat, Checked(response_format, "`text`, `json_object`, `json_schema`; see below")),
    field("response_format", Completion, Only(&["{\"type\":\"text\"}"])),
    field("modalities", Both, Only(&["[\"text\"]"])),
    field("reasoning_effort", Both, Only(&["\"none\""])),
    field("verbosity", Both, Only(&["\"medium\""])),
    field("audio", Both, Only(&[])),
    field("prediction", Both, Only(&[])),
    field("web_search_options", Both, Only(&[])),
    field("best_of", Completion, Checked(best_of, "as many as `n`")),
    field("suffix", Completion, Only(&["\"\""])),
    field("min_p", Both, Only(&["0"])),
    field("top_a", Both, Only(&["0"])),
    field("typical_p", Both, Only(&["1"])),
    field("tfs_z", Both, Only(&["1"])),
    field("mirostat", Both, Only(&["0"])),
    field("repetition_penalty", Both, Only(&["1"])),
    field("repeat_penalty", Both, Only(&["1"])),
    field("length_penalty", Both, Only(&["1"])),
    field("use_beam_search", Both, Only(&["false"])),
    field("min_tokens", Both, Only(&["0"])),
    field("n_predict", Both, Only(&["-1"])),
    field("ignore_eos", Both, Only(&["false"])),
    field("stop_token_ids", Both, Only(&["[]"])),
    field("bad_words", Both, Only(&["[]"])),
    field("include_stop_str_in_output", Both, Only(&["false"])),
    field("skip_special_tokens", Both, Only(&["true"])),
    field("truncate_prompt_tokens", Both, Only(&[])),
    field("prompt_logprobs", Both, Only(&[])),
    field("grammar", Both, Only(&["\"\""])),
    field("json_schema", Both, Only(&[])),
    field("guided_json", Both, Only(&[])),
    field("guided_regex", Both, Only(&[])),
    field("guided_choice", Both, Only(&[])),
    field("guided_grammar", Both, Only(&[])),
    field("structured_outputs", Both, Only(&[])),
    field("add_generation_prompt", Chat, Only(&["true"])),
    field("continue_final_message", Chat, Only(&["false"])),
    field("add_special_tokens", Chat, Only(&["false"])),
    field("add_special_tokens", Completion, Only(&["true"])),
    field("chat_template", Chat, Only(&[])),
    field("chat_template_kwargs", Chat, Only(&["{}"])),
    field("documents", Chat, Only(&["[]"])),
];

impl Field {
    fn is_of(&self, task: Task) -> bool {
        match self.of {
            Both => true,
            Chat => task == Task::Chat,
            Completion => task == Task::Completion,
        }
    }
}

/// The known fields of a request's format.
const fn fields_of(request: &Request) -> &'static [Field] {
    match request.source.format {
        Format::AnthropicMessages => of_messages::FIELDS,
        Format::OpenAiChat
        | Format::OpenAiCompletions
        | Format::OpenAiResponses
        | Format::OpenAiEmbeddings
        | Format::OpenAiSpeech
        | Format::OpenAiTranscriptions
        | Format::OpenAiImages
        | Format::Gemini
        | Format::GeminiEmbeddings
        | Format::Mistral
        | Format::Cohere
        | Format::CohereEmbed
        | Format::Rerank => FIELDS,
    }
}

/// Refuses a field of a request that would be ignored.
pub(super) fn check(request: &Request, name: &str) -> Result<(), Unable> {
    let Some(value) = request.source.body.present(name) else { return Ok(()) };
    let known = fields_of(request).iter().find(|field| field.name == name && field.is_of(request.task()));
    match known.map(|field| field.takes) {
        Some(Used | Harmless) => Ok(()),
        Some(Checked(check, _)) => check(request),
        Some(Only(values)) if values.iter().any(|taken| same(taken, value)) => Ok(()),
        Some(Only(values)) => Err(Unable::new(name.to_owned(), only(values))),
        None => Err(unknown(request, name)),
    }
}

/// The error of an unknown field, with the name that was probably meant.
fn unknown(request: &Request, name: &str) -> Unable {
    let (task, fields) = (request.task(), fields_of(request));
    let shown: String = name.chars().take(100).collect();
    if fields.iter().any(|field| field.name == name) {
        let other = if task == Task::Chat { "completions" } else { "chats" };
        return Unable::new(shown, format!("is a field of {other} only"));
    }
    let names =
        fields.iter().filter(|field| field.is_of(task) && !matches!(field.takes, Only(_))).map(|field| field.name);
    let meant = nearest(name, names).into_iter().next();
    let hint = meant.map(|meant| format!("; did you mean {meant}?")).unwrap_or_default();
    Unable::new(shown, format!("is not a field that open models honour, so it is refused{hint}"))
}

fn only(values: &[&str]) -> String {
    if values.is_empty() {
        return "is not honoured by open models: leave it out".to_owned();
    }
    format!("is not honoured by open models: it may be left out or {}", values.join(" or "))
}

/// Whether two texts are the same JSON. Numbers are compared by value.
fn same(taken: &str, value: &str) -> bool {
    let read = |text: &str| serde_json::from_str::<Value>(text).ok();
    match (read(taken), read(value)) {
        (Some(Value::Number(one)), Some(Value::Number(two))) => one.as_f64() == two.as_f64(),
        (Some(one), Some(two)) => one == two,
        _ => false,
    }
}

fn value(request: &Request, name: &'static str) -> Result<Option<Value>, Unable> {
    let value = request.source.body.present(name).map(serde_json::from_str);
    value.transpose().map_err(|error: serde_json::Error| Unable::new(name, error.to_string()))
}

/// Refuses tools of other kinds than functions, unless none may be called.
fn tools(request: &Request) -> Result<(), Unable> {
    if value(request, "tool_choice")?.is_some_and(|choice| choice == "none") {
        return Ok(());
    }
    unread(request, "tools")
}

/// Refuses a choice of an unknown shape.
fn choice(request: &Request) -> Result<(), Unable> {
    unread(request, "tool_choice")
}

/// Refuses what has no place in the neutral words below a field.
pub(super) fn unread(request: &Request, field: &str) -> Result<(), Unable> {
    let is_below = |unread: &&Unread| {
        let rest = unread.at.strip_prefix(field);
        unread.json != "null" && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    request.unread.iter().find(is_below).map_or(Ok(()), |unread| {
        let shown: String = unread.at.chars().take(100).collect();
        Err(Unable::new(shown, "is not honoured by open models"))
    })
}

/// Refuses tools, unless none may be called.
fn no_tools(request: &Request) -> Result<(), Unable> {
    callable(request, "tools", "tool_choice")
}

fn functions(request: &Request) -> Result<(), Unable> {
    callable(request, "functions", "function_call")
}

fn callable(request: &Request, list: &'static str, choice: &'static str) -> Result<(), Unable> {
    let none = value(request, choice)?.is_some_and(|choice| choice == "none");
    match value(request, list)? {
        Some(Value::Array(tools)) if tools.is_empty() || none => Ok(()),
        Some(Value::Array(_)) => {
            let message =
                format!("open models call the tools of a chat's tools alone; {choice} may be none to send these too");
            Err(Unable::new(list, message))
        }
        Some(_) => Err(Unable::new(list, "must be an array")),
        None => Ok(()),
    }
}

fn response_format(request: &Request) -> Result<(), Unable> {
    let Some(Value::Object(format)) = value(request, "response_format")? else {
        return Err(Unable::new("response_format", "must be an object with a type"));
    };
    let own: &[&str] = match format.get("type").and_then(Value::as_str) {
        Some("text" | "json_object") => &[],
        Some("json_schema") => {
            let known = ["name", "description", "schema", "strict"];
            let schema = format.get("json_schema").and_then(Value::as_object);
            let schema = schema.filter(|wanted| wanted.get("schema").is_some_and(|schema| !schema.is_null()));
            let Some(wanted) = schema else {
                return Err(Unable::new("response_format", "must have a json_schema with a schema"));
            };
            members_of("response_format.json_schema", wanted, &known)?;
            &["json_schema"]
        }
        _ => return Err(Unable::new("response_format", "its type must be text, json_object or json_schema")),
    };
    members_of("response_format", &format, &[&["type"], own].concat())
}

/// Refuses members of an object that are not known.
fn members_of(at: &str, object: &serde_json::Map<String, Value>, known: &[&str]) -> Result<(), Unable> {
    let other = object.iter().find(|(name, value)| !value.is_null() && !known.contains(&name.as_str()));
    other.map_or(Ok(()), |(name, _)| {
        let shown: String = name.chars().take(100).collect();
        Err(Unable::new(format!("{at}.{shown}"), "is not honoured by open models"))
    })
}

fn stream_options(request: &Request) -> Result<(), Unable> {
    let Some(Value::Object(options)) = value(request, "stream_options")? else { return Ok(()) };
    let ignored = |(name, value): &(&String, &Value)| {
        !(value.is_null()
            || matches!((name.as_str(), value), ("include_usage" | "include_obfuscation", _))
            || (*name == "continuous_usage_stats" && **value == Value::Bool(false)))
    };
    options.iter().find(ignored).map_or(Ok(()), |(name, _)| {
        let shown: String = name.chars().take(100).collect();
        Err(Unable::new(format!("stream_options.{shown}"), "is not honoured by open models"))
    })
}

fn best_of(request: &Request) -> Result<(), Unable> {
    if request.generation().is_some_and(|generation| generation.answers() > generation.n) {
        return Err(Unable::new("best_of", "open models return every answer they write: best_of must be n"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use wire::format::openai::{read_chat, read_completion};

    use super::*;

    /// The table of fields in the documentation.
    fn table(fields: &[Field]) -> String {
        let mut text = "| field | of | open models |\n|---|---|---|\n".to_owned();
        for Field { name, of, takes } in fields {
            let of = match of {
                Both => "both",
                Chat => "chats",
                Completion => "completions",
            };
            let takes = match takes {
                Used => "honoured".to_owned(),
                Harmless => "ignored: it changes no answer".to_owned(),
                Only([]) => "refused".to_owned(),
                Only(values) => {
                    let values: Vec<_> = values.iter().map(|value| format!("`{value}`")).collect();
                    format!("refused, but for {}", values.join(", "))
                }
                Checked(_, words) => format!("honoured: {words}"),
            };
            let _ = writeln!(text, "| `{name}` | {of} | {takes} |");
        }
        text
    }

    #[test]
    fn the_documentation_shows_this_table() {
        let page = include_str!("../../../docs/open-models.md");
        for fields in [FIELDS, of_messages::FIELDS] {
            assert!(page.contains(&table(fields)), "docs/open-models.md must have this table:\n{}", table(fields));
        }
    }

    fn asked(task: Task, name: &str, value: &str) -> Result<(), Unable> {
        let prompt =
            if task == Task::Chat { r#""messages":[{"role":"user","content":"x"}]"# } else { r#""prompt":"x""# };
        let body = format!(r#"{{"model":"m",{prompt},"{name}":{value}}}"#);
        let read = if task == Task::Chat { read_chat } else { read_completion };
        check(&read(body.as_bytes()).unwrap(), name)
    }

    #[test]
    fn every_field_of_the_table_does_what_it_says() {
        for field in FIELDS {
            let task = if field.of == Completion { Task::Completion } else { Task::Chat };
            assert!(
                matches!(field.takes, Used | Checked(..)) || asked(task, field.name, "null").is_ok(),
                "{}",
                field.name
            );
            match field.takes {
                Only(values) => {
                    for value in values {
                        assert_eq!(asked(task, field.name, value), Ok(()), "{}: {value}", field.name);
                    }
                    if !["echo", "stop_token_ids", "best_of"].contains(&field.name) {
                        let refused = asked(task, field.name, "[7]").unwrap_err();
                        assert_eq!(refused.field, field.name);
                    }
                }
                Harmless => assert_eq!(asked(task, field.name, "[7]"), Ok(()), "{}", field.name),
                Used | Checked(..) => {}
            }
        }
    }

    #[test]
    fn what_is_not_known_is_refused_with_what_it_may_have_meant() {
        for (name, meant) in
            [("temprature", "temperature"), ("max_token", "max_tokens"), ("Stop", "stop"), ("top-p", "top_p")]
        {
            let refused = asked(Task::Chat, name, "0").unwrap_err();
            assert!(refused.field == name && refused.message.contains(meant), "{refused:?}");
        }
        for name in ["dry_multiplier", "xtc_probability", "provider", "x"] {
            assert_eq!(asked(Task::Chat, name, "0").unwrap_err().field, name);
            assert_eq!(asked(Task::Completion, name, "{}").unwrap_err().field, name);
        }
        assert!(asked(Task::Completion, "top_logprobs", "2").unwrap_err().message.contains("chats"));
    }
}
