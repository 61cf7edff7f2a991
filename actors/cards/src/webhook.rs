//! Stripe's webhooks: whether a delivery is Stripe's own and fresh, and what it is about ("Receive events in your webhook
//! endpoint", Stripe documentation). Signed is `<seconds>.<raw body>`; a secret being rolled makes several signatures.
//! Nothing else of the body is believed: what stands is fetched.

use billing::{Timestamp, entry::Notice};
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use serde_json::Value;
use sha2::Sha256;

use crate::finding::{ProcessorEvent, Subject};

/// How old, or how far ahead, a signature may be.
pub const TOLERANCE_MS: i64 = 5 * 60 * 1_000;
/// Signatures looked at in one header, at most.
const MOST_SIGNATURES: usize = 16;

/// Why a delivery is not listened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotOurs {
    /// No time or no signature could be read.
    #[error("must have the form t=<seconds>,v1=<64 hexadecimal digits>")]
    Malformed,
    /// Signed with another secret, or another body was.
    #[error("no signature is of this body by this endpoint's secret")]
    Forged,
    /// Too old, or from the future.
    #[error("was signed more than five minutes from now: it is stale")]
    Stale,
}

/// Checks a delivery; when it was signed.
pub fn verify(secret: &str, header: &str, body: &[u8], now: Timestamp) -> Result<Timestamp, NotOurs> {
    let mut seconds = None;
    let mut signatures = Vec::new();
    for part in header.split(',').take(MOST_SIGNATURES) {
        match part.trim().split_once('=') {
            Some(("t", value)) if seconds.is_none() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                seconds = Some(value);
            }
            Some(("t", _)) => return Err(NotOurs::Malformed),
            Some(("v1", value)) => signatures.push(digest(value).ok_or(NotOurs::Malformed)?),
            // Other schemes are not Stripe's live one.
            Some(_) | None => {}
        }
    }
    let seconds = seconds.ok_or(NotOurs::Malformed)?;
    let signed_at: i64 = seconds.parse().map_err(|_| NotOurs::Malformed)?;
    let signed_at = Timestamp(signed_at.checked_mul(1_000).ok_or(NotOurs::Malformed)?);
    if signatures.is_empty() {
        return Err(NotOurs::Malformed);
    }
    // A key of any length is taken, so this can't fail; were it to, nothing is believed.
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map_err(|_| NotOurs::Forged)?;
    mac.update(seconds.as_bytes());
    mac.update(b".");
    mac.update(body);
    // Comparing takes the same time wherever two signatures differ.
    if !signatures.iter().any(|signature| mac.clone().verify_slice(signature).is_ok()) {
        return Err(NotOurs::Forged);
    }
    if (now.0.saturating_sub(signed_at.0)).abs() > TOLERANCE_MS {
        return Err(NotOurs::Stale);
    }
    Ok(signed_at)
}

/// 64 hexadecimal digits.
fn digest(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = match pair {
            [high, low] => value(*high)? * 16 + value(*low)?,
            _ => return None,
        };
    }
    Some(bytes)
}

#[derive(Deserialize)]
struct Event {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    /// Of any kind: events that do not matter here are parsed too.
    object: Value,
}

/// What a verified delivery is about.
pub fn parse(body: &[u8], signed_at: Timestamp) -> Result<ProcessorEvent, String> {
    let event: Event = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    if !is_reference(&event.id) {
        return Err("id: must be an event's id".into());
    }
    let named = |field: &str| {
        let reference = event.data.object.get(field).and_then(Value::as_str);
        reference.filter(|reference| is_reference(reference)).map(str::to_owned)
    };
    let subject = match event.kind.as_str() {
        "payment_intent.succeeded"
        | "payment_intent.payment_failed"
        | "payment_intent.requires_action"
        | "payment_intent.canceled" => Some(Subject::Charge(named("id").ok_or("data.object.id: is missing")?)),
        "charge.refunded" | "charge.refund.updated" | "refund.created" | "refund.updated" | "refund.failed" => {
            named("payment_intent").map(Subject::Refund)
        }
        "charge.dispute.created"
        | "charge.dispute.updated"
        | "charge.dispute.closed"
        | "charge.dispute.funds_withdrawn"
        | "charge.dispute.funds_reinstated" => Some(Subject::Dispute(named("id").ok_or("data.object.id: is missing")?)),
        _ => None,
    };
    let kind = event.kind.chars().take(100).collect();
    let notice = Notice { processor: "stripe", id: event.id, kind, signed_at };
    Ok(ProcessorEvent { notice, subject: subject.unwrap_or(Subject::Other) })
}

