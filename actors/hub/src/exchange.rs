//! One question to a hub: its address, who is asked, which redirects are followed, and what a status means. The token is
//! sent to the hub's own origin alone. What may pass by itself is told apart from what stays, and nothing is asked again
//! here.

use std::time::Duration;

use client::{Body, Client, Incoming, Options};
use http::{
    HeaderMap, HeaderValue, Request, StatusCode, Uri,
    header::{ACCEPT_ENCODING, AUTHORIZATION, HOST, LOCATION, RANGE, RETRY_AFTER, USER_AGENT},
    uri::Scheme,
};
use url::{Host, Url};

use crate::{HubError, Progress, Reference, Repository};

/// The most redirects of one question.
const MOST_REDIRECTS: usize = 5;
/// The most bytes of an answer about a repository.
const LARGEST_ANSWER: usize = 32 << 20;
/// The header by which the hub says which of its errors a status is.
const ERROR_CODE: &str = "x-error-code";
/// The header by which the hub tells the checksum of a large file where it redirects to it.
const LINKED_SUM: &str = "x-linked-etag";
const AGENT: HeaderValue = HeaderValue::from_static(concat!("farebox/", env!("CARGO_PKG_VERSION")));

/// How long a hub is waited for, and how often it is asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How often in a row something may fail without a byte more.
    pub tries: u32,
    /// The wait before it is asked again, which doubles each time.
    pub first_wait: Duration,
    /// The longest wait that a hub may ask for; one that wants more is left alone.
    pub longest_wait: Duration,
    /// The longest silence.
    pub idle: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let (first_wait, longest_wait) = (Duration::from_secs(1), Duration::from_mins(5));
        Self { tries: 5, first_wait, longest_wait, idle: Duration::from_mins(1) }
    }
}

/// A hub, and who asks it.
#[derive(Debug, Clone)]
pub struct Hub {
    base: Url,
    token: Option<HeaderValue>,
    client: Client,
    pub(crate) patience: Patience,
}

/// The beginning of an answer that is a file.
pub(crate) struct Opened {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// The checksum that the hub told of the file.
    pub(crate) linked: Option<String>,
    pub(crate) body: Incoming,
}

/// Why a question has no answer.
pub(crate) enum Fault {
    /// It will have none.
    Stays(HubError),
    /// It may have one later, perhaps after so many seconds.
    Passes { error: HubError, seconds: Option<u64> },
}

impl From<HubError> for Fault {
    fn from(error: HubError) -> Self {
        Self::Stays(error)
    }
}

impl Hub {
    /// A hub at an address, asked with a token or without.
    ///
    /// # Errors
    ///
    /// The address or the token can't be used, or the token would be sent in clear
    /// ([`Settings`](HubError::Settings)).
    pub fn new(address: &str, token: Option<&str>, patience: Patience) -> Result<Self, HubError> {
        let refused = |reason: &str| HubError::Settings(reason.to_owned());
        let mut base = Url::parse(address).map_err(|_| refused("the hub's address is none"))?;
        let is_web = matches!(base.scheme(), "http" | "https") && base.has_host() && base.query().is_none();
        if !is_web || base.fragment().is_some() || !base.username().is_empty() || base.password().is_some() {
            return Err(refused("the hub's address must be http or https, without a user, a query or a fragment"));
        }
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let token = token.map(str::trim).filter(|token| !token.is_empty());
        if token.is_some() && base.scheme() == "http" && !is_this_machine(&base) {
            return Err(refused("the hub's address is plain http: its token would be sent in clear"));
        }
        let header = |token| client::bearer(token).ok_or_else(|| refused("the hub's token can't stand in a header"));
        let token = token.map(header).transpose()?;
        let client = Client::new(Options::default()).map_err(|error| refused(&error.to_string()))?;
        Ok(Self { base, token, client, patience })
    }

