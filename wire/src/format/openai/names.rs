//! The names of an answer in every chunk of a stream: its id, creation time, model, and server. Clients that assemble a
//! stream treat a chunk with another id as another answer, so all chunks get the same names: those of the provider's
//! first chunk, or ours where the provider gave none.

use serde_json::value::RawValue;

use super::Head;
use crate::fields::Fields;

/// Names that every chunk has.
const SAME: [&str; 3] = ["id", "created", "model"];
/// Names that a chunk may have: the last chunk repeats those before it.
const BESIDE: [&str; 2] = ["service_tier", "system_fingerprint"];

/// The names of one answer, as JSON: those that its provider has sent.
#[derive(Debug, Default)]
pub(super) struct Names {
    same: [Option<Box<RawValue>>; SAME.len()],
    beside: [Option<Box<RawValue>>; BESIDE.len()],
}

impl Names {
    /// Gives a provider's chunk the names of the chunks before it, where it has none or others. Where the first has
    /// none, they are ours.
    pub(super) fn unite(&mut self, chunk: &mut Fields, ours: &Head) {
        for (name, same) in SAME.into_iter().zip(&mut self.same) {
            let said = chunk.present(name).filter(|text| *text != "\"\"" && *text != "0");
            match same {
                Some(same) if said == Some(same.get()) => {}
                Some(same) => chunk.set(name, same),
                None => {
                    *same = said.and_then(raw);
                    if same.is_none() {
                        *same = match name {
                            "id" => json(&ours.id),
                            "created" => json(&ours.created),
                            _ => json(&ours.model),
                        };
                        chunk.set(name, same);
                    }
                }
            }
        }
        for (name, beside) in BESIDE.into_iter().zip(&mut self.beside) {
            if let Some(said) =
                chunk.present(name).filter(|said| beside.as_ref().is_none_or(|known| known.get() != *said))
            {
                *beside = raw(said);
            }
        }
    }

    /// A chunk of ours with the provider's names, if the provider sent any before it.
    pub(super) fn give(&self, chunk: String) -> String {
        let is_ours = self.same.iter().chain(&self.beside).all(Option::is_none);
        let parsed = if is_ours { None } else { Fields::of(&chunk).ok() };
        let Some(mut fields) = parsed else { return chunk };
        let named = SAME.into_iter().zip(&self.same).chain(BESIDE.into_iter().zip(&self.beside));
        for (name, value) in named {
            if let Some(value) = value {
                fields.set(name, value);
            }
        }
        fields.to_json()
    }
}

fn json(value: &impl serde::Serialize) -> Option<Box<RawValue>> {
    serde_json::value::to_raw_value(value).ok()
}

fn raw(text: &str) -> Option<Box<RawValue>> {
    RawValue::from_string(text.to_owned()).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::format::openai::Api;

    fn united(names: &mut Names, chunk: &Value) -> Value {
        let mut fields = Fields::parse(chunk.to_string().as_bytes()).unwrap();
        let ours = Head { id: "ours".into(), created: 1, model: "m".into(), api: Api::Chat };
        names.unite(&mut fields, &ours);
        serde_json::from_str(&fields.to_json()).unwrap()
    }

    #[test]
    fn our_last_chunk_is_named_as_the_providers_were() {
        let mut names = Names::default();
        let first = json!({"id": "a", "created": 7, "model": "m-1", "service_tier": "default", "x": 1});
        assert_eq!(united(&mut names, &first), first, "what a provider says is not changed");
        let second = json!({"id": "a", "created": 7, "model": "m-1", "system_fingerprint": "fp", "service_tier": null});
        assert_eq!(united(&mut names, &second), second);
        let last = names.give(json!({"id": "ours", "created": 1, "model": "m", "usage": {}}).to_string());
        let expected = json!({"id": "a", "created": 7, "model": "m-1", "usage": {}, "service_tier": "default",
            "system_fingerprint": "fp"});
        assert_eq!(serde_json::from_str::<Value>(&last).unwrap(), expected);
    }

    #[test]
    fn chunks_with_other_names_or_none_get_those_of_the_first() {
        let mut names = Names::default();
        let nameless = united(&mut names, &json!({"id": "", "created": 7, "choices": []}));
        assert_eq!(nameless, json!({"id": "ours", "created": 7, "model": "m", "choices": []}));
        let other = united(&mut names, &json!({"id": "b", "created": 8, "model": null}));
        assert_eq!(other, json!({"id": "ours", "created": 7, "model": "m"}));
    }

    #[test]
    fn an_answer_that_no_provider_named_keeps_our_names() {
        let chunk = "{\"id\":\"ours\" }".to_owned();
        assert_eq!(Names::default().give(chunk.clone()), chunk);
    }
}
