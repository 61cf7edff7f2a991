//! One call to Stripe: a form or a query, with the account's key, the pinned version and what makes a repeated call the
//! same; and whether its answer says that it was done. It knows no object but an error's.

use std::time::Duration;

use client::{Body, CallError, Client, Options};
use http::{
    Method, Request, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE},
    request::Builder,
};
use serde::de::DeserializeOwned;
use url::form_urlencoded::Serializer;

use super::format::{ErrorBody, ErrorObject};
use crate::charge::CardError;

/// The version of Stripe's API that its objects here are of.
const VERSION: &str = "2024-06-20";
/// How long a connection may take, and a whole call.
const CONNECT: Duration = Duration::from_secs(10);
const CALL: Duration = Duration::from_secs(40);
/// An answer, at most.
pub(super) const LARGEST_ANSWER: usize = 1 << 20;

/// Why there is no object.
#[derive(Debug)]
pub(super) enum Fault {
    /// It may have been done: no answer, or one that says so.
    Unknown(String),
    /// It was refused, and was not done.
    Refused { kind: String, error: Box<ErrorObject> },
}

impl From<Fault> for CardError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unknown(why) => Self::Unavailable(why),
            Fault::Refused { error, .. } => Self::Refused { code: error.reason(), message: error.message },
        }
    }
}

/// What is said in a form or a query.
pub(super) type Fields<'a> = &'a [(&'a str, &'a str)];

/// The way to Stripe.
pub(super) struct Api {
    /// Up to and without the version.
    base_url: String,
    secret_key: String,
    client: Client,
}

impl Api {
    /// At this address, opened with this key.
    pub(super) fn new(base_url: &str, secret_key: String) -> Result<Self, CardError> {
        let options = Options { connect: CONNECT, ..Options::default() };
        let client = Client::new(options).map_err(|error| CardError::Unavailable(error.to_string()))?;
        Ok(Self { base_url: base_url.trim_end_matches('/').to_owned(), secret_key, client })
    }

    /// Fetches an object.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str, fields: Fields<'_>) -> Result<T, Fault> {
        let query = if fields.is_empty() { String::new() } else { format!("?{}", form(fields)) };
        self.receive(self.request(Method::GET, &format!("{path}{query}"))?, String::new()).await
    }

    /// Has something done, once for each key.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        fields: Fields<'_>,
        key: &str,
    ) -> Result<T, Fault> {
        let request = self.request(Method::POST, path)?.header("idempotency-key", key);
        self.receive(request.header(CONTENT_TYPE, "application/x-www-form-urlencoded"), form(fields)).await
    }

    fn request(&self, method: Method, path: &str) -> Result<Builder, Fault> {
        let unsent = |what: &str| Fault::Unknown(format!("{what} can't be sent"));
        let to = client::address(&format!("{}/v1/{path}", self.base_url)).ok_or_else(|| unsent("the address"))?;
        let authorization = client::bearer(&self.secret_key).ok_or_else(|| unsent("the key"))?;
        let request = Request::builder().method(method).uri(to).header(ACCEPT, "*/*");
        Ok(request.header(AUTHORIZATION, authorization).header("stripe-version", VERSION))
    }

    /// Sends a request and reads its answer.
    async fn receive<T: DeserializeOwned>(&self, request: Builder, body: String) -> Result<T, Fault> {
        let request = request.body(Body::from(body)).map_err(|error| Fault::Unknown(error.to_string()))?;
        let answer = self.client.call(request, CALL, LARGEST_ANSWER).await.map_err(|error| lost(&error))?;
        let (status, body) = (answer.status(), answer.body());
        if status.is_success() {
            return serde_json::from_slice(body).map_err(|error| Fault::Unknown(format!("not understood: {error}")));
        }
        let error = serde_json::from_slice::<ErrorBody>(body).ok().map(|body| body.error);
        let message = error.as_ref().map_or("without a word of why", |error| error.message.as_str());
        let unknown = Fault::Unknown(format!("Stripe answered {status}: {message}"));
        match (status, error) {
            // A wrong or revoked key says nothing of the same call made earlier; the others say so themselves.
            (
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS,
                _,
            ) => Err(unknown),
            (status, Some(error)) if status.is_client_error() => {
                Err(Fault::Refused { kind: error.kind.clone(), error: Box::new(error) })
            }
            _ => Err(unknown),
        }
    }
}

fn form(fields: Fields<'_>) -> String {
    Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// The error without its address. However far a call came, it may have been done by one made earlier.
fn lost(error: &CallError) -> Fault {
    Fault::Unknown(match error {
        CallError::ConnectTimeout | CallError::Timeout | CallError::Unreceived(_) => "no answer in time".to_owned(),
        CallError::Forbidden(_) | CallError::Connect(_) => "connecting failed".to_owned(),
        CallError::Unbegun(_) | CallError::Closed(_) | CallError::Broken(_) => "the connection broke".to_owned(),
        CallError::TooLarge(_) => error.to_string(),
    })
}
