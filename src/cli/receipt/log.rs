//! A receipt held against the ledger. Of a request the log's row itself is read, and its hash is that of its content; of a
//! payment, which names no row, the payment in the tables.

use std::path::Path;

use anyhow::{Context, Result};
use billing::{
    entry::UsageRecord,
    ids::{AccountId, PaymentId, RequestId},
};
use ledger::{Ledger, log_rows::LoggedEnd};
use serde_json::{Value, json};
use uuid::Uuid;

use super::Receipt;
use crate::{config::Settings, signing};

/// What the ledger says otherwise than a receipt, in words.
pub(super) fn compare(settings: &Settings, receipt: &Receipt, archive: Option<&Path>) -> Result<Vec<String>> {
    actix::System::new().block_on(async {
        let ledger = Ledger::for_reading(settings.database.url.as_str()).await;
        let ledger = ledger.with_context(|| format!("can't read {}", settings.database.url))?;
        if receipt.typ == signing::REQUEST_RECEIPT {
            of_request(&ledger, &receipt.content, archive).await
        } else {
            of_payment(&ledger, &receipt.content).await
        }
    })
}

fn id(content: &Value, field: &str) -> Result<Uuid> {
    let text = content[field].as_str().unwrap_or_default();
    Uuid::parse_str(text).with_context(|| format!("the receipt's {field} is no id"))
}

async fn of_request(ledger: &Ledger, content: &Value, archive: Option<&Path>) -> Result<Vec<String>> {
    let request = RequestId(id(content, "request_id")?);
    let Some(seq) = content["log"]["row"].as_u64() else {
        return Ok(vec!["the receipt names no row of the log: the request ended before there was a log".to_owned()]);
    };
    // An account's shard is known by its id: a receipt that names another one is told below.
    let shard = ledger.shards().of(AccountId(id(content, "account_id")?));
    let end = match ledger.logged_end(shard, seq, request, archive).await {
        Ok(Some(end)) => end,
        Ok(None) => {
            let told = match (ledger.log_begins_at().await?.get(&shard), archive) {
                (Some(begin), None) if seq < *begin => {
                    format!("the log begins at row {begin}, and row {seq} is in its archive: name that with --archive")
                }
                _ => format!("the log has no row {seq}"),
            };
            return Ok(vec![told]);
        }
        Err(ledger::LedgerError::Unusable(why)) => return Ok(vec![why]),
        Err(error) => return Err(error.into()),
    };
    let LoggedEnd { hash, usage, .. } = end;
    let mut expected = vec![("log", json!({"shard": shard.0, "row": seq, "hash": hex(&hash)}))];
    let Some((account, usage)) = usage else {
        return Ok(vec![format!("row {seq} of the log ends no request {request}")]);
    };
    expected.extend(said(account, &usage));
    Ok(differences(content, &expected))
}

/// What a record says, as a receipt has it.
fn said(account: AccountId, usage: &UsageRecord) -> Vec<(&'static str, Value)> {
    let base = usage.cost.base.normalize();
    let (costs, rest) = usage.parts.costs(base);
    let quantity = |(part, cost): (&billing::price::Part, _)| {
        let cost: Option<String> = part.rate.map(|_| format!("{cost}"));
        let rate = part.rate.map(|rate| rate.to_string());
        json!({"quantity": part.key.to_string(), "amount": part.amount, "rate": rate, "cost": cost})
    };
    let unitemised = if rest.is_zero() { Value::Null } else { json!(rest.to_string()) };
    vec![
        ("account_id", json!(account.0)),
        ("request_id", json!(usage.request_id.0)),
        ("key_id", json!(usage.key_id.map(|id| id.0))),
        ("model", json!(*usage.model)),
        ("provider", json!(*usage.provider)),
        ("price_version", json!(usage.price_version)),
        ("ending", json!(usage.ending.name())),
        ("estimated", json!(usage.estimated)),
        ("quantities", usage.parts.iter().zip(costs).map(quantity).collect()),
        ("unitemised_cost", unitemised),
        ("base_cost", json!(base.to_string())),
        ("fee", json!(usage.cost.fee.normalize().to_string())),
        ("charged", json!(usage.charged)),
        ("charged_nanos", json!(usage.charged.get().to_string())),
        ("started_at", json!(usage.started_at.to_string())),
        ("ended_at", json!(usage.ended_at.to_string())),
        ("attempts", attempts(usage)),
    ]
}

/// The attempts of a request, as a receipt has them: null where there was one alone.
fn attempts(usage: &UsageRecord) -> Value {
    if usage.attempts.is_empty() {
        return Value::Null;
    }
    let before = usage.attempts.iter().map(|attempt| {
        json!({
            "request_id": attempt.request_id.map(|id| id.0), "model": *attempt.model,
            "provider": attempt.provider, "outcome": attempt.code, "status": attempt.status,
            "started_at": attempt.started_at.to_string(), "ended_at": attempt.ended_at.to_string(),
            "charged": attempt.charged,
        })
    });
    let last = json!({
        "request_id": usage.request_id.0, "model": *usage.model, "provider": *usage.provider,
        "outcome": usage.ending.name(), "status": null, "started_at": usage.started_at.to_string(),
        "ended_at": usage.ended_at.to_string(), "charged": usage.charged,
    });
    before.chain([last]).collect()
}

async fn of_payment(ledger: &Ledger, content: &Value) -> Result<Vec<String>> {
    let (account, payment) = (AccountId(id(content, "account_id")?), PaymentId(id(content, "payment_id")?));
    let Some(found) = ledger.payment(account, payment).await? else {
        return Ok(vec![format!("the account has no payment {payment}")]);
    };
    let mut wrong = Vec::new();
    if found.status != billing::payment::PaymentStatus::Succeeded {
        wrong.push(format!("the payment is {}", found.status.name()));
    }
    wrong.extend(differences(content, &[("amount", json!(found.amount))]));
    Ok(wrong)
}

fn differences(content: &Value, expected: &[(&str, Value)]) -> Vec<String> {
    let differs = |(name, expected): &(&str, Value)| {
        let found = &content[*name];
        (found != expected).then(|| format!("{name} is {expected}, and the receipt says {found}"))
    };
    expected.iter().filter_map(differs).collect()
}

fn hex(hash: &[u8; 32]) -> String {
    blake3::Hash::from_bytes(*hash).to_hex().to_string()
}
