//! The addresses of clients, and how often each may ask. With a Redis all nodes count together; without one, or while it
//! does not answer, each counts by itself.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use actix_web::{HttpRequest, http::header::HeaderMap};
use hints::{Decision, Hints, Rate, Rates};
use ipnet::IpNet;

use super::error::ApiError;
use crate::config::Settings;

const MINUTE: Duration = Duration::from_mins(1);
/// What probes ask for: as often as they like.
pub(super) const PROBED: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// The addresses of clients.
pub struct Addresses {
    trusted: Vec<IpNet>,
    /// The requests that an address may send in a minute, and at once.
    limit: Option<(u32, Rate)>,
    rates: Rates,
}

impl Addresses {
    /// Addresses by the settings, counted by all nodes of these hints together.
    pub fn new(settings: &Settings, hints: Option<Hints>) -> Self {
        let limit = settings.limits.address_per_minute;
        let limit = Rate::new(limit, MINUTE, limit).map(|rate| (limit, rate));
        Self { trusted: settings.trusted_proxies(), limit, rates: Rates::new(hints) }
    }

    /// The address of a client, as the connection has it, or the proxies that are trusted.
    pub fn of(&self, request: &HttpRequest) -> Option<IpAddr> {
        let peer = request.peer_addr().map(|address| address.ip().to_canonical())?;
        Some(behind(peer, request.headers(), |address| self.trusted.iter().any(|network| network.contains(&address))))
    }

    /// Counts a request to a path.
    ///
    /// # Errors
    ///
    /// The address sends too many.
    pub async fn count(&self, request: &HttpRequest, path: &str) -> Result<(), ApiError> {
        let Some((limit, rate)) = self.limit.filter(|_| !PROBED.contains(&path)) else { return Ok(()) };
        let Some(address) = self.of(request) else { return Ok(()) };
        match self.rates.count(&format!("requests:{}", network(address)), rate).await {
            Decision::Allowed(_) => Ok(()),
            Decision::Refused(wait) => {
                metrics::counter!("farebox_address_refused_total").increment(1);
                let seconds = u64::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(60);
                Err(ApiError::address_limit(limit, seconds))
            }
        }
    }
}

/// The address that a limit counts. A client with an IPv6 address has 64 bits of addresses.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// The address behind trusted proxies. Each proxy adds at the end of `X-Forwarded-For` whom it was asked by: from there
/// backwards the first that is not trusted is the client's. What stands before that was said by the client.
fn behind(peer: IpAddr, headers: &HeaderMap, is_trusted: impl Fn(IpAddr) -> bool) -> IpAddr {
    let said: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .collect();
    let mut address = peer;
    for text in said.into_iter().rev() {
        if !is_trusted(address) {
            break;
        }
        match read(text.trim()) {
            Some(before) => address = before,
            // What can't be read is from nobody: the proxy that said it counts.
            None => break,
        }
    }
    address
}

/// An address, with or without a port.
fn read(text: &str) -> Option<IpAddr> {
    let address = text.parse::<IpAddr>().or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    address.or_else(|_| text.trim_matches(['[', ']']).parse()).ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn told(peer: &str, lists: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for list in lists {
            headers.append(HeaderName::from_static("x-forwarded-for"), HeaderValue::from_str(list).unwrap());
        }
        let trusted: [IpNet; 2] = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let is_trusted = |address| trusted.iter().any(|network| network.contains(&address));
        behind(peer.parse().unwrap(), &headers, is_trusted).to_string()
    }

    #[test]
    fn proxies_that_are_trusted_say_who_asks() {
        assert_eq!(told("192.0.2.1", &[]), "192.0.2.1");
        assert_eq!(told("192.0.2.1", &["198.51.100.7"]), "192.0.2.1", "a stranger's word is nothing");
        assert_eq!(told("10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(told("10.0.0.1", &["1.1.1.1, 198.51.100.7, 10.2.0.1"]), "198.51.100.7", "two proxies");
        assert_eq!(told("10.0.0.1", &["1.1.1.1", "198.51.100.7:4711"]), "198.51.100.7", "two headers, and a port");
        assert_eq!(told("fd00::1", &["[2001:db8::5]:443"]), "2001:db8::5");
        assert_eq!(told("10.0.0.1", &["[2001:db8::5]"]), "2001:db8::5");
        assert_eq!(told("10.0.0.1", &["::ffff:198.51.100.7"]), "198.51.100.7");
        assert_eq!(told("10.0.0.1", &["198.51.100.7, unknown"]), "10.0.0.1", "who can't be read counts as the proxy");
        assert_eq!(told("10.0.0.1", &["10.0.0.9"]), "10.0.0.9", "a request of a proxy's own");
    }

    #[test]
    fn an_ipv6_client_counts_by_its_network() {
        let counted = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(counted("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(counted("::ffff:192.0.2.1"), "192.0.2.1");
    }
}
