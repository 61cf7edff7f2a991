//! A strict stand-in for an issuer of OpenID Connect: discovery, keys, authorization codes with PKCE, ID tokens signed by RSA or on
//! a curve, and where sessions end. It refuses what a real one would, and more: a request without a state, a nonce or S256 is
//! refused, a code is good once. It misbehaves once for each fault that it was scripted. Its keys are for tests alone.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};

use actix_web::{HttpRequest, HttpResponse, web};
use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use ring::{
    rand::SystemRandom,
    rsa::PublicKeyComponents,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RsaKeyPair},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::background::serve;

pub(crate) const CLIENT: &str = "farebox";
pub(crate) const SECRET: &str = "a secret: with/marks";

/// What it does wrong, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The person does not allow it.
    Denied,
    /// The state that it sends back is another one.
    State,
    /// It says that the code is another issuer's.
    From,
    /// It does not say whose the code is.
    NoFrom,
    /// Its ID token has expired.
    Expired,
    /// Its ID token has another nonce.
    Nonce,
    /// Its ID token is for another client.
    Audience,
    /// Its ID token is for this client and another one.
    Audiences,
    /// Its ID token was made for another client, and is for this one.
    Party,
    /// Its ID token is another issuer's.
    Issuer,
    /// Its ID token is not signed.
    Unsigned,
    /// Its ID token is signed with the client's secret.
    SharedSecret,
    /// Its ID token is signed by a key that it does not show, under the name of one that it does.
    OtherKey,
    /// Its ID token was changed after it was signed.
    Changed,
    /// Its ID token is another access token's.
    AccessToken,
    /// It gives no ID token.
    NoToken,
    /// What it answers to a code is an error of its own.
    Broken,
    /// A claim of its ID token is of another type than it must be.
    Name,
    Subject,
    Proved,
    Expiry,
}

/// Somebody who signs in there.
#[derive(Debug, Clone)]
pub(crate) struct Somebody {
    pub(crate) subject: &'static str,
    pub(crate) email: &'static str,
    pub(crate) is_verified: bool,
    pub(crate) name: &'static str,
}

impl Somebody {
    pub(crate) fn new(subject: &'static str, email: &'static str) -> Self {
        Self { subject, email, is_verified: true, name: "Somebody <b>" }
    }
}

/// A key that signs, as its JWKS shows it.
struct Key {
    signs: EncodingKey,
    algorithm: Algorithm,
    public: Value,
}

/// A code that was given.
struct Given {
    fault: Option<Fault>,
    who: Somebody,
    nonce: String,
    challenge: String,
    back: String,
}

struct State {
    url: String,
    keys: Vec<Key>,
    who: Somebody,
    script: VecDeque<Fault>,
    codes: HashMap<String, Given>,
    /// The addresses that access tokens open.
    tokens: HashMap<String, Somebody>,
    /// Secrets that were given out, which no log may have.
    secrets: Vec<String>,
    is_down: bool,
    /// Whether an ID token tells the address, or the place for that alone does.
    tells_address: bool,
    asked: Vec<String>,
}

/// The server, gone with the test's process.
pub(crate) struct Issuer {
    url: String,
    state: Arc<Mutex<State>>,
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn rsa(name: &str, pem: &str) -> Key {
    let lines: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let pair = RsaKeyPair::from_pkcs8(&BASE64_STANDARD.decode(lines).unwrap()).unwrap();
    let PublicKeyComponents { n, e }: PublicKeyComponents<Vec<u8>> = pair.public().into();
    Key {
        signs: EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap(),
        algorithm: Algorithm::RS256,
        public: json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": name, "n": encoded(n), "e": encoded(e)}),
    }
}

fn on_curve(name: &str) -> Key {
    let random = SystemRandom::new();
    let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, made.as_ref(), &random).unwrap();
    // An uncompressed point: a byte, and its coordinates.
    let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
    Key {
        signs: EncodingKey::from_ec_der(made.as_ref()),
        algorithm: Algorithm::ES256,
        public: json!({"kty": "EC", "use": "sig", "crv": "P-256", "kid": name, "x": encoded(x), "y": encoded(y)}),
    }
}

