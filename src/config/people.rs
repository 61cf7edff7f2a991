//! The settings of people: who may sign up, and how they are mailed.

use serde::{Deserialize, Serialize};

use super::{ConfigError, Issuers, ServerUrl};

/// People who sign in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct People {
    /// Who may become a person without an operator.
    pub sign_up: SignUp,
    /// Whether passwords open anything; without them people sign in by an issuer alone.
    pub passwords: bool,
    /// Where browsers find the dashboard, for links in mails; the address that is listened on, where none is set.
    pub url: Option<String>,
    /// Issuers by whose word people sign in (OpenID Connect).
    pub oidc: Issuers,
    /// How people are mailed.
    pub mail: Letters,
}

impl Default for People {
    fn default() -> Self {
        let (sign_up, oidc, mail) = (SignUp::default(), Issuers::default(), Letters::default());
        Self { sign_up, passwords: true, url: None, oidc, mail }
    }
}

/// Who may become a person without an operator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SignUp {
    /// Anybody. Each has a new account, and with it the first credits that it is given.
    Open,
    /// Whom a member invites to an account, which pays for them. No credits are given away.
    #[default]
    Invited,
    /// Nobody but whom an operator invites.
    Closed,
}

/// How people are mailed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Letters {
    /// Whom letters are from.
    pub from: String,
    /// The server that takes letters; into files of the data folder, where none is set.
    pub smtp: Option<ServerUrl>,
}

impl Default for Letters {
    fn default() -> Self {
        Self { from: "Farebox <farebox@localhost>".to_owned(), smtp: None }
    }
}

impl People {
    /// Checks what types can't express.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let wrong = |key: &str, reason: &str| Err(ConfigError::invalid(&format!("people.{key}"), reason));
        if let Some(url) = &self.url {
            let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
            if !rest.is_some_and(|rest| {
                !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_graphic() && !b"?#@".contains(&b))
            }) {
                return wrong("url", "must be an address such as https://farebox.example.com");
            }
        }
        if self.mail.from.parse::<lettre::message::Mailbox>().is_err() {
            return wrong("mail.from", "must be an address such as Farebox <farebox@example.com>");
        }
        self.oidc.check()?;
        if self.oidc.all().next().is_some() && self.url.is_none() {
            return wrong("url", "is needed by `people.oidc`: issuers send browsers back there");
        }
        if self.oidc.all().next().is_none() && !self.passwords {
            return wrong("passwords", "can be false with an issuer in `people.oidc` alone: nobody could sign in");
        }
        let Some(smtp) = &self.mail.smtp else { return Ok(()) };
        if self.url.is_none() {
            return wrong("url", "is needed by `people.mail.smtp`: links in mails lead there");
        }
        let (scheme, rest) = smtp.as_str().split_once("://").unwrap_or_default();
        let is_known = matches!(scheme, "smtp" | "smtps") && !rest.is_empty();
        if !is_known || lettre::AsyncSmtpTransport::<lettre::Tokio1Executor>::from_url(smtp.as_str()).is_err() {
            return wrong("mail.smtp", "must be an address such as smtps://USER:PASSWORD@mail.example.com");
        }
        // A password that goes over a plain connection is everybody's.
        if scheme == "smtp" && rest.contains('@') && !rest.contains("tls=required") {
            return wrong("mail.smtp", "has a password: say smtps://, or add ?tls=required to smtp://");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Overrides, Settings};

    fn fault(set: &[&str]) -> String {
        let set = set.iter().map(|pair| (*pair).to_owned()).collect();
        let loaded = Settings::load_from(&Overrides { set, ..Overrides::default() }, &[]);
        loaded.map_or_else(|error| error.to_string(), |_| String::new())
    }

    #[test]
    fn mail_goes_where_it_is_safe_and_links_lead_home() {
        assert_eq!(fault(&["people.sign_up=open"]), "");
        let url = "people.url=https://box.example.com";
        assert_eq!(fault(&[url, "people.mail.smtp=smtps://u:p@mail.example.com"]), "");
        assert_eq!(fault(&[url, "people.mail.smtp=smtp://u:p@mail.example.com:587?tls=required"]), "");
        assert_eq!(fault(&[url, "people.mail.smtp=smtp://127.0.0.1:2525"]), "");
        for (set, key) in [
            (&["people.sign_up=all"][..], "people.sign_up"),
            (&["people.url=box"], "people.url"),
            (&["people.url=https://box/?x"], "people.url"),
            (&["people.mail.from=nobody"], "people.mail.from"),
            (&["people.mail.smtp=smtps://mail.example.com"], "people.url"),
            (&[url, "people.mail.smtp=smtp://u:p@mail.example.com"], "people.mail.smtp"),
            (&[url, "people.mail.smtp=http://mail.example.com"], "people.mail.smtp"),
        ] {
            let said = fault(set);
            assert!(said.contains(key) && !said.contains("u:p"), "{set:?}: {said}");
        }
    }
}
