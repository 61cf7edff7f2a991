//! Calls to webhooks. Accounts' owners choose the addresses, so no call may reach into this network. A name is resolved
//! here, and every resolved address is checked before the connection, so that the address can't change in between. The
//! client follows no redirect, uses no proxy, keeps no connection, and reads little of an answer. It knows no rule of
//! when to call.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};

use client::{Body, CallError, Client, Idle, Incoming, Options};
use http::{
    Request, Response,
    header::{ACCEPT, CONTENT_TYPE, USER_AGENT},
};
use tokio::{net::lookup_host, time::timeout};
use url::Url;

/// The longest address, in bytes.
pub const LONGEST_URL: usize = 2_048;
/// The most bytes read of an answer, and the most characters kept of them.
const LARGEST_ANSWER: usize = 4 << 10;
const KEPT_ANSWER: usize = 1_000;
/// The longest that opening a connection may take, and resolving a name.
const CONNECT: Duration = Duration::from_secs(5);

/// Which addresses webhooks may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// At public addresses, by https.
    Public,
    /// Anywhere, also by plain http.
    Anywhere,
}

/// Why an address is rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    /// The text is no address.
    #[error("must be an address such as https://example.com/webhooks: {0}")]
    Malformed(String),
    /// The address is too long.
    #[error("must have at most {LONGEST_URL} bytes")]
    TooLong,
    /// The scheme is not https.
    #[error("must begin with https://")]
    NotHttps,
    /// The address has a part that would be lost or shown: a user, a password or a fragment.
    #[error("must not have a user, a password or a fragment")]
    TooMuch,
    /// The address is, or may be, in this network.
    #[error("{0} is not a public address")]
    NotPublic(IpAddr),
}

/// A call to make.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The address.
    pub url: String,
    /// The headers of the Standard Webhooks specification: id, seconds, signature.
    pub headers: [(&'static str, String); 3],
    /// The body: JSON.
    pub body: String,
}

/// The result of a call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeliveryOutcome {
    /// The answer's status, if an answer came.
    pub status: Option<u16>,
    /// The beginning of the answer, as text.
    pub answer: String,
    /// Why no answer came, or why the answer does not count.
    pub error: Option<String>,
}