    /// What a repository has at a revision. The revision is resolved to a commit.
    ///
    /// # Errors
    ///
    /// The hub can't be reached, has no such repository or revision or does not show it, or its answer is not understood.
    pub async fn repository(&self, named: &Reference, tell: &dyn Fn(Progress)) -> Result<Repository, HubError> {
        let revision = named.revision.as_deref().unwrap_or("main");
        let what = named.repository.as_str();
        let (mut path, at) = (vec!["api", "models"], [revision]);
        path.extend(named.repository.split('/'));
        path.push("revision");
        path.extend(at);
        let mut url = self.address(&path)?;
        url.set_query(Some("blobs=true"));
        let mut failed = 0;
        loop {
            let read = async {
                let opened = self.ask(what, named, url.clone(), 0).await?;
                let body = client::collect(opened.body, LARGEST_ANSWER, self.patience.idle).await;
                body.map_err(|error| unreachable(what, &error))
            };
            match read.await {
                Ok(body) => return Repository::read(&named.repository, &body),
                Err(Fault::Stays(error)) => return Err(error),
                Err(Fault::Passes { error, seconds }) => self.wait(&mut failed, error, seconds, tell).await?,
            }
        }
    }

    /// Asks for a file of a commit, from a byte on.
    pub(crate) async fn open(&self, at: &Repository, path: &str, from: u64) -> Result<Opened, Fault> {
        let mut parts: Vec<&str> = at.id.split('/').collect();
        parts.extend(["resolve", &at.commit]);
        parts.extend(path.split('/'));
        let url = self.address(&parts)?;
        let named = Reference { repository: at.id.clone(), revision: Some(at.commit.clone()), choice: None };
        self.ask(path, &named, url, from).await
    }

    /// Waits before something is asked again, unless it failed too often.
    pub(crate) async fn wait(
        &self,
        failed: &mut u32,
        error: HubError,
        seconds: Option<u64>,
        tell: &dyn Fn(Progress),
    ) -> Result<(), HubError> {
        *failed += 1;
        let doubled = self.patience.first_wait.saturating_mul(1 << (*failed - 1).min(16));
        let wait = seconds.map_or(doubled, Duration::from_secs);
        if *failed >= self.patience.tries || wait > self.patience.longest_wait {
            return Err(error);
        }
        tell(Progress::Again { reason: error.to_string(), wait });
        tokio::time::sleep(wait).await;
        Ok(())
    }

    /// An address below the hub's, by its parts; whatever would end a part is encoded.
    fn address(&self, parts: &[&str]) -> Result<Url, HubError> {
        let mut url = self.base.clone();
        let refused = || HubError::Settings("the hub's address has no path".to_owned());
        url.path_segments_mut().map_err(|()| refused())?.pop_if_empty().extend(parts);
        Ok(url)
    }

    /// Asks, and follows redirects. An answer with a status of success comes back.
    async fn ask(&self, what: &str, named: &Reference, mut url: Url, from: u64) -> Result<Opened, Fault> {
        let redirects = |reason| Fault::Stays(HubError::Redirect { what: what.to_owned(), reason });
        let mut linked = None;
        for _ in 0..=MOST_REDIRECTS {
            let is_own = url.origin() == self.base.origin();
            let sent = self.client.send(self.request(&url, is_own, from)?, self.patience.idle).await;
            let (head, body) = sent.map_err(|error| unreachable(what, &error))?.into_parts();
            if is_own && linked.is_none() {
                linked = header(&head.headers, LINKED_SUM).map(|sum| sum.trim_matches('"').to_owned());
            }
            if !head.status.is_redirection() {
                let (status, headers) = (head.status, head.headers);
                return match self.fault(what, named, is_own, status, &headers) {
                    None => Ok(Opened { status, headers, linked, body }),
                    Some(fault) => Err(fault),
                };
            }
            let to = header(&head.headers, LOCATION.as_str()).and_then(|to| url.join(to).ok());
            let to = to.ok_or_else(|| redirects("to no address"))?;
            match (url.scheme(), to.scheme()) {
                (_, "https") | ("http", "http") => url = to,
                ("https", "http") => return Err(redirects("from https to plain http")),
                _ => return Err(redirects("to what is no web address")),
            }
        }
        Err(redirects("too often"))
    }