impl Issuer {
    /// One that signs by RSA, where this is who signs in.
    pub(crate) fn start(who: Somebody) -> Self {
        let state = Arc::new(Mutex::new(State {
            url: String::new(),
            keys: vec![rsa("first", include_str!("issuer/first.pem"))],
            who,
            script: VecDeque::new(),
            codes: HashMap::new(),
            tokens: HashMap::new(),
            secrets: Vec::new(),
            is_down: false,
            tells_address: true,
            asked: Vec::new(),
        }));
        let served = web::Data::from(Arc::clone(&state));
        let address = serve(move |routes| {
            routes
                .app_data(served.clone())
                .route("/.well-known/openid-configuration", web::get().to(discovery))
                .route("/keys", web::get().to(keys))
                .route("/authorize", web::get().to(authorize))
                .route("/token", web::post().to(token))
                .route("/userinfo", web::get().to(userinfo));
        });
        let url = format!("http://{address}");
        state.lock().unwrap().url.clone_from(&url);
        Self { url, state }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Somebody else signs in from now on.
    pub(crate) fn is_now(&self, who: Somebody) {
        self.state.lock().unwrap().who = who;
    }

    pub(crate) fn script(&self, fault: Fault) {
        self.state.lock().unwrap().script.push_back(fault);
    }

    /// It signs by another key from now on, and shows that alone: by RSA, or on a curve.
    pub(crate) fn rotate(&self, to_curve: bool) {
        let key = if to_curve { on_curve("third") } else { rsa("second", include_str!("issuer/second.pem")) };
        self.state.lock().unwrap().keys = vec![key];
    }

    /// It answers 503 from now on, or no more.
    pub(crate) fn is_down(&self, is_down: bool) {
        self.state.lock().unwrap().is_down = is_down;
    }

    /// It tells addresses where it is asked for them alone.
    pub(crate) fn tells_addresses_apart(&self) {
        self.state.lock().unwrap().tells_address = false;
    }

    /// What was asked, such as `POST /token`.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.state.lock().unwrap().asked.clone()
    }

    /// Codes and tokens that it gave out: no log may have one.
    pub(crate) fn secrets(&self) -> Vec<String> {
        self.state.lock().unwrap().secrets.clone()
    }
}

type Shared = web::Data<Mutex<State>>;

/// Notes what is asked. None where it is down.
fn note(state: &mut State, request: &HttpRequest) -> Option<()> {
    state.asked.push(format!("{} {}", request.method(), request.path()));
    (!state.is_down).then_some(())
}

fn down() -> HttpResponse {
    HttpResponse::ServiceUnavailable().finish()
}

async fn discovery(state: Shared, request: HttpRequest) -> HttpResponse {
    let mut state = state.lock().unwrap();
    let Some(()) = note(&mut state, &request) else { return down() };
    let at = |path: &str| format!("{}/{path}", state.url);
    HttpResponse::Ok().json(json!({
        "issuer": state.url,
        "authorization_endpoint": at("authorize"),
        "token_endpoint": at("token"),
        "userinfo_endpoint": at("userinfo"),
        "jwks_uri": at("keys"),
        "end_session_endpoint": at("end"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256", "ES256"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
        "something_of_its_own": {"x": [1]},
    }))
}

async fn keys(state: Shared, request: HttpRequest) -> HttpResponse {
    let mut state = state.lock().unwrap();
    let Some(()) = note(&mut state, &request) else { return down() };
    let mut keys: Vec<Value> = state.keys.iter().map(|key| key.public.clone()).collect();
    keys.push(json!({"kty": "of tomorrow", "kid": "other"}));
    HttpResponse::Ok().json(json!({ "keys": keys }))
}

type Fields = HashMap<String, String>;

fn field<'a>(fields: &'a Fields, name: &str) -> &'a str {
    fields.get(name).map_or("", String::as_str)
}

async fn authorize(state: Shared, request: HttpRequest, fields: web::Query<Fields>) -> HttpResponse {
    let mut state = state.lock().unwrap();
    let Some(()) = note(&mut state, &request) else { return down() };
    let get = |name| field(&fields, name);
    let scopes: Vec<&str> = get("scope").split(' ').collect();
    let is_good = get("response_type") == "code"
        && get("client_id") == CLIENT
        && get("redirect_uri").starts_with("http")
        && scopes[0] == "openid"
        && scopes.contains(&"email")
        && get("state").len() >= 20
        && get("nonce").len() >= 20
        && get("code_challenge_method") == "S256"
        && get("code_challenge").len() == 43;
    if !is_good {
        return HttpResponse::BadRequest().body(format!("{fields:?}"));
    }
    let fault = state.script.pop_front();
    let code = format!("code.{}", uuid::Uuid::new_v4().simple());
    let mut back = vec![("state", if fault == Some(Fault::State) { "another" } else { get("state") })];
    // As some issuers do.
    back.extend([("session_state", "x.y"), ("scope", "")]);
    if fault != Some(Fault::NoFrom) {
        back.push(("iss", if fault == Some(Fault::From) { "https://other.test" } else { &state.url }));
    }
    if fault == Some(Fault::Denied) {
        back.extend([("error", "access_denied"), ("error_description", "<script>no</script>")]);
    } else {
        back.push(("code", &code));
    }
    let location = format!("{}?{}", get("redirect_uri"), serde_urlencoded::to_string(back).unwrap());
    let (nonce, challenge) = (get("nonce").to_owned(), get("code_challenge").to_owned());
    let who = state.who.clone();
    state.codes.insert(code.clone(), Given { fault, who, nonce, challenge, back: get("redirect_uri").to_owned() });
    state.secrets.push(code);
    HttpResponse::Found().insert_header(("location", location)).finish()
}

fn refused(error: &str) -> HttpResponse {
    HttpResponse::BadRequest().json(json!({"error": error, "error_description": "a text of its own"}))
}

