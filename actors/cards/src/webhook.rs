//! Stripe's webhooks: whether a delivery is signed by Stripe and fresh, and which object it is about ("Receive events
//! in your webhook endpoint", Stripe documentation). The signed text is `<seconds>.<raw body>`; while a secret is
//! rolled there are several signatures. Nothing else of the body is trusted: the object's state is fetched.

use billing::{Timestamp, entry::Notice};
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use serde_json::Value;
use sha2::Sha256;

use crate::finding::{ProcessorEvent, Subject};

/// The largest difference between a signature's time and now.
pub const TOLERANCE_MS: i64 = 5 * 60 * 1_000;
/// The most signatures checked in one header.
const MOST_SIGNATURES: usize = 16;

/// Why a delivery is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotOurs {
    /// No time or no signature could be read.
    #[error("must have the form t=<seconds>,v1=<64 hexadecimal digits>")]
    Malformed,
    /// The secret or the body differs from the signed one.
    #[error("no signature is of this body by this endpoint's secret")]
    Forged,
    /// The signature is too old, or from the future.
    #[error("was signed more than five minutes from now: it is stale")]
    Stale,
}

/// Checks a delivery's signature, and returns when the delivery was signed.
///
/// # Errors
///
/// `Malformed` where the header has no time or no signature, `Forged` where no signature matches the body and the
/// secret, `Stale` where the time is more than [`TOLERANCE_MS`] from now. Reject the delivery in all three cases:
/// Stripe sends real events again.
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
            // Other schemes are not used for live events.
            Some(_) | None => {}
        }
    }
    let seconds = seconds.ok_or(NotOurs::Malformed)?;
    let signed_at: i64 = seconds.parse().map_err(|_| NotOurs::Malformed)?;
    let signed_at = Timestamp(signed_at.checked_mul(1_000).ok_or(NotOurs::Malformed)?);
    if signatures.is_empty() {
        return Err(NotOurs::Malformed);
    }
    // HMAC takes a key of any length, so this can't fail. If it did, the delivery would be rejected.
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map_err(|_| NotOurs::Forged)?;
    mac.update(seconds.as_bytes());
    mac.update(b".");
    mac.update(body);
    // The comparison takes the same time wherever two signatures differ.
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
    /// Any JSON: events that do not matter here are parsed too.
    object: Value,
}

/// The object that a verified delivery is about.
///
/// # Errors
///
/// Names the first part of the body that can't be read: the JSON, the event's id, or the object's id. Reject the
/// delivery.
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
    let notice = Notice { processor: "stripe".into(), id: event.id, kind, signed_at };
    Ok(ProcessorEvent { notice, subject: subject.unwrap_or(Subject::Other) })
}

/// Whether a text has the form of a Stripe id, and so may stand in an address.
pub(super) fn is_reference(text: &str) -> bool {
    (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_test_secret";
    const BODY: &[u8] = br#"{"id":"evt_1","object":"event"}"#;
    const AT: Timestamp = Timestamp(1_700_000_000_000);
    /// Computed by another implementation of HMAC-SHA-256.
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
