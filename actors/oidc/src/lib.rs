//! OpenID Connect (Core 1.0), as the side that relies on an issuer: where a browser is sent, what the code is worth that it comes
//! back with, and whether the ID token is to be believed. Authorization code with PKCE (RFC 7636) alone. Knows neither people nor
//! browsers: what one sign-in must remember is handed out, and comes back with the code.
//!
//! No token leaves this crate, and none is in its errors: those are for logs.

mod asking;
mod metadata;

use std::time::Duration;

use client::{Client, Options as Connecting, TlsError};
use openidconnect::{
    AccessTokenHash, AuthorizationCode, ClaimsVerificationError, CsrfToken, EndSessionUrl, EndUserEmail, LogoutRequest,
    Nonce, OAuth2TokenResponse as _, PkceCodeChallenge, PkceCodeVerifier, PostLogoutRedirectUrl, RequestTokenError,
    Scope, SignatureVerificationError, TokenResponse as _,
    core::{CoreAuthenticationFlow, CoreIdToken, CoreIdTokenClaims, CoreJwsSigningAlgorithm, CoreTokenResponse},
};
use serde::{Deserialize, Serialize};

use self::{
    asking::Asked,
    metadata::{Known, Metadata},
};

/// How long an issuer may take for one answer.
const WITHIN: Duration = Duration::from_secs(10);
/// The most bytes of an answer.
const LARGEST: usize = 1 << 20;
/// The longest name of somebody at an issuer (Core 1.0, section 2: 255 characters of ASCII).
const LONGEST_SUBJECT: usize = 255;

/// An algorithm by which an ID token may be signed (RFC 7518, RFC 8037). None is by a shared secret, and "none" is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Algorithm {
    /// RSA with PKCS #1 v1.5 and SHA-256.
    Rs256,
    /// RSA with PKCS #1 v1.5 and SHA-384.
    Rs384,
    /// RSA with PKCS #1 v1.5 and SHA-512.
    Rs512,
    /// RSA-PSS with SHA-256.
    Ps256,
    /// RSA-PSS with SHA-384.
    Ps384,
    /// RSA-PSS with SHA-512.
    Ps512,
    /// ECDSA on P-256.
    Es256,
    /// ECDSA on P-384.
    Es384,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

impl From<Algorithm> for CoreJwsSigningAlgorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Rs256 => Self::RsaSsaPkcs1V15Sha256,
            Algorithm::Rs384 => Self::RsaSsaPkcs1V15Sha384,
            Algorithm::Rs512 => Self::RsaSsaPkcs1V15Sha512,
            Algorithm::Ps256 => Self::RsaSsaPssSha256,
            Algorithm::Ps384 => Self::RsaSsaPssSha384,
            Algorithm::Ps512 => Self::RsaSsaPssSha512,
            Algorithm::Es256 => Self::EcdsaP256Sha256,
            Algorithm::Es384 => Self::EcdsaP384Sha384,
            Algorithm::EdDsa => Self::EdDsa,
        }
    }
}

/// How an issuer is asked.
#[derive(Clone)]
pub struct Options {
    /// The issuer's address, as it calls itself.
    pub issuer: String,
    /// Whom it knows this gateway as.
    pub client_id: String,
    /// What proves that; none for a client that has none, which PKCE protects.
    pub client_secret: Option<String>,
    /// What is asked for beside `openid`.
    pub scopes: Vec<String>,
    /// By which algorithms ID tokens may be signed.
    pub algorithms: Vec<Algorithm>,
}

/// An issuer.
pub struct Issuer {
    options: Options,
    client: Client,
    known: Known,
}

/// Why an issuer did not say who somebody is. The reasons are for logs: no token is in them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It can't be asked just now, or does not answer as issuers do.
    #[error("it can't be asked: {0}")]
    Unreachable(String),
    /// It answers, and what it says of somebody is not of the form that it must have: asking again does not help.
    #[error("its words can't be read: {0}")]
    Unreadable(String),
    /// It refuses the code: one that is used up or too old, or a client that it does not know.
    #[error("it refuses: {0}")]
    Refused(String),
    /// What it says can't be believed.
    #[error("it is not believed: {0}")]
    Untrusted(String),
}

/// A sign-in that has begun: where the browser goes, and what must be remembered until it comes back.
pub struct Begun {
    /// The address at the issuer.
    pub address: String,
    /// What the browser brings back with the code.
    pub state: String,
    /// What the ID token will say.
    pub nonce: String,
    /// What the issuer will be shown with the code (RFC 7636).
    pub verifier: String,
}

/// What a browser came back with, and what was remembered of its beginning.
pub struct Returned<'a> {
    /// The code.
    pub code: &'a str,
    /// The issuer that the code is from, where that was said (RFC 9207).
    pub from: Option<&'a str>,
    /// As [`Begun::nonce`].
    pub nonce: &'a str,
    /// As [`Begun::verifier`].
    pub verifier: &'a str,
}

