//! `farebox receipt verify`: whether a receipt is what this gateway, or another one, signed, and in words what it says. With
//! `--log` also whether the ledger's log says the same.

mod log;

use std::path::PathBuf;

use anyhow::Result;
use serde_json::Value;

use super::keys;
use crate::{
    config::Settings,
    signing::{self, jwks::Keys, jws},
};

/// The arguments of `farebox receipt`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Check a receipt's signature, and print what it says; exit status 1, with the reason, if it is not trusted.
    Verify(Verify),
}

#[derive(Debug, clap::Args)]
struct Verify {
    /// The file of the receipt, or `-` for standard input: the JWS alone, or the JSON that has it as `jws`.
    receipt: PathBuf,
    /// The public keys to trust: the file or the address of a JWKS. By default those that signed here.
    #[arg(long, value_name = "FILE|URL")]
    keys: Option<String>,
    /// Also check that the log of the ledger in the settings has the row that the receipt names, and says the same.
    #[arg(long)]
    log: bool,
    /// The folder of the log's archive, for a row that `farebox archive` took from the log.
    #[arg(long, value_name = "FOLDER", requires = "log")]
    archive: Option<PathBuf>,
}

/// A receipt whose signature is right.
struct Receipt {
    typ: String,
    kid: String,
    content: Value,
}

/// Runs a command about receipts.
pub(super) fn run(settings: &Settings, args: &Args) -> Result<i32> {
    match &args.command {
        Command::Verify(verify) => {
            let text = keys::read(&verify.receipt)?;
            let keys = keys::trusted(settings, verify.keys.as_deref())?;
            check(settings, verify, &text, &keys)
        }
    }
}

#[expect(clippy::print_stdout, reason = "the command's output")]
fn check(settings: &Settings, args: &Verify, text: &str, keys: &Keys) -> Result<i32> {
    let receipt = match open(text, keys) {
        Ok(receipt) => receipt,
        Err(why) => {
            println!("NOT trusted: {why}");
            return Ok(1);
        }
    };
    println!("the signature is right, by the key {}", receipt.kid);
    println!("{}", told(&receipt));
    if !args.log {
        return Ok(0);
    }
    let differences = log::compare(settings, &receipt, args.archive.as_deref())?;
    for difference in &differences {
        println!("NOT so in the ledger: {difference}");
    }
    if differences.is_empty() {
        println!("the ledger says the same");
    }
    Ok(i32::from(!differences.is_empty()))
}

/// Opens a receipt: the JWS, or an answer that has it.
fn open(text: &str, keys: &Keys) -> Result<Receipt, String> {
    let answer = serde_json::from_str::<Value>(text).ok();
    let within = answer.as_ref().and_then(|answer| answer["jws"].as_str());
    let opened = jws::open(within.unwrap_or_else(|| text.trim()), keys).map_err(|why| why.to_string())?;
    if ![signing::REQUEST_RECEIPT, signing::PAYMENT_RECEIPT].contains(&opened.typ.as_str()) {
        return Err(format!("it is signed, and it is no receipt but {:?}", opened.typ));
    }
    let content: Value =
        serde_json::from_slice(&opened.payload).map_err(|error| format!("its content is not JSON: {error}"))?;
    if let Some(mut answer) = answer {
        if let Some(fields) = answer.as_object_mut() {
            fields.remove("jws");
        }
        if answer != content {
            return Err("the JSON around the JWS is not what was signed".to_owned());
        }
    }
    Ok(Receipt { typ: opened.typ, kid: opened.kid, content })
}

/// A receipt in words, line by line.
fn told(receipt: &Receipt) -> String {
    let (title, lines): (_, &[(&str, &str)]) =
        if receipt.typ == signing::REQUEST_RECEIPT { ("request", &REQUEST) } else { ("payment", &PAYMENT) };
    let content = &receipt.content;
    let mut told = vec![format!("receipt of a {title}")];
    let mut line = |name: &str, value: String| told.push(format!("  {name:<16} {value}"));
    for (name, pointer) in lines {
        match content.pointer(pointer) {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) => line(name, plain(text)),
            Some(value) => line(name, plain(&value.to_string())),
        }
    }
    for quantity in content["quantities"].as_array().into_iter().flatten() {
        let text = |name: &str| quantity[name].as_str().map(plain);
        let named = format!("{} {}", text("quantity").unwrap_or_default(), quantity["amount"]);
        // What costs nothing by itself, as the tokens of an open model, has no price.
        line(
            "quantity",
            match (text("rate"), text("cost")) {
                (Some(rate), Some(cost)) => format!("{named} at ${rate} each: ${cost}"),
                _ => named,
            },
        );
    }
    for attempt in content["attempts"].as_array().into_iter().flatten() {
        let text = |name: &str| plain(attempt[name].as_str().unwrap_or("-"));
        let [model, provider, outcome, charged] = ["model", "provider", "outcome", "charged"].map(text);
        let status = attempt["status"].as_u64().map(|status| format!(" ({status})")).unwrap_or_default();
        let (began, ended) = (text("started_at"), text("ended_at"));
        line("attempt", format!("{model} at {provider}: {outcome}{status}, {began} to {ended}, ${charged}"));
    }
    told.join("\n")
}

/// The lines of a request's receipt: words, and the field.
const REQUEST: [(&str, &str); 15] = [
    ("request", "/request_id"),
    ("account", "/account_id"),
    ("key", "/key_id"),
    ("model", "/model"),
    ("provider", "/provider"),
    ("price version", "/price_version"),
    ("started", "/started_at"),
    ("ended", "/ended_at"),
    ("ending", "/ending"),
    ("base cost, $", "/base_cost"),
    ("fee, $", "/fee"),
    ("charged, $", "/charged"),
    ("nano-dollars", "/charged_nanos"),
    ("row of the log", "/log/row"),
    ("its hash", "/log/hash"),
];

/// The lines of a payment's receipt.
const PAYMENT: [(&str, &str); 11] = [
    ("number", "/number"),
    ("payment", "/payment_id"),
    ("account", "/account_id"),
    ("paid by", "/email"),
    ("paid at", "/paid_at"),
    ("description", "/description"),
    ("paid, $", "/amount"),
    ("refunded, $", "/refunded"),
    ("status", "/status"),
    ("credits, $", "/credits/amount"),
    ("usable until", "/credits/expires_at"),
];

/// A text of someone else's, for a terminal.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_has_no_price_of_its_own_is_told_without_one() {
        let content = json!({"quantities": [
            {"quantity": "tokens.input", "amount": 9, "rate": null, "cost": null},
            {"quantity": "compute_seconds", "amount": 2, "rate": "0.000072", "cost": "0.000144"},
        ]});
        let told = told(&Receipt { typ: signing::REQUEST_RECEIPT.to_owned(), kid: String::new(), content });
        assert!(told.contains("  quantity         tokens.input 9\n"), "{told}");
        assert!(told.ends_with("compute_seconds 2 at $0.000072 each: $0.000144"), "{told}");
    }
}
