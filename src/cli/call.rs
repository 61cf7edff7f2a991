//! How the operator's commands call the running server: one call, or the pages of a list. An error of the server is
//! printed in its own words, once.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::config::Settings;

/// The most rows of a page: the server's own limit.
const PAGE: usize = 200;

/// The connection to the server.
pub(super) struct Server {
    system: actix::SystemRunner,
    url: String,
    token: String,
    listen: String,
}

/// An answer that refuses.
pub(super) struct Refused {
    pub(super) status: u16,
    pub(super) answer: Value,
}

impl Server {
    /// The server in the settings: its address, and the operator's token or the file that holds it.
    pub(super) fn of(settings: &Settings) -> Result<Self> {
        let token = match &settings.admin_token {
            Some(token) => token.expose().to_owned(),
            None => std::fs::read_to_string(settings.data_dir.join("admin_token")).ok().with_context(|| {
                let folder = settings.data_dir.display();
                format!(
                    "no operator's token in {folder}: set FAREBOX_ADMIN_TOKEN, or name the server's data folder with --data-dir"
                )
            })?,
        };
        let url = format!("http://{}/admin/v1/", settings.listen);
        let system = actix::System::new();
        Ok(Self { system, url, token: token.trim().to_owned(), listen: settings.listen.to_string() })
    }

    /// Calls a route. Returns the answer of a success; any other answer is an error.
    pub(super) fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        match self.ask(method, path, body)? {
            Ok(answer) => Ok(answer),
            Err(Refused { status, answer }) => match answer["message"].as_str() {
                Some(message) => bail!("{message}"),
                None => bail!("the server refused, with status {status} and no words"),
            },
        }
    }

    /// Calls a route. An answer that refuses is told apart from none.
    pub(super) fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Result<Value, Refused>> {
        let url = format!("{}{path}", self.url);
        let called = self
            .system
            .block_on(upstream::call_json(method, &url, &self.token, body))
            .map_err(anyhow::Error::msg)
            .with_context(|| format!("no farebox answers at {}; start one with `farebox serve`", self.listen));
        let (status, answer) = called?;
        Ok(if status >= 400 { Err(Refused { status, answer }) } else { Ok(answer) })
    }

    /// Up to `most` rows of a list, page by page. `query` has further parameters.
    pub(super) fn list(&self, path: &str, query: &[(&str, String)], most: usize) -> Result<Vec<Value>> {
        let (mut rows, mut cursor) = (Vec::new(), None::<String>);
        while rows.len() < most {
            let mut parameters = query.to_vec();
            parameters.push(("limit", (most - rows.len()).min(PAGE).to_string()));
            parameters.extend(cursor.take().map(|cursor| ("cursor", cursor)));
            let parameters: Vec<_> =
                parameters.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
            let mut page = self.call("GET", &format!("{path}?{}", parameters.join("&")), None)?;
            cursor = page["next_cursor"].as_str().map(str::to_owned);
            let Value::Array(data) = page["data"].take() else { bail!("the server's list has no rows: {page}") };
            rows.extend(data);
            if cursor.is_none() {
                break;
            }
        }
        Ok(rows)
    }
}

/// A text as a part of a path or a query (RFC 3986, section 2).
pub(super) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~@".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or_default().to_ascii_uppercase();
            encoded.extend([digit(byte >> 4), digit(byte & 15)]);
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_path_or_a_query_is_encoded() {
        assert_eq!(encoded("ada@example.com"), "ada@example.com");
        assert_eq!(encoded("a/b?c=d&e#f% +\u{e9}"), "a%2Fb%3Fc%3Dd%26e%23f%25%20%2B%C3%A9");
    }
}