/// Whether a text can be one of Stripe's ids, and so may stand in an address.
pub(super) fn is_reference(text: &str) -> bool {
    (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_test_secret";
    const BODY: &[u8] = br#"{"id":"evt_1","object":"event"}"#;
    const AT: Timestamp = Timestamp(1_700_000_000_000);
    /// By another implementation of HMAC-SHA-256.
    const V1: &str = "0c8670ed117751cc551a20e35839447075c42800ea3cf3e8a2fbda99cd1e6edd";

    #[test]
    fn a_signature_of_this_body_by_this_secret_is_taken_for_five_minutes() {
        let header = format!("t=1700000000,v1={V1}");
        assert_eq!(verify(SECRET, &header, BODY, AT), Ok(AT));
        for near in [-TOLERANCE_MS, TOLERANCE_MS] {
            assert_eq!(verify(SECRET, &header, BODY, AT.plus_ms(near)), Ok(AT));
        }
        for far in [-TOLERANCE_MS - 1, TOLERANCE_MS + 1] {
            assert_eq!(verify(SECRET, &header, BODY, AT.plus_ms(far)), Err(NotOurs::Stale));
        }
    }

    #[test]
    fn one_good_signature_among_several_is_enough() {
        let header = format!("t=1700000000,v1={},v0=ff,v1={V1}", "0".repeat(64));
        assert_eq!(verify(SECRET, &header, BODY, AT), Ok(AT));
    }

    #[test]
    fn another_body_time_or_secret_is_forged() {
        let header = format!("t=1700000000,v1={V1}");
        assert_eq!(verify(SECRET, &header, b"{}", AT), Err(NotOurs::Forged));
        assert_eq!(verify("whsec_other", &header, BODY, AT), Err(NotOurs::Forged));
        assert_eq!(verify(SECRET, &format!("t=1700000001,v1={V1}"), BODY, AT), Err(NotOurs::Forged));
    }

    #[test]
    fn what_is_no_signature_is_malformed() {
        for header in [
            String::new(),
            "t=1700000000".into(),
            format!("v1={V1}"),
            format!("t=now,v1={V1}"),
            format!("t=-1,v1={V1}"),
            format!("t=1,t=1700000000,v1={V1}"),
            format!("t=99999999999999999999,v1={V1}"),
            format!("t=1700000000,v1={}", &V1[1..]),
            format!("t=1700000000,v1={}", V1.replace('0', "g")),
            format!("t=1700000000,v0={V1}"),
        ] {
            assert_eq!(verify(SECRET, &header, BODY, AT), Err(NotOurs::Malformed), "{header}");
        }
    }

    #[test]
    fn an_event_says_what_to_fetch_and_nothing_else() {
        let subject = |body: &str| parse(body.as_bytes(), AT).map(|told| told.subject);
        let event = |kind: &str, object: &str| {
            subject(&format!(r#"{{"id":"evt_1","type":"{kind}","data":{{"object":{object}}}}}"#))
        };
        let charge = event("payment_intent.succeeded", r#"{"id":"pi_1","amount":1,"status":"succeeded"}"#);
        assert_eq!(charge, Ok(Subject::Charge("pi_1".into())));
        let refund = event("charge.refunded", r#"{"id":"ch_1","payment_intent":"pi_1"}"#);
        assert_eq!(refund, Ok(Subject::Refund("pi_1".into())));
        assert_eq!(event("charge.refunded", r#"{"id":"ch_1","payment_intent":null}"#), Ok(Subject::Other));
        assert_eq!(event("charge.dispute.closed", r#"{"id":"dp_1"}"#), Ok(Subject::Dispute("dp_1".into())));
        assert_eq!(event("invoice.paid", "{}"), Ok(Subject::Other));
        assert!(event("payment_intent.succeeded", r#"{"id":"../refunds"}"#).is_err());
        assert!(subject(r#"{"id":"","type":"x","data":{"object":{}}}"#).is_err());
        assert!(subject("{}").is_err() && subject("[").is_err());
    }
}
