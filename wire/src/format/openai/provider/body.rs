//! The body for a provider of this format: the client's, byte for byte, except for the fields that must differ.

use serde_json::{Map, Value};

use super::{super::Api, given_back};
use crate::{
    fields::Fields,
    inference::{Format, Request},
};

/// A request whose body is for a provider: the client's, with the provider's name of the model, usage always requested,
/// and nothing in its messages that says nothing and is refused.
pub(in super::super) fn own_body(mut request: Request, model: &str) -> Request {
    given_back::leave_out(&mut request);
    let body = &mut request.source.body;
    if model != request.model {
        body.set("model", model);
    }
    if request.stream && request.source.format != Format::OpenAiResponses {
        let mut options: Map<String, Value> =
            body.read("stream_options", "an object").ok().flatten().unwrap_or_default();
        if options.get("include_usage") != Some(&Value::Bool(true)) {
            options.insert("include_usage".into(), true.into());
            body.set("stream_options", &options);
        }
    }
    request
}

/// The fields in which a limit is written: the client's own fields where it has any, else the format's. Reasoning
/// models take no `max_tokens`.
pub(in super::super) fn limit_fields(format: Format, body: &Fields) -> &'static [&'static str] {
    let is_there = |field| body.present(field).is_some();
    match format {
        Format::OpenAiResponses => return &["max_output_tokens"],
        // Nothing is written, or it is no text and nothing in the body bounds it.
        Format::OpenAiEmbeddings
        | Format::OpenAiSpeech
        | Format::OpenAiTranscriptions
        | Format::OpenAiImages
        | Format::GeminiEmbeddings
        | Format::CohereEmbed
        | Format::Rerank => return &[],
        _ => {}
    }
    match (Api::of(format), is_there("max_completion_tokens"), is_there("max_tokens")) {
        (Api::Chat, true, true) => &["max_completion_tokens", "max_tokens"],
        (Api::Chat, _, false) => &["max_completion_tokens"],
        (Api::Chat, false, true) | (Api::Completions, ..) => &["max_tokens"],
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection, prelude::*, sample::select};
    use serde_json::json;

    use super::*;
    use crate::format::{
        ProviderFormat as _, Upstream,
        openai::{OpenAi, read_chat, read_completion},
    };

    fn chat(fields: &str) -> Request {
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}]{fields}}}"#);
        read_chat(body.as_bytes()).unwrap()
    }

    fn provider_body(request: &Request, model: &str, limit: Option<u32>) -> String {
        let mut call = OpenAi.call(request.clone(), &Upstream { model, max_output: 100, tier: None }).unwrap();
        if let Some(limit) = limit {
            OpenAi.limit(&mut call, limit);
        }
        call.body.to_json()
    }

    fn sent(request: &Request, upstream: &str, limit: Option<u32>) -> Value {
        serde_json::from_str(&provider_body(request, upstream, limit)).unwrap()
    }

    #[test]
    fn a_provider_is_sent_what_its_client_wrote_without_our_fields() {
        let request = chat(r#","stream":true,"max_cost":0.5,"autoScale":true,"new_field":[1]"#);
        assert_eq!((request.max_cost.as_deref(), request.auto_scale), (Some("0.5"), Some(true)));
        let expected = json!({"model":"y","messages":[{"role":"user","content":"x"}],"stream":true,"new_field":[1],
            "stream_options":{"include_usage":true},"max_completion_tokens":9});
        assert_eq!(sent(&request, "y", Some(9)), expected);
    }

    #[test]
    fn a_limit_of_ours_takes_the_field_that_its_model_takes() {
        let limits = |request: &Request| {
            let sent = sent(request, "m", Some(9));
            json!([sent.get("max_completion_tokens"), sent.get("max_tokens")])
        };
        assert_eq!(limits(&chat("")), json!([9, null]));
        assert_eq!(limits(&chat(r#","max_tokens":50"#)), json!([null, 9]));
        assert_eq!(limits(&chat(r#","max_tokens":null"#)), json!([9, null]));
        assert_eq!(limits(&chat(r#","max_completion_tokens":50"#)), json!([9, null]));
        assert_eq!(limits(&chat(r#","max_completion_tokens":50,"max_tokens":900"#)), json!([9, 9]));
        assert_eq!(limits(&read_completion(br#"{"model":"m","prompt":"x"}"#).unwrap()), json!([null, 9]));
    }

    #[test]
    fn a_stream_keeps_its_other_options() {
        let options = r#","stream":true,"stream_options":{"include_obfuscation":false,"include_usage":false}"#;
        let sent = sent(&chat(options), "m", None);
        assert_eq!(sent["stream_options"], json!({"include_obfuscation": false, "include_usage": true}));
    }

    /// Members of an object with white space around them: the name in quotes, and the value.
    fn members() -> impl Strategy<Value = Vec<(String, String)>> {
        let blank = || select(vec!["", "", " ", "\n  ", "\t", "\r\n"]);
        let value = prop_oneof![
            3 => select(vec!["1.50", "1e2", "-0", "null", "true", "[ 1 ,2]", r#"{"b" :{ "a":1}, "a":[]}"#, r#""\u00e9 \/ é""#])
                .prop_map(str::to_owned),
            1 => ".{0,12}".prop_map(|text| serde_json::to_string(&text).unwrap()),
        ];
        let name = prop_oneof![
            2 => "[a-z_]{1,8}[0-9]".prop_map(|name| format!("\"{name}\"")),
            1 => "[a-z]{1,4}".prop_map(|name| format!("\"\\u0078x{name}\"")),
        ];
        let member = (blank(), name, blank(), blank(), value, blank());
        let member = member.prop_map(|(before, name, after, behind, value, end)| {
            (format!("{before}{name}{after}:"), format!("{behind}{value}{end}"))
        });
        collection::vec(member, 0..8)
    }

    /// The members of an object's text, cut at the commas by a second implementation.
    fn cut(text: &str) -> Vec<String> {
        let inner = text.trim().strip_prefix('{').unwrap().strip_suffix('}').unwrap();
        let (mut parts, mut depth, mut is_text, mut is_escaped) = (vec![String::new()], 0, false, false);
        for c in inner.chars() {
            match c {
                '"' if !is_escaped => is_text = !is_text,
                '{' | '[' if !is_text => depth += 1,
                '}' | ']' if !is_text => depth -= 1,
                ',' if !is_text && depth == 0 => {
                    parts.push(String::new());
                    continue;
                }
                _ => {}
            }
            is_escaped = is_text && c == '\\' && !is_escaped;
            parts.last_mut().unwrap().push(c);
        }
        parts.into_iter().map(|part| part.trim().to_owned()).collect()
    }

    proptest! {
        #[test]
        fn a_body_of_the_same_format_passes_byte_for_byte(members in members(), ours in 0_usize..12, stream in any::<bool>()) {
            let mut seen = std::collections::HashSet::new();
            let mut entries: Vec<String> = members
                .into_iter()
                .filter(|(name, _)| seen.insert(serde_json::from_str::<String>(name.trim().trim_end_matches(':').trim()).unwrap()))
                .map(|(name, value)| name + &value)
                .collect();
            entries.insert(entries.len() / 2, r#" "messages" : [ {"role":"user", "content" : "h\u00e9"} ]"#.to_owned());
            entries.push(r#""model":"m""#.to_owned());
            if stream {
                entries.insert(0, r#""stream": true"#.to_owned());
                entries.push(r#""stream_options":{ "include_usage":true }"#.to_owned());
            }
            let plain = format!(" {{{}}}\n", entries.join(","));
            let request = read_chat(plain.as_bytes()).unwrap();
            prop_assert_eq!(provider_body(&request, "m", None), plain, "nothing is to be changed");

            let mut with_ours = entries.clone();
            with_ours.insert(ours.min(entries.len()), r#""max_cost" : 1"#.to_owned());
            with_ours.insert(ours / 2 % entries.len(), r#""autoScale":true"#.to_owned());
            let request = read_chat(format!("{{{}}}", with_ours.join(",")).as_bytes()).unwrap();
            let sent = provider_body(&request, "other", Some(7));
            let expected: Vec<String> = entries
                .iter()
                .map(|entry| entry.trim().replace(r#""model":"m""#, r#""model":"other""#))
                .chain([r#""max_completion_tokens":7"#.to_owned()])
                .collect();
            prop_assert_eq!(cut(&sent), expected, "only what we set differs");
        }
    }
}
