//! Where Redis is.

use redis::{ConnectionInfo, IntoConnectionInfo as _};

/// Where Redis is: one server, or a cluster of them.
#[derive(Clone)]
pub struct Place {
    pub(crate) servers: Vec<ConnectionInfo>,
    pub(crate) is_cluster: bool,
}

/// An address of a Redis that can't be read. It shows nothing of the address, which may have a password in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no address of a Redis: {0}")]
pub struct BadUrl(String);

/// Without what may be secret in it.
impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let addresses: Vec<String> = self.servers.iter().map(|server| server.addr().to_string()).collect();
        f.debug_struct("Place").field("servers", &addresses).field("is_cluster", &self.is_cluster).finish()
    }
}

impl Place {
    /// Reads `redis://[USER:PASSWORD@]HOST:PORT[/DATABASE]`, or `rediss://` with TLS. With `redis-cluster://` or
    /// `rediss-cluster://` it is a cluster, of which several servers may be named, with commas between them.
    ///
    /// # Errors
    ///
    /// Where it is no such address.
    pub fn parse(url: &str) -> Result<Self, BadUrl> {
        let bad = |why: &str| BadUrl(why.to_owned());
        let (scheme, rest) = url.split_once("://").ok_or_else(|| bad("it has no scheme"))?;
        let (scheme, is_cluster) = match scheme {
            "redis" | "rediss" => (scheme, false),
            "redis-cluster" => ("redis", true),
            "rediss-cluster" => ("rediss", true),
            _ => return Err(bad("its scheme is not redis, rediss, redis-cluster or rediss-cluster")),
        };
        let (who, hosts) = rest.rsplit_once('@').map_or(("", rest), |(who, hosts)| (who, hosts));
        let at = if who.is_empty() { String::new() } else { format!("{who}@") };
        let hosts: Vec<&str> = hosts.split(',').collect();
        if hosts.len() > 1 && !is_cluster {
            return Err(bad("several servers are a cluster, whose scheme is redis-cluster or rediss-cluster"));
        }
        let read = |host: &&str| format!("{scheme}://{at}{host}").into_connection_info();
        let servers: Result<Vec<_>, _> = hosts.iter().map(read).collect();
        // The reason of the client may repeat the address.
        let servers = servers.map_err(|error| bad(&format!("{:?}", error.kind())))?;
        if is_cluster && servers.iter().any(|server| server.redis_settings().db() != 0) {
            return Err(bad("a cluster has no numbered databases"));
        }
        Ok(Self { servers, is_cluster })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let one = Place::parse("redis://ada:secret@localhost:7000/3").unwrap();
        assert!(!one.is_cluster);
        assert_eq!(format!("{one:?}"), "Place { servers: [\"localhost:7000\"], is_cluster: false }");
        assert_eq!(one.servers[0].redis_settings().db(), 3);
        let many = Place::parse("redis-cluster://:secret@a:1,b:2,c:3").unwrap();
        assert!(many.is_cluster);
        assert_eq!(many.servers.len(), 3);
        assert!(many.servers.iter().all(|server| server.redis_settings().password() == Some("secret")));
        assert!(format!("{:?}", Place::parse("rediss-cluster://a:1").unwrap()).contains("a:1"));
    }

    #[test]
    fn what_is_no_address_is_named_without_its_password() {
        for url in
            ["localhost", "http://a", "redis://a:1,b:2", "redis://:secret@a:no", "redis-cluster://a:1/3", "redis://"]
        {
            let error = Place::parse(url).err().map(|error| error.to_string());
            assert!(error.as_ref().is_some_and(|error| !error.contains("secret")), "{url}: {error:?}");
        }
    }
}
