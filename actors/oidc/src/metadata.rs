//! What is known of an issuer: its places and its keys, by discovery (Discovery 1.0). Asked for when they are first needed, and
//! again after an hour, or where it signs by a key that was not there. One asks at a time; where that failed, all hear so for a
//! moment, so that an issuer that does not answer is not waited for by one after another.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use client::Client;
use openidconnect::{
    AdditionalProviderMetadata, AuthType, ClientId, ClientSecret, DiscoveryError, EndpointMaybeSet, EndpointNotSet,
    EndpointSet, IssuerUrl, ProviderMetadata, RedirectUrl, TokenUrl, UserInfoUrl,
    core::{
        CoreAuthDisplay, CoreClaimName, CoreClaimType, CoreClient, CoreClientAuthMethod, CoreGrantType, CoreJsonWebKey,
        CoreJweContentEncryptionAlgorithm, CoreJweKeyManagementAlgorithm, CoreResponseMode, CoreResponseType,
        CoreSubjectIdentifierType,
    },
};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use url::Url;

use crate::{Fault, Options, asking::Asked};

/// How long what was told is good.
const GOOD: Duration = Duration::from_hours(1);
/// How long it is believed that an issuer can't be asked.
const AWAY: Duration = Duration::from_secs(5);

/// What an issuer tells beside what all tell.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct More {
    /// Where sessions with it end.
    end_session_endpoint: Option<String>,
    /// Whether codes say whose they are (RFC 9207).
    authorization_response_iss_parameter_supported: Option<bool>,
}

impl AdditionalProviderMetadata for More {}

type Told = ProviderMetadata<
    More,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

/// The library's client of an issuer.
type Asking =
    CoreClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointMaybeSet, EndpointMaybeSet>;

/// What an issuer has told of itself.
pub(crate) struct Metadata(Told);

/// The last that was heard of an issuer.
#[derive(Default)]
pub(crate) struct Known(Mutex<Heard>);

#[derive(Default)]
struct Heard {
    told: Option<(Arc<Metadata>, Instant)>,
    failed: Option<(Fault, Instant)>,
}

impl Options {
    /// Whom the issuer knows this gateway as.
    pub(crate) fn client_id(&self) -> ClientId {
        ClientId::new(self.client_id.clone())
    }
}

impl Known {
    /// What the issuer tells of itself.
    pub(crate) async fn metadata(&self, options: &Options, client: &Client) -> Result<Arc<Metadata>, Fault> {
        let mut heard = self.0.lock().await;
        if let Some((told, at)) = &heard.told
            && at.elapsed() < GOOD
        {
            return Ok(Arc::clone(told));
        }
        heard.ask(options, client).await
    }

    /// What the issuer tells now, who told this before.
    pub(crate) async fn again(
        &self,
        options: &Options,
        client: &Client,
        before: &Arc<Metadata>,
    ) -> Result<Arc<Metadata>, Fault> {
        let mut heard = self.0.lock().await;
        if let Some((told, _)) = &heard.told
            && !Arc::ptr_eq(told, before)
        {
            // Another sign-in has just asked.
            return Ok(Arc::clone(told));
        }
        heard.ask(options, client).await
    }
}

impl Heard {
    async fn ask(&mut self, options: &Options, client: &Client) -> Result<Arc<Metadata>, Fault> {
        if let Some((fault, at)) = &self.failed
            && at.elapsed() < AWAY
        {
            return Err(fault.clone());
        }
        match discover(options, client).await {
            Ok(told) => {
                let told = Arc::new(told);
                *self = Self { told: Some((Arc::clone(&told), Instant::now())), failed: None };
                Ok(told)
            }
            Err(fault) => {
                self.failed = Some((fault.clone(), Instant::now()));
                Err(fault)
            }
        }
    }
}

async fn discover(options: &Options, client: &Client) -> Result<Metadata, Fault> {
    let unusable = |why: &str| Fault::Unreachable(why.to_owned());
    let issuer = IssuerUrl::new(options.issuer.clone()).map_err(|_| unusable("its address is none"))?;
    let told = Told::discover_async(issuer, &Asked::by(client)).await.map_err(|error| match error {
        DiscoveryError::Request(error) => Fault::Unreachable(error.to_string()),
        DiscoveryError::Response(status, ..) => Fault::Unreachable(format!("discovery is answered {status}")),
        DiscoveryError::Validation(_) => unusable("it calls itself otherwise than the setting does"),
        _ => unusable("its discovery can't be read"),
    })?;
    let is_plain = options.issuer.starts_with("http://");
    let places = [
        Some(told.authorization_endpoint().url()),
        told.token_endpoint().map(TokenUrl::url),
        told.userinfo_endpoint().map(UserInfoUrl::url),
        Some(told.jwks_uri().url()),
    ];
    // A code, a secret and a token go there.
    if places.into_iter().flatten().any(|place| !is_safe(place, is_plain)) {
        return Err(unusable("a place of it is not behind TLS"));
    }
    Ok(Metadata(told))
}

fn is_safe(place: &Url, is_plain: bool) -> bool {
    place.scheme() == "https" || (is_plain && place.scheme() == "http")
}

impl Metadata {
    /// The library's client, for a sign-in that comes back to this address.
    pub(crate) fn client(&self, options: &Options, back: &str) -> Result<Asking, Fault> {
        let back = RedirectUrl::new(back.to_owned());
        let back = back.map_err(|_| Fault::Unreachable("the address of this gateway can't be read".into()))?;
        let secret = options.client_secret.clone().map(ClientSecret::new);
        let client = CoreClient::from_provider_metadata(self.0.clone(), options.client_id(), secret);
        Ok(client.set_redirect_uri(back).set_auth_type(self.auth_type()))
    }

    /// How the issuer is shown the secret: by a header, unless it takes the body alone (Discovery 1.0, section 3).
    fn auth_type(&self) -> AuthType {
        let takes = |method| {
            let methods = self.0.token_endpoint_auth_methods_supported();
            methods.is_some_and(|methods| methods.contains(&method))
        };
        let in_body = takes(CoreClientAuthMethod::ClientSecretPost) && !takes(CoreClientAuthMethod::ClientSecretBasic);
        if in_body { AuthType::RequestBody } else { AuthType::BasicAuth }
    }

    /// Whether its codes say whose they are.
    pub(crate) fn says_from(&self) -> bool {
        self.0.additional_metadata().authorization_response_iss_parameter_supported == Some(true)
    }

    /// Where sessions with it end.
    pub(crate) fn end_session(&self) -> Option<&str> {
        let place = self.0.additional_metadata().end_session_endpoint.as_deref()?;
        let is_plain = self.0.issuer().as_str().starts_with("http://");
        Url::parse(place).ok().filter(|place| is_safe(place, is_plain)).map(|_| place)
    }
}
