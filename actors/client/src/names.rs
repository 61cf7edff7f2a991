//! How names become addresses: as this machine resolves them, and every address of a name is looked at before one is
//! connected to, so that it can't be another a moment later.

use std::{
    net::{IpAddr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
    vec,
};

use hyper_util::client::legacy::connect::dns::Name;
use tokio::net::lookup_host;
use tower_service::Service;

use crate::connect::BoxError;

/// Whether an address that a name leads to may be called. One that may not is enough for all of them to be refused.
pub type Admits = fn(IpAddr) -> bool;

/// A name leads to an address that may not be called.
#[derive(Debug, thiserror::Error)]
#[error("the name leads to {0}, which may not be called")]
pub(crate) struct Forbidden(pub(crate) IpAddr);

/// Resolves names to addresses that these rules admit.
#[derive(Clone)]
pub(crate) struct Resolver(pub(crate) Admits);

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let admits = self.0;
        Box::pin(async move {
            let found: Vec<SocketAddr> = lookup_host((name.as_str(), 0)).await?.collect();
            match found.iter().map(SocketAddr::ip).find(|address| !admits(*address)) {
                Some(address) => Err(Forbidden(address).into()),
                None => Ok(found.into_iter()),
            }
        })
    }
}