async fn token(state: Shared, request: HttpRequest, fields: web::Form<Fields>) -> HttpResponse {
    let mut state = state.lock().unwrap();
    let Some(()) = note(&mut state, &request) else { return down() };
    // RFC 6749, section 2.3.1: both are encoded as in forms.
    let part = |text: &str| serde_urlencoded::to_string([("", text)]).unwrap()[1..].to_owned();
    let basic = BASE64_STANDARD.encode(format!("{}:{}", part(CLIENT), part(SECRET)));
    let shown = request.headers().get("authorization").and_then(|value| value.to_str().ok());
    if shown != Some(&format!("Basic {basic}")) || fields.contains_key("client_secret") {
        return HttpResponse::Unauthorized().json(json!({"error": "invalid_client"}));
    }
    let Some(given) = state.codes.remove(field(&fields, "code")) else { return refused("invalid_grant") };
    let verifier = field(&fields, "code_verifier");
    let is_shown = encoded(Sha256::digest(verifier.as_bytes())) == given.challenge && verifier.len() >= 43;
    if field(&fields, "grant_type") != "authorization_code" || !is_shown || field(&fields, "redirect_uri") != given.back
    {
        return refused("invalid_grant");
    }
    if given.fault == Some(Fault::Broken) {
        return HttpResponse::Ok().content_type("text/html").body("<h1>oh</h1>");
    }
    let access = format!("access.{}", uuid::Uuid::new_v4().simple());
    let token = made(&state, &given, &access);
    state.tokens.insert(access.clone(), given.who);
    state.secrets.extend([access.clone(), token.clone()]);
    let mut answer = json!({"access_token": access, "token_type": "Bearer", "expires_in": 300, "id_token": token});
    if given.fault == Some(Fault::NoToken) {
        answer.as_object_mut().unwrap().remove("id_token");
    }
    HttpResponse::Ok().insert_header(("cache-control", "no-store")).json(answer)
}

/// The ID token.
fn made(state: &State, given: &Given, access: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let is = |fault| given.fault == Some(fault);
    let hash = Sha256::digest(if is(Fault::AccessToken) { b"another" } else { access.as_bytes() });
    let mut claims = json!({
        "iss": if is(Fault::Issuer) { "https://other.test" } else { &state.url },
        "sub": given.who.subject,
        "aud": CLIENT,
        "iat": now,
        "exp": if is(Fault::Expired) { now - 1 } else { now + 300 },
        "nonce": if is(Fault::Nonce) { "another" } else { &given.nonce },
        "at_hash": encoded(&hash[..16]),
        "name": given.who.name,
    });
    if is(Fault::Audience) {
        claims["aud"] = "another".into();
    }
    if is(Fault::Audiences) {
        claims["aud"] = json!([CLIENT, "another"]);
        claims["azp"] = CLIENT.into();
    }
    if is(Fault::Party) {
        claims["azp"] = "another".into();
    }
    let wrong = match given.fault {
        Some(Fault::Name) => Some(("name", json!({"given": "Ada"}))),
        Some(Fault::Subject) => Some(("sub", json!(7))),
        Some(Fault::Proved) => Some(("email_verified", json!(1))),
        Some(Fault::Expiry) => Some(("exp", json!((now + 300).to_string()))),
        _ => None,
    };
    if state.tells_address && !given.who.email.is_empty() {
        claims["email"] = given.who.email.into();
        claims["email_verified"] = given.who.is_verified.into();
    }
    if let Some((claim, value)) = wrong {
        claims[claim] = value;
    }
    let key = &state.keys[0];
    let named = key.public["kid"].as_str().map(str::to_owned);
    let signed = |algorithm, signs: &EncodingKey| {
        jsonwebtoken::encode(&Header { kid: named.clone(), ..Header::new(algorithm) }, &claims, signs).unwrap()
    };
    match given.fault {
        Some(Fault::Unsigned) => {
            format!("{}.{}.", encoded(r#"{"alg":"none"}"#), encoded(claims.to_string()))
        }
        Some(Fault::SharedSecret) => signed(Algorithm::HS256, &EncodingKey::from_secret(SECRET.as_bytes())),
        Some(Fault::OtherKey) => signed(Algorithm::RS256, &rsa("second", include_str!("issuer/second.pem")).signs),
        Some(Fault::Changed) => {
            let token = signed(key.algorithm, &key.signs);
            let (head, signature) = (token.split('.').next().unwrap(), token.rsplit('.').next().unwrap());
            claims["sub"] = "root".into();
            format!("{head}.{}.{signature}", encoded(claims.to_string()))
        }
        _ => signed(key.algorithm, &key.signs),
    }
}

async fn userinfo(state: Shared, request: HttpRequest) -> HttpResponse {
    let mut state = state.lock().unwrap();
    let Some(()) = note(&mut state, &request) else { return down() };
    let shown = request.headers().get("authorization").and_then(|value| value.to_str().ok());
    let who = shown.and_then(|shown| shown.strip_prefix("Bearer ")).and_then(|token| state.tokens.get(token));
    let Some(who) = who else { return HttpResponse::Unauthorized().finish() };
    HttpResponse::Ok().json(json!({"sub": who.subject, "email": who.email, "email_verified": who.is_verified}))
}