/// Who somebody is, by an issuer's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The name at the issuer, which never becomes another's.
    pub subject: String,
    /// The e-mail address, if it was told.
    pub email: Option<String>,
    /// Whether the issuer says that the address was proved.
    pub is_verified: bool,
    /// The name for people, if it was told.
    pub name: Option<String>,
}

impl Issuer {
    /// An issuer; nothing is asked yet.
    ///
    /// # Errors
    ///
    /// Where this machine's way to check certificates can't be had.
    pub fn new(options: Options) -> Result<Self, TlsError> {
        Ok(Self { options, client: Client::new(Connecting::default())?, known: Known::default() })
    }

    /// The issuer's address.
    pub fn address(&self) -> &str {
        &self.options.issuer
    }

    /// Begins a sign-in that comes back to this address.
    ///
    /// # Errors
    ///
    /// The issuer can't be asked.
    pub async fn begin(&self, back: &str) -> Result<Begun, Fault> {
        let metadata = self.metadata().await?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let client = metadata.client(&self.options, back)?;
        let flow = CoreAuthenticationFlow::AuthorizationCode;
        let asking = client.authorize_url(flow, CsrfToken::new_random, Nonce::new_random).set_pkce_challenge(challenge);
        let (address, state, nonce) = asking.add_scopes(self.options.scopes.iter().cloned().map(Scope::new)).url();
        Ok(Begun {
            address: address.into(),
            state: state.into_secret(),
            nonce: nonce.secret().clone(),
            verifier: verifier.into_secret(),
        })
    }

    /// Asks who somebody is who has come back to this address with a code.
    ///
    /// # Errors
    ///
    /// The issuer can't be asked, refuses, can't be read, or is not believed.
    pub async fn finish(&self, back: &str, returned: &Returned<'_>) -> Result<Identity, Fault> {
        let metadata = self.metadata().await?;
        self.check_from(&metadata, returned.from)?;
        let answer = self.exchange(&metadata, back, returned).await?;
        let none = || Fault::Untrusted("it gave no ID token".into());
        let token = answer.id_token().ok_or_else(none)?;
        let nonce = Nonce::new(returned.nonce.to_owned());
        let claims = match self.verified(&metadata, &answer, token, &nonce) {
            // It signs by a key that was not there before.
            Err(Unverified::Key(_)) => {
                let newest = self.known.again(&self.options, &self.client, &metadata).await?;
                self.verified(&newest, &answer, token, &nonce)
            }
            verified => verified,
        };
        let claims = claims.map_err(|(Unverified::Key(why) | Unverified::Claim(why))| Fault::Untrusted(why))?;
        let mut identity = identity(&claims)?;
        if identity.email.is_none() {
            self.add_address(&metadata, &answer, &claims, &mut identity).await;
        }
        Ok(identity)
    }

    /// Where a browser ends its session with the issuer, and comes back to this address from; none where the issuer has no such
    /// place, or can't be asked just now (RP-Initiated Logout 1.0).
    pub async fn end(&self, back: String) -> Option<String> {
        let metadata = self.metadata().await.ok()?;
        let place = EndSessionUrl::new(metadata.end_session()?.to_owned()).ok()?;
        let back = PostLogoutRedirectUrl::new(back).ok()?;
        let request = LogoutRequest::from(place).set_client_id(self.options.client_id());
        Some(request.set_post_logout_redirect_uri(back).http_get_url().into())
    }

    async fn metadata(&self) -> Result<std::sync::Arc<Metadata>, Fault> {
        self.known.metadata(&self.options, &self.client).await
    }

    /// A code of another issuer is not shown to this one.
    fn check_from(&self, metadata: &Metadata, from: Option<&str>) -> Result<(), Fault> {
        match from {
            Some(from) if from != self.options.issuer => Err(Fault::Untrusted("the code is another issuer's".into())),
            None if metadata.says_from() => Err(Fault::Untrusted("the code does not say whose it is".into())),
            Some(_) | None => Ok(()),
        }
    }

    async fn exchange(
        &self,
        metadata: &Metadata,
        back: &str,
        returned: &Returned<'_>,
    ) -> Result<CoreTokenResponse, Fault> {
        let client = metadata.client(&self.options, back)?;
        let exchange = client
            .exchange_code(AuthorizationCode::new(returned.code.to_owned()))
            .map_err(|_| Fault::Unreachable("it has no place where codes are exchanged".into()))?
            .set_pkce_verifier(PkceCodeVerifier::new(returned.verifier.to_owned()));
        exchange.request_async(&Asked::by(&self.client)).await.map_err(|error| match error {
            RequestTokenError::ServerResponse(said) => Fault::Refused(word(said.error().as_ref())),
            RequestTokenError::Request(error) => Fault::Unreachable(error.to_string()),
            // What did not read may be a token. It is read with the claims of the ID token, whose types are as they must be or not.
            RequestTokenError::Parse(error, _) if error.inner().is_data() => {
                Fault::Unreadable("a claim of its ID token, or a field beside it, is of another type".into())
            }
            RequestTokenError::Parse(..) | RequestTokenError::Other(_) => {
                Fault::Unreachable("its answer to a code is none".into())
            }
        })
    }