    fn request(&self, url: &Url, is_own: bool, from: u64) -> Result<Request<Body>, HubError> {
        let refused = |error: &dyn std::fmt::Display| HubError::Answer(format!("an address: {error}"));
        let uri = Uri::try_from(url.as_str()).map_err(|error| refused(&error))?;
        let clear = (uri.scheme() == Some(&Scheme::HTTP)).then(|| uri.authority().map(ToString::to_string)).flatten();
        let mut request = Request::builder().uri(uri).header(USER_AGENT, AGENT);
        // Bytes are counted, and held against a checksum.
        request = request.header(ACCEPT_ENCODING, "identity");
        if let Some(host) = clear {
            request = request.header(HOST, host);
        }
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        if let Some(token) = self.token.as_ref().filter(|_| is_own) {
            request = request.header(AUTHORIZATION, token);
        }
        request.body(Body::default()).map_err(|error| refused(&error))
    }

    /// What a status means, unless it is one of success; that a range can't be had is for the asker.
    fn fault(
        &self,
        what: &str,
        named: &Reference,
        is_own: bool,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Option<Fault> {
        let (repository, with_token) = (named.repository.clone(), self.token.is_some());
        let code = header(headers, ERROR_CODE).unwrap_or_default();
        let stays = |error| Some(Fault::Stays(error));
        let seconds = || header(headers, RETRY_AFTER.as_str()).and_then(|seconds| seconds.trim().parse().ok());
        let other = || HubError::Status { what: what.to_owned(), status: status.as_u16() };
        match status.as_u16() {
            200..=299 | 416 => None,
            // An address that was signed for a while is asked for anew at the hub.
            401 | 403 if !is_own => Some(Fault::Passes { error: other(), seconds: None }),
            401 | 403 if code == "GatedRepo" => stays(HubError::Gated { repository, with_token }),
            401 | 404 if code == "RepoNotFound" => stays(HubError::NoRepository { repository, with_token }),
            401 if !with_token => stays(HubError::NoRepository { repository, with_token }),
            401 => stays(HubError::Token),
            403 => stays(HubError::Gated { repository, with_token }),
            404 if code == "EntryNotFound" => stays(other()),
            404 if code == "RevisionNotFound" => {
                stays(HubError::NoRevision { repository, revision: named.revision.clone().unwrap_or_default() })
            }
            404 => stays(HubError::NoRepository { repository, with_token }),
            429 => Some(Fault::Passes { error: HubError::Busy { seconds: seconds() }, seconds: seconds() }),
            408 | 500..=599 => Some(Fault::Passes { error: other(), seconds: seconds() }),
            _ => stays(other()),
        }
    }
}

/// Why nothing came; it may come later.
pub(crate) fn unreachable(what: &str, error: &client::CallError) -> Fault {
    let error = HubError::Unreachable { what: what.to_owned(), reason: error.to_string() };
    Fault::Passes { error, seconds: None }
}

/// A header that is text.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Whether an address never leaves this machine.
fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_and_a_token_are_refused_where_they_would_harm() {
        let made = |address: &str, token: Option<&str>| Hub::new(address, token, Patience::default());
        for (address, token) in
            [("https://hub.example/mirror", Some("t")), ("http://hub.example", None), ("http://127.0.0.1:1", Some("t"))]
        {
            assert!(made(address, token).is_ok(), "{address}");
        }
        for (address, token) in [
            ("http://hub.example", Some("t")),
            ("ftp://hub.example", None),
            ("https://u:p@hub.example", None),
            ("https://hub.example?x=1", None),
            ("hub", None),
            ("https://hub.example", Some("a\nb")),
        ] {
            assert!(matches!(made(address, token), Err(HubError::Settings(_))), "{address}");
        }
        let hub = made("https://hub.example/mirror", Some("secret-token")).unwrap();
        let url = hub.address(&["api", "models", "o", "n", "revision", "refs/pr/1?x#y"]).unwrap();
        assert_eq!(url.as_str(), "https://hub.example/mirror/api/models/o/n/revision/refs%2Fpr%2F1%3Fx%23y");
        assert!(!format!("{hub:?}").contains("secret-token"));
    }
}
