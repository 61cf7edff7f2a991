//! Reasoning with its provider's proofs, in the member that OpenRouter's API introduced (`reasoning_details`): clients
//! give it back as it came, and the provider that made it takes up its thoughts again.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    format::proof::{HIDDEN, hidden},
    inference::{Delta, Reasoning},
    object::Object,
};

/// The most entries of one message.
const MOST: usize = 1_024;

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    signature: Option<String>,
    #[serde(default)]
    data: Option<String>,
}

/// The reasoning of a message; `None` where an entry has no proof, or another form.
pub(super) fn read(json: &str) -> Option<Vec<Reasoning>> {
    let entries: Vec<Object<Entry>> = serde_json::from_str(json).ok()?;
    let one = |Object(entry): Object<Entry>| match &*entry.kind {
        "reasoning.text" => {
            let signature = entry.signature.filter(|proof| !proof.is_empty())?;
            Some(Reasoning { text: entry.text.unwrap_or_default(), signature: Some(signature) })
        }
        "reasoning.encrypted" => Some(Reasoning { text: String::new(), signature: Some(hidden(&entry.data?)) }),
        _ => None,
    };
    let all: Option<Vec<_>> = entries.into_iter().take(MOST).map(one).collect();
    all.filter(|all| !all.is_empty())
}

/// The reasoning of one choice, as it comes.
#[derive(Debug, Default)]
pub(super) struct Details {
    thought: String,
    count: usize,
}

impl Details {
    /// Takes a piece. Returns an entry where the piece ends a thought with its proof.
    pub(super) fn add(&mut self, delta: &Delta) -> Option<Value> {
        self.thought.push_str(&delta.reasoning);
        let signature = delta.signature.as_deref()?;
        let index = self.count;
        self.count += 1;
        let hidden = signature.strip_prefix(HIDDEN);
        Some(hidden.map_or_else(
            || {
                let thought = std::mem::take(&mut self.thought);
                json!({"type": "reasoning.text", "text": thought, "signature": signature, "index": index})
            },
            |data| json!({"type": "reasoning.encrypted", "data": data, "index": index}),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let piece = |reasoning: &str, signature: Option<&str>| Delta {
            reasoning: reasoning.to_owned(),
            signature: signature.map(Box::from),
            ..Delta::default()
        };
        let pieces = [piece("a", None), piece("b", Some("s")), piece("", Some(&hidden("d"))), piece("c", None)];
        let mut details = Details::default();
        let written: Vec<Value> = pieces.iter().filter_map(|piece| details.add(piece)).collect();
        let thought = |text: &str, signature: &str| Reasoning { text: text.into(), signature: Some(signature.into()) };
        let read = read(&Value::from(written).to_string()).unwrap();
        assert_eq!(read, [thought("ab", "s"), thought("", &hidden("d"))]);
        let pieces = [piece("a", None), piece("", Some(&hidden("d"))), piece("b", Some("s")), piece("c", Some("t"))];
        let mut details = Details::default();
        let written: Vec<Value> = pieces.iter().filter_map(|piece| details.add(piece)).collect();
        let read = super::read(&Value::from(written).to_string()).unwrap();
        assert_eq!(read, [thought("", &hidden("d")), thought("ab", "s"), thought("c", "t")], "no words are lost");
    }

    #[test]
    fn what_has_no_proof_or_another_form_is_not_read() {
        for other in
            ["[]", "7", r#"[{"type":"reasoning.text","text":"x"}]"#, r#"[{"type":"reasoning.summary","summary":"x"}]"#]
        {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
