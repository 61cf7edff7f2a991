//! The limits of a link, and its TLS.

use std::{sync::Arc, time::Duration};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    server::WebPkiClientVerifier,
};

/// The limits of a link. Each is one of this node's own; what is beyond it is refused at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How far the clocks of two nodes may be apart.
    pub clocks: Duration,
    /// How long a connection may take to be there and proven.
    pub connect: Duration,
    /// The longest time between two tries to connect.
    pub back_off: Duration,
    /// How often a connection is asked whether its other side is there; it is given up after as long again without a
    /// word.
    pub alive: Duration,
    /// The most asks that are under way to one node, and the most that are served for one.
    pub asks: usize,
    /// The most subscriptions to one node, and of one.
    pub subscriptions: usize,
    /// The most requests that are forwarded to one node at once, and of one.
    pub forwards: usize,
    /// The most messages that wait to be sent to one node.
    pub tells: usize,
    /// How old a message may become before it is dropped.
    pub tell_age: Duration,
    /// The longest body of an ask, an answer, a message or a request.
    pub body: usize,
    /// The most nodes that may pass one ask or request on.
    pub hops: u8,
    /// The most connections that are served.
    pub connections: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            clocks: Duration::from_secs(5),
            connect: Duration::from_secs(2),
            back_off: Duration::from_secs(2),
            alive: Duration::from_secs(2),
            asks: 4_096,
            subscriptions: 16_384,
            forwards: 1_024,
            tells: 16_384,
            tell_age: Duration::from_secs(5),
            body: 16 << 20,
            hops: 2,
            connections: 256,
        }
    }
}

/// The most bytes of a request's or an answer's headers.
pub(crate) const HEADERS: u32 = 256 << 10;

impl Options {
    /// The most streams of one connection; a few more than all bounds together, so that each of these refuses by itself.
    pub(crate) fn streams(&self) -> usize {
        self.asks + self.subscriptions + self.forwards + 16
    }
}

/// Why there can be no link.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// A secret that is guessed protects nothing.
    #[error("the secret must have at least {SHORTEST_SECRET} bytes")]
    ShortSecret,
    /// The certificate, its key or the roots can't be used.
    #[error("the certificate of the link: {0}")]
    Certificate(String),
}

/// The fewest bytes of a secret.
pub const SHORTEST_SECRET: usize = 32;

/// The certificate by which nodes speak TLS. Both sides of a connection show one, and take one of the same authority.
#[derive(Clone)]
pub struct Tls {
    pub(crate) accepts: Arc<ServerConfig>,
    pub(crate) connects: Arc<ClientConfig>,
    /// The name that all certificates have; without one, each has its node's host.
    name: Option<ServerName<'static>>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Tls {
    /// TLS by a chain of certificates and its key, as PEM; other nodes' certificates are signed by the authority's, or are
    /// among them. They are for this name, or without one for the host at which their node is reached.
    ///
    /// # Errors
    ///
    /// Where one of them can't be read or used.
    pub fn new(chain: &[u8], key: &[u8], authority: &[u8], name: Option<&str>) -> Result<Self, Unusable> {
        let cannot = |what: &str, why: &dyn std::fmt::Display| Unusable::Certificate(format!("{what}: {why}"));
        let read = |pem: &[u8], what: &str| {
            let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
            let read = read.map_err(|error| cannot(what, &error))?;
            if read.is_empty() { Err(cannot(what, &"there is none")) } else { Ok(read) }
        };
        let chain = read(chain, "its chain")?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| cannot("its key", &error))?;
        let mut trusted = RootCertStore::empty();
        for root in read(authority, "its authority")? {
            trusted.add(root).map_err(|error| cannot("its authority", &error))?;
        }
        let trusted = Arc::new(trusted);
        let name = name.map(|name| ServerName::try_from(name.to_owned())).transpose();
        let name = name.map_err(|error| cannot("its name", &error))?;
        let provider = Arc::new(ring::default_provider());
        let versions = [&rustls::version::TLS13];
        let of_authority = WebPkiClientVerifier::builder_with_provider(Arc::clone(&trusted), Arc::clone(&provider));
        let of_authority = of_authority.build().map_err(|error| cannot("its authority", &error))?;
        let mut accepts = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions)
            .map_err(|error| cannot("TLS", &error))?
            .with_client_cert_verifier(of_authority)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(|error| cannot("it and its key", &error))?;
        accepts.alpn_protocols = vec![b"h2".to_vec()];
        let mut connects = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .map_err(|error| cannot("TLS", &error))?
            .with_root_certificates(trusted)
            .with_client_auth_cert(chain, key)
            .map_err(|error| cannot("it and its key", &error))?;
        connects.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self { accepts: Arc::new(accepts), connects: Arc::new(connects), name })
    }

    /// The name that the certificate of a node at an address (`HOST:PORT`) has; `None` where none can be for its host.
    pub(crate) fn name_of(&self, address: &str) -> Option<ServerName<'static>> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let of_host = || ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).ok();
        self.name.clone().or_else(of_host)
    }
}