impl DeliveryOutcome {
    /// Whether the receiver accepted the delivery.
    pub fn is_success(&self) -> bool {
        self.error.is_none() && self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

/// Calls webhooks. Clones share its connections.
#[derive(Debug, Clone)]
pub struct DeliveryClient {
    client: Client,
    reach: Reach,
    longest: Duration,
}

impl DeliveryClient {
    /// A client whose calls take at most so long.
    ///
    /// # Errors
    ///
    /// Where there can be no client, in words.
    pub fn new(reach: Reach, longest: Duration) -> Result<Self, String> {
        let admits = match reach {
            Reach::Public => is_public,
            Reach::Anywhere => |_| true,
        };
        let options =
            Options { connect: CONNECT, proxies: client::no_proxies(), admits, kept: 0, ..Options::default() };
        let client = Client::new(options).map_err(|error| error.to_string())?;
        Ok(Self { client, reach, longest })
    }

    /// The address as it will be called. A name that can't be resolved just now is accepted: its calls will report the
    /// failure.
    ///
    /// # Errors
    ///
    /// Why the address may not be called: it is malformed, too long, not https, has parts that would be lost or shown,
    /// or leads into this network. The owner must give another.
    pub async fn check(&self, text: &str) -> Result<String, BadUrl> {
        let url = parse(text, self.reach)?;
        if let Some(name) = url.domain()
            && let Ok(Ok(found)) = timeout(CONNECT, lookup_host((name, 0))).await
        {
            let found: Vec<SocketAddr> = found.collect();
            refused(&found, self.reach).map_or(Ok(()), |address| Err(BadUrl::NotPublic(address)))?;
        }
        Ok(url.into())
    }

    /// Makes a call.
    pub async fn post(&self, delivery: Delivery) -> DeliveryOutcome {
        let began = Instant::now();
        // Looked at again: an address in numbers is never resolved, and the setting may be another than when it was kept.
        let request = match parse(&delivery.url, self.reach) {
            Ok(url) => request(&url, delivery).map_err(|error| error.to_string()),
            Err(bad) => Err(format!("the address {bad}")),
        };
        let answered = match request {
            Ok(request) => self.client.send(request, self.longest).await.map_err(why),
            Err(error) => Err(error),
        };
        match answered {
            Ok(response) => self.read(response, began).await,
            Err(error) => DeliveryOutcome { error: Some(error), ..DeliveryOutcome::default() },
        }
    }

    /// The beginning of an answer, of a call that began then.
    async fn read(&self, response: Response<Incoming>, began: Instant) -> DeliveryOutcome {
        let (head, mut body) = response.into_parts();
        let status = head.status;
        let mut answer = Vec::new();
        let mut error = status.is_redirection().then(|| "redirects are not followed".to_owned());
        while answer.len() < LARGEST_ANSWER {
            let mut left = Idle::new(self.longest.saturating_sub(began.elapsed()));
            match client::next(&mut body, &mut left).await {
                Ok(Some(bytes)) => answer.extend_from_slice(bytes.get(..LARGEST_ANSWER).unwrap_or(&bytes)),
                // The status was there already: an accepted delivery stays accepted, even if the body breaks off.
                Err(broken) if !status.is_success() => {
                    error = error.or_else(|| Some(why(broken)));
                    break;
                }
                Ok(None) | Err(_) => break,
            }
        }
        DeliveryOutcome { status: Some(status.as_u16()), answer: readable(&answer), error }
    }
}

fn request(url: &Url, delivery: Delivery) -> http::Result<Request<Body>> {
    let agent = concat!("Farebox/", env!("CARGO_PKG_VERSION"));
    let request = Request::post(url.as_str()).header(ACCEPT, "*/*").header(USER_AGENT, agent);
    let headers = delivery.headers.into_iter();
    let request = headers.fold(request, |request, (name, value)| request.header(name, value));
    request.header(CONTENT_TYPE, "application/json").body(Body::from(delivery.body))
}

/// The beginning of an answer as text that any database takes.
fn readable(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    text.chars().take(KEPT_ANSWER).map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect()
}

fn parse(text: &str, reach: Reach) -> Result<Url, BadUrl> {
    if text.len() > LONGEST_URL {
        return Err(BadUrl::TooLong);
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(BadUrl::Malformed("it has a space or a control character".into()));
    }
    let url = Url::parse(text).map_err(|error| BadUrl::Malformed(error.to_string()))?;
    match (url.scheme(), reach) {
        ("https", _) | ("http", Reach::Anywhere) => {}
        _ => return Err(BadUrl::NotHttps),
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(BadUrl::TooMuch);
    }
    let host = url.host_str().ok_or_else(|| BadUrl::Malformed("it has no host".into()))?;
    if url.port() == Some(0) {
        return Err(BadUrl::Malformed("there is no port 0".into()));
    }
    // The parser has normalized every spelling of an IPv4 address to four numbers.
    let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
    match literal.filter(|address| reach == Reach::Public && !is_public(*address)) {
        Some(address) => Err(BadUrl::NotPublic(address)),
        None => Ok(url),
    }
}

/// The first forbidden address: a single one is enough to refuse all.
fn refused(found: &[SocketAddr], reach: Reach) -> Option<IpAddr> {
    match reach {
        Reach::Anywhere => None,
        Reach::Public => found.iter().map(SocketAddr::ip).find(|address| !is_public(*address)),
    }
}

/// Whether an address belongs to the public internet, by IANA's registries of special-purpose addresses.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    // "This network", private and loopback addresses; link-local, where clouds serve their metadata.
    let is_inside = matches!((a, b), (0 | 10 | 127, _) | (172, 16..=31) | (192, 168) | (169, 254));
    // Shared address space of carriers; protocol assignments, relays, benchmarks, documentation.
    let is_special = matches!((a, b), (100, 64..=127) | (198, 18 | 19))
        || matches!((a, b, c), (192, 0, 0 | 2) | (192, 88, 99) | (198, 51, 100) | (203, 0, 113));
    // From 224 on: multicast, reserved, broadcast.
    !is_inside && !is_special && a < 224
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(mapped) = address.to_ipv4_mapped() {
        return is_public_v4(mapped);
    }
    let inner = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        // Addresses that embed an IPv4 address: NAT64 and 6to4.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => inner(high, low),
        // Protocol assignments and tunnels, documentation.
        [0x2001, 0..=0x01ff | 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => false,
        // Only this block is allocated to the public internet.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

/// Why there is no answer, without the address it was asked of.
fn why(error: CallError) -> String {
    match error {
        CallError::Forbidden(address) => format!("its name leads to {address}, which is not a public address"),
        CallError::ConnectTimeout => "no connection in time".to_owned(),
        CallError::Timeout | CallError::Unreceived(_) => "no answer in time".to_owned(),
        CallError::Connect(cause) => format!("connecting failed: {cause}"),
        CallError::Unbegun(cause) | CallError::Closed(cause) | CallError::Broken(cause) => {
            format!("the connection broke: {cause}")
        }
        CallError::TooLarge(_) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<String, BadUrl> {
        parse(text, Reach::Public).map(String::from)
    }

    #[test]
    fn addresses_of_this_network_are_refused_however_they_are_written() {
        for host in [
            "127.0.0.1",
            "2130706433",
            "0x7f.1",
            "0177.0.0.1",
            "127.1",
            "0",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "169.254.169.254",
            "2852039166",
            "100.100.100.200",
            "192.0.0.192",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "[::]",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:a9fe:a9fe]",
            "[::ffff:0:127.0.0.1]",
            "[::127.0.0.1]",
            "[64:ff9b::10.0.0.1]",
            "[64:ff9b:1::1]",
            "[2002:7f00:1::]",
            "[2001::1]",
            "[2001:db8::1]",
            "[fd00:ec2::254]",
            "[fe80::1]",
            "[fec0::1]",
            "[ff02::1]",
            "[100::1]",
            "\u{ff11}27.0.0.1",
        ] {
            let refused = check(&format!("https://{host}/x"));
            assert!(matches!(refused, Err(BadUrl::NotPublic(_))), "{host}: {refused:?}");
        }
        for host in [
            "1.1.1.1",
            "172.32.0.1",
            "172.15.0.1",
            "192.169.0.1",
            "100.128.0.1",
            "[2606:4700::1111]",
            "[::ffff:1.1.1.1]",
            "[64:ff9b::1.1.1.1]",
            "example.com:8443",
        ] {
            assert!(check(&format!("https://{host}/x")).is_ok(), "{host}");
        }
    }

    #[test]
    fn what_is_no_plain_https_address_is_refused() {
        for (text, why) in [
            ("http://example.com", BadUrl::NotHttps),
            ("ftp://example.com", BadUrl::NotHttps),
            ("file:///etc/passwd", BadUrl::NotHttps),
            ("https://ada@example.com", BadUrl::TooMuch),
            ("https://:secret@example.com", BadUrl::TooMuch),
            ("https://example.com/#part", BadUrl::TooMuch),
        ] {
            assert_eq!(check(text), Err(why), "{text}");
        }
        for text in ["", "example.com", "https://", "https://exa mple.com", "https://example.com:0", "https://a\n.com"]
        {
            assert!(matches!(check(text), Err(BadUrl::Malformed(_))), "{text}");
        }
        assert_eq!(check(&format!("https://example.com/{}", "x".repeat(LONGEST_URL))), Err(BadUrl::TooLong));
        assert!(parse("http://127.0.0.1:1/", Reach::Anywhere).is_ok());
        assert_eq!(parse("gopher://127.0.0.1/", Reach::Anywhere), Err(BadUrl::NotHttps));
    }

    #[tokio::test]
    async fn a_name_that_leads_here_is_refused_when_it_is_kept_and_when_it_is_called() {
        let deliveries = DeliveryClient::new(Reach::Public, Duration::from_secs(5)).unwrap();
        assert!(matches!(deliveries.check("https://localhost/x").await, Err(BadUrl::NotPublic(_))));
        let headers = [("a", "1".to_owned()), ("b", "2".to_owned()), ("c", "3".to_owned())];
        let outcome = deliveries.post(Delivery { url: "https://localhost/x".into(), headers, body: "{}".into() }).await;
        assert!(!outcome.is_success());
        assert!(outcome.error.unwrap().contains("not a public address"));
    }

    #[test]
    fn an_answer_is_kept_as_text_without_control_characters() {
        assert_eq!(readable(b"a\0b\xff\nc\x1b"), "a b\u{fffd}\nc ");
        assert_eq!(readable(&[b'x'; 4_000]).len(), KEPT_ANSWER);
    }
}
