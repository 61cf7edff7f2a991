//! Proofs of thoughts as clients of this format keep them (`thoughtSignature`): bytes in base64. Google's pass as they
//! are; those of others are marked, and packed, because clients decode what they keep.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};
use serde_json::Value;

use crate::format::proof::{Entry, GOOGLES, is_marked, marked};

/// The word in place of a proof, for calls that came from elsewhere ("Thought signatures", Gemini API documentation).
pub(super) const NO_PROOF: &str = "skip_thought_signature_validator";

/// Clients write base64 with letters for addresses (RFC 4648, section 5), and not all with padding.
const URL: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A proof as its client keeps it.
pub(super) fn written(proof: &str) -> String {
    match proof.strip_prefix(GOOGLES) {
        Some(own) => own.to_owned(),
        None => STANDARD.encode(&*marked(proof)),
    }
}

/// A proof as it was before it was kept: of another provider with its mark, or of Google.
pub(super) fn read(signature: &str) -> String {
    others(signature).unwrap_or_else(|| [GOOGLES, signature].concat())
}

/// Another provider's proof; `None` where it is Google's.
fn others(signature: &str) -> Option<String> {
    let plain = signature.replace('+', "-").replace('/', "_");
    let proof = String::from_utf8(URL.decode(plain).ok()?).ok()?;
    is_marked(&proof).then_some(proof)
}

/// What becomes of a turn on its way to Google: a thought with another's proof is left out, and a call with one says that
/// it came from elsewhere.
pub(in crate::format) fn of_turn(turn: &str) -> Entry {
    without_foreign(turn).unwrap_or(Entry::Kept)
}

fn without_foreign(turn: &str) -> Option<Entry> {
    let mut turn: Value = serde_json::from_str(turn).ok()?;
    let parts = turn.get_mut("parts")?.as_array_mut()?;
    let mut is_other = false;
    let names = ["thoughtSignature", "thought_signature"];
    parts.retain_mut(|part| {
        let name = names.into_iter().find(|name| part[*name].as_str().and_then(others).is_some());
        let Some(name) = name else { return true };
        is_other = true;
        if part["thought"] == true {
            return false;
        }
        let is_call = part.get("functionCall").or_else(|| part.get("function_call")).is_some();
        if let Some(part) = part.as_object_mut() {
            if is_call {
                part.insert(name.to_owned(), NO_PROOF.into());
            } else {
                part.shift_remove(name);
            }
        }
        true
    });
    // A turn of nothing would be refused.
    let is_empty = parts.is_empty();
    is_other.then(|| if is_empty { Entry::Left } else { Entry::Changed(turn.to_string()) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_proof_of_any_provider_comes_back_as_it_was() {
        for (proof, back) in [
            ("google:cHJvb2Y=", "google:cHJvb2Y="),
            ("EqQBCkgIARABGAI=", "anthropic:EqQBCkgIARABGAI="),
            ("redacted_thinking:EmwK", "redacted_thinking:EmwK"),
            ("gAAAAABoX", "gAAAAABoX"),
        ] {
            let kept = written(proof);
            assert_eq!(read(&kept), back, "{proof}");
            // A client that decodes it writes it with other letters, and some without padding.
            let again = kept.replace('+', "-").replace('/', "_");
            assert_eq!(read(&again).replace('-', "+").replace('_', "/"), back.replace('-', "+").replace('_', "/"));
        }
        assert_eq!(read(NO_PROOF), ["google:", NO_PROOF].concat());
        assert_eq!(written("google:cHJvb2Y="), "cHJvb2Y=", "Google's stay bytes");
    }

    #[test]
    fn google_gets_no_proof_of_others() {
        let foreign = written("EqQBCkgIARABGAI=");
        let call = |proof: &str| json!({"functionCall": {"name": "f"}, "thoughtSignature": proof});
        let turn = json!({"role": "model", "parts": [
            {"text": "hm", "thought": true, "thoughtSignature": foreign},
            {"text": "x", "thought_signature": foreign}, call(&foreign)]});
        let Entry::Changed(left) = of_turn(&turn.to_string()) else { panic!() };
        let left: Value = serde_json::from_str(&left).unwrap();
        assert_eq!(left, json!({"role": "model", "parts": [{"text": "x"}, call(NO_PROOF)]}));
        let own = json!({"role": "model", "parts": [call("cHJvb2Y="), {"text": "x"}]});
        assert!(matches!(of_turn(&own.to_string()), Entry::Kept));
        assert!(matches!(of_turn(r#"{"parts":{"text":"x"}}"#), Entry::Kept));
        let thought = json!({"role": "model", "parts": [{"text": "hm", "thought": true, "thoughtSignature": foreign}]});
        assert!(matches!(of_turn(&thought.to_string()), Entry::Left));
    }
}
