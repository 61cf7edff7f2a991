//! The proxies whose word about a client's address counts.

use std::net::IpAddr;

use ipnet::IpNet;

use super::ConfigError;

/// Reads addresses (`10.0.0.1`) and networks (`10.0.0.0/8`).
///
/// # Errors
///
/// One is neither.
pub(super) fn read(texts: &[String]) -> Result<Vec<IpNet>, ConfigError> {
    let read = |text: &String| {
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network.map_err(|_| {
            let reason = format!("`{text}` is neither an address such as 10.0.0.1 nor a network such as 10.0.0.0/8");
            ConfigError::invalid("http.trusted_proxies", reason)
        })
    };
    texts.iter().map(read).collect()
}