    fn verified(
        &self,
        metadata: &Metadata,
        answer: &CoreTokenResponse,
        token: &CoreIdToken,
        nonce: &Nonce,
    ) -> Result<CoreIdTokenClaims, Unverified> {
        let client = metadata.client(&self.options, &self.options.issuer);
        let client = client.map_err(|error| Unverified::Claim(error.to_string()))?;
        let algorithms = self.options.algorithms.iter().copied().map(CoreJwsSigningAlgorithm::from);
        let verifier = client.id_token_verifier().set_allowed_algs(algorithms);
        let claims = token.claims(&verifier, nonce)?;
        let other = claims.authorized_party().filter(|party| **party != self.options.client_id());
        if other.is_some() {
            return Err(Unverified::Claim("the ID token was made for another client (azp)".into()));
        }
        if let Some(said) = claims.access_token_hash() {
            let (algorithm, key) = (token.signing_alg(), token.signing_key(&verifier));
            let unsigned = |error: SignatureVerificationError| Unverified::Claim(error.to_string());
            let made = AccessTokenHash::from_token(
                answer.access_token(),
                algorithm.map_err(unsigned)?,
                key.map_err(unsigned)?,
            );
            if made.ok().as_ref() != Some(said) {
                return Err(Unverified::Claim("the access token is not the ID token's (at_hash)".into()));
            }
        }
        Ok(claims.clone())
    }

    /// Asks for the address where the ID token has none: an issuer may tell it there alone (Core 1.0, section 5.4). Without one
    /// somebody who is known gets in all the same.
    async fn add_address(
        &self,
        metadata: &Metadata,
        answer: &CoreTokenResponse,
        claims: &CoreIdTokenClaims,
        identity: &mut Identity,
    ) {
        // The library panics at others.
        if !answer.access_token().secret().bytes().all(|byte| byte.is_ascii_graphic()) {
            return;
        }
        let Ok(client) = metadata.client(&self.options, &self.options.issuer) else { return };
        let Ok(asking) = client.user_info(answer.access_token().clone(), Some(claims.subject().clone())) else {
            return;
        };
        let told: Result<openidconnect::core::CoreUserInfoClaims, _> =
            asking.request_async(&Asked::by(&self.client)).await;
        let Ok(told) = told else {
            tracing::warn!(issuer = self.options.issuer, "an issuer did not tell an address when asked");
            return;
        };
        identity.email = address(told.email());
        identity.is_verified = told.email_verified() == Some(true);
        let name = told.name().and_then(|name| name.get(None)).map(|name| name.to_string());
        identity.name = identity.name.take().or(name);
    }
}

/// Why an ID token is not believed.
enum Unverified {
    /// By its signature: another look at the issuer's keys may help.
    Key(String),
    /// By what it says.
    Claim(String),
}

impl From<ClaimsVerificationError> for Unverified {
    fn from(error: ClaimsVerificationError) -> Self {
        match error {
            ClaimsVerificationError::SignatureVerification(
                error @ (SignatureVerificationError::DisallowedAlg(_)
                | SignatureVerificationError::UnsupportedAlg(_)
                | SignatureVerificationError::NoSignature),
            ) => Self::Claim(error.to_string()),
            ClaimsVerificationError::SignatureVerification(error) => Self::Key(error.to_string()),
            error => Self::Claim(error.to_string()),
        }
    }
}

fn identity(claims: &CoreIdTokenClaims) -> Result<Identity, Fault> {
    let subject = claims.subject().to_string();
    if subject.is_empty()
        || subject.len() > LONGEST_SUBJECT
        || !subject.bytes().all(|byte| (b' '..=b'~').contains(&byte))
    {
        return Err(Fault::Untrusted("the subject is not 1 to 255 characters of ASCII".into()));
    }
    let name = claims.name().and_then(|name| name.get(None)).map(|name| name.to_string());
    let name = name.or_else(|| claims.preferred_username().map(|name| name.to_string()));
    let email = address(claims.email());
    Ok(Identity { subject, email, is_verified: claims.email_verified() == Some(true), name })
}

/// An address as it was told, if it is one.
fn address(told: Option<&EndUserEmail>) -> Option<String> {
    told.map(|email| email.to_string()).filter(|email| !email.is_empty())
}

/// A code of an error, as it may stand in a log: an issuer can say anything.
fn word(said: &str) -> String {
    let is_part = |letter: &char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.');
    said.chars().filter(is_part).take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_issuer_says_is_a_short_word_in_logs() {
        assert_eq!(word("invalid_grant"), "invalid_grant");
        assert_eq!(word("a\nb c\u{7f}<d>"), "abcd");
        assert_eq!(word(&"x".repeat(100)).len(), 40);
    }
}
