//! The headers of an answer: cost, balance, and times.

use std::time::Duration;

use actix_web::{
    HttpResponseBuilder,
    http::header::{AGE, HeaderName},
};
use billing::{account::FREE_RATE, ids::RequestId};

use crate::{
    gateway::{answers::Reused, serve::Begun, stages::Stages},
    http::arrival::Arrival,
};

/// The names of headers of every answer, parsed once.
static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static X_BALANCE: HeaderName = HeaderName::from_static("x-farebox-balance");
static X_COST: HeaderName = HeaderName::from_static("x-farebox-cost");
static X_CACHE: HeaderName = HeaderName::from_static("x-farebox-cache");
static SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// The facts for the headers, from before the answer.
pub struct AnswerHead {
    /// The request's arrival.
    pub arrival: Arrival,
    /// The time that authentication and the body took.
    pub authorised: Duration,
    /// The time that admission took.
    pub admission: Duration,
    /// Requests left in this second, where there is a limit.
    pub rate_remaining: Option<i64>,
    /// The request's place in the line when it began to wait, if it waited.
    pub place: Option<usize>,
    /// Whether the answer is an earlier one, where that was allowed.
    pub reused: Option<Reused>,
}

impl AnswerHead {
    /// Writes the headers: `balance` is the balance, `begun` the known times and the provider's headers.
    pub fn put(&self, response: &mut HttpResponseBuilder, balance: String, begun: Option<Begun>) {
        let (stages, headers) = begun.map_or((None, Vec::new()), |begun| (Some(begun.stages), begun.headers));
        for (name, value) in headers {
            response.append_header((&*name, &*value));
        }
        let request_id = self.arrival.id.to_string();
        let mut timing = String::with_capacity(96);
        put_duration(&mut timing, "auth", self.authorised);
        put_duration(&mut timing, ", admission", self.admission);
        match stages {
            Some(Stages::Closed { upstream }) => put_duration(&mut timing, ", upstream", upstream),
            Some(Stages::Open { load, queue, compute }) => {
                put_duration(&mut timing, ", queue", queue);
                put_duration(&mut timing, ", load", load);
                put_duration(&mut timing, ", compute", compute);
            }
            None => {}
        }
        response
            .insert_header((X_REQUEST_ID.clone(), request_id))
            .insert_header((X_BALANCE.clone(), balance))
            .insert_header((SERVER_TIMING.clone(), timing));
        if let Some(reused) = self.reused {
            let word = match reused {
                Reused::Hit(age) => {
                    response.insert_header((AGE, age.as_secs().to_string()));
                    "hit"
                }
                Reused::Miss => "miss",
                Reused::Bypass => "bypass",
            };
            response.insert_header((X_CACHE.clone(), word));
        }
        if let Some(place) = self.place {
            response.insert_header(("x-farebox-queue-place", place.to_string()));
        }
        if let Some(remaining) = self.rate_remaining {
            response
                .insert_header(("x-ratelimit-limit-requests", FREE_RATE.to_string()))
                .insert_header(("x-ratelimit-remaining-requests", remaining.to_string()))
                .insert_header(("x-ratelimit-reset-requests", "1s"));
        }
    }
}

/// Writes the one header of a stream whose request waits for an equal one: all else is not known yet.
pub fn put_request_id(response: &mut HttpResponseBuilder, id: RequestId) {
    response.insert_header((X_REQUEST_ID.clone(), id.to_string()));
}

/// A stage of `server-timing`, in milliseconds with two decimals.
fn put_duration(timing: &mut String, stage: &str, duration: Duration) {
    let hundredths = u64::try_from(duration.as_micros() / 10).unwrap_or(u64::MAX);
    timing.push_str(stage);
    timing.push_str(";dur=");
    put_number(timing, hundredths / 100);
    timing.push('.');
    put_number(timing, hundredths / 10 % 10);
    put_number(timing, hundredths % 10);
}

fn put_number(text: &mut String, number: u64) {
    if number >= 10 {
        put_number(text, number / 10);
    }
    text.push(char::from(b'0' + (number % 10) as u8));
}

/// Writes the cost of a whole answer; `billed_seconds` where seconds are billed.
pub fn put_cost(response: &mut HttpResponseBuilder, cost: &str, billed_seconds: Option<u64>) {
    response.insert_header((X_COST.clone(), cost));
    if let Some(seconds) = billed_seconds {
        response.insert_header(("x-farebox-billed-seconds", seconds.to_string()));
    }
}
