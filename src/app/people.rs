//! People: how they are mailed, who may become one, and by whose word they sign in.

use anyhow::{Context, Result};
use oidc::{Issuer, Options};

use crate::{
    config::{self, Settings},
    mail::Mail,
    service::people::{
        People, SignUp, Ways,
        letters::Post,
        sign_on::{Issuers, Trusted},
    },
};

/// What people need beside the ledger.
pub(super) fn people(settings: &Settings, admin_token: &str) -> Result<People> {
    let config::People { sign_up, passwords, url, oidc, mail } = &settings.people;
    let server = mail.smtp.as_ref().map(config::ServerUrl::as_str);
    let mail = Mail::new(&mail.from, server, settings.data_dir.join("outbox")).map_err(anyhow::Error::msg)?;
    let sign_up = match sign_up {
        config::SignUp::Open => SignUp::Open,
        config::SignUp::Invited => SignUp::Invited,
        config::SignUp::Closed => SignUp::Closed,
    };
    let ways = Ways { sign_up, passwords: *passwords, issuers: issuers(oidc)? };
    let token = blake3::hash(admin_token.as_bytes());
    Ok(People::new(Post::new(mail, &token), ways, url.clone(), &token))
}

fn issuers(settings: &config::Issuers) -> Result<Issuers> {
    settings.all().map(|(name, issuer)| Ok((name.to_owned(), trusted(name, issuer)?))).collect()
}

fn trusted(name: &str, settings: &config::Issuer) -> Result<Trusted> {
    let config::Issuer { issuer, client_id, client_secret, label, scopes, domains, sign_up, algorithms } = settings;
    let options = Options {
        issuer: issuer.clone(),
        client_id: client_id.clone(),
        client_secret: client_secret.as_ref().map(|secret| secret.expose().to_owned()),
        scopes: scopes.clone(),
        algorithms: algorithms.clone(),
    };
    let issuer = Issuer::new(options).context("certificates can't be checked")?;
    let label = label.clone().unwrap_or_else(|| name.to_owned());
    Ok(Trusted { label, domains: domains.clone(), sign_up: *sign_up, issuer })
}
