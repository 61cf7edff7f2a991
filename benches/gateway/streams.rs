//! Streams whose chunks say when the provider sent them, so that the delay of each is known where it arrives.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    figures::at_percent,
    load::{Target, body, request},
};

/// The text of a request for a paced stream begins so.
const PACE: &str = "pace ";
const CONTENT: &str = r#""content":""#;

/// How many chunks come, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    pub(crate) chunks: usize,
    pub(crate) every: Duration,
}

impl Pace {
    /// The pace that a request's body asks for.
    pub(crate) fn in_body(body: &[u8]) -> Option<Self> {
        let text = str::from_utf8(body).ok()?;
        let (_, asked) = text.split_once(PACE)?;
        let mut numbers = asked.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse::<u64>().ok());
        let (chunks, ms) = (numbers.next()?, numbers.next()?);
        Some(Self { chunks: usize::try_from(chunks).ok()?, every: Duration::from_millis(ms) })
    }

    /// How long a stream of it lasts.
    pub(crate) fn lasting(self) -> Duration {
        self.every * u32::try_from(self.chunks).unwrap()
    }

    /// The body of a request for it.
    fn body(self) -> Value {
        let mut body = body(true);
        let asked = format!("{PACE}{} {}", self.chunks, self.every.as_millis());
        body["messages"] = json!([{"role": "user", "content": asked}]);
        body["max_tokens"] = 4_096.into();
        body
    }
}

/// Microseconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_micros()).unwrap()
}

/// The delays of streams' chunks, in microseconds.
pub(crate) struct Delays {
    /// By stream, in their order.
    of_streams: Vec<Vec<f64>>,
}

impl Delays {
    /// Reads so many streams at a time to their ends.
    pub(crate) async fn measure(target: &Target, streams: usize, pace: Pace) -> Self {
        let (client, body) = (reqwest::Client::new(), pace.body());
        let mut reading = JoinSet::new();
        for key in target.keys.iter().cycle().take(streams) {
            let request = request(&client, target.url(), key, &body);
            reading.spawn(async move { read(request, pace).await });
        }
        Self { of_streams: reading.join_all().await }
    }

    /// Joins those of other streams.
    pub(crate) fn join(&mut self, others: Self) {
        self.of_streams.extend(others.of_streams);
    }

    pub(crate) const fn none() -> Self {
        Self { of_streams: Vec::new() }
    }

    /// A percentile of all.
    pub(crate) fn at(&self, percent: usize) -> f64 {
        at(self.of_streams.iter().flatten(), percent)
    }

    /// A percentile of the last quarter of each stream.
    fn of_last(&self, percent: usize) -> f64 {
        at(self.of_streams.iter().flat_map(|delays| delays.iter().skip(delays.len() * 3 / 4)), percent)
    }
}

impl fmt::Display for Delays {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99, last50, last99] = [self.at(50), self.at(99), self.of_last(50), self.of_last(99)];
        write!(out, "p50 {p50:.0} us, p99 {p99:.0} us; of the last quarter p50 {last50:.0} us, p99 {last99:.0} us")
    }
}

fn at<'a>(delays: impl Iterator<Item = &'a f64>, percent: usize) -> f64 {
    let mut delays: Vec<f64> = delays.copied().collect();
    delays.sort_by(f64::total_cmp);
    at_percent(&delays, percent)
}

/// The delay of each chunk of one stream.
#[expect(clippy::cast_precision_loss, reason = "microseconds of a benchmark")]
async fn read(request: reqwest::RequestBuilder, pace: Pace) -> Vec<f64> {
    let mut response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    let (mut delays, mut begun) = (Vec::with_capacity(pace.chunks), String::new());
    while let Some(bytes) = response.chunk().await.unwrap() {
        let arrived = now();
        begun.push_str(str::from_utf8(&bytes).unwrap());
        while let Some((event, left)) = begun.split_once("\n\n") {
            if let Some((_, text)) = event.split_once(CONTENT)
                && let Ok(sent) = text.split(' ').next().unwrap_or_default().parse::<u64>()
            {
                delays.push(arrived.saturating_sub(sent) as f64);
            }
            begun = left.to_owned();
        }
    }
    assert_eq!(delays.len(), pace.chunks, "a stream was cut");
    delays
}
