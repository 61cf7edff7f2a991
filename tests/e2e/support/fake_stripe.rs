//! A strict stand-in for Stripe's API, as far as the gateway speaks it: it refuses what Stripe would (and a POST without an
//! idempotency key, which Stripe would not), keeps the first answer to each key, and misbehaves once for each behaviour
//! it was scripted. What browsers, banks and Stripe's dashboard do is done by the test, and webhooks are sent by it too.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use futures::stream;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use super::{background::serve, stripe_js};

pub(crate) const SECRET_KEY: &str = "sk_test_fake";
/// The key that browsers show.
pub(crate) const PUBLISHABLE_KEY: &str = "pk_test_fake";
pub(crate) const WEBHOOK_SECRET: &str = "whsec_fake";
const VERSION: &str = "2024-06-20";
/// Objects on one page of a list.
const LARGEST_PAGE: usize = 2;

/// What it does wrong at a POST, once.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Behaviour {
    /// Does nothing and answers with this status.
    Status(u16),
    /// Does what it was asked, and breaks the connection.
    DoneThenBroken,
    /// Does what it was asked, and answers 500.
    DoneThen500,
    /// Does what it was asked, and answers so many milliseconds later.
    DoneThenSlow(u64),
}

#[derive(Default)]
struct StripeState {
    script: VecDeque<Behaviour>,
    answers: HashMap<String, (String, u16, Value)>,
    calls: Vec<String>,
    objects: BTreeMap<String, Value>,
    made: u64,
    refund_status: Option<&'static str>,
}

type Fields = BTreeMap<String, String>;
type Said = Result<Value, (u16, Value)>;

/// The server, gone with the test's process.
pub(crate) struct FakeStripe {
    state: Arc<Mutex<StripeState>>,
    url: String,
}

impl FakeStripe {
    pub(crate) fn start() -> Self {
        let state = Arc::<Mutex<StripeState>>::default();
        let served = web::Data::from(Arc::clone(&state));
        let address = serve(move |routes| {
            let routes = routes.app_data(served.clone());
            let routes = routes.route(stripe_js::PATH, web::get().to(stripe_js::script));
            routes.route("/frame", web::get().to(stripe_js::frame)).default_service(web::to(take));
        });
        let url = format!("http://{address}");
        Self { state, url }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The address of the script for browsers.
    pub(crate) fn browsers_script(&self) -> String {
        format!("{}{}", self.url, stripe_js::PATH)
    }

    pub(crate) fn script(&self, behaviour: Behaviour) {
        self.state.lock().unwrap().script.push_back(behaviour);
    }

    /// What was called, such as `POST /v1/refunds`.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.state.lock().unwrap().calls.clone()
    }

    /// Everything of a kind, oldest first.
    pub(crate) fn all(&self, object: &str) -> Vec<Value> {
        let state = self.state.lock().unwrap();
        let mut found: Vec<Value> = state.objects.values().filter(|o| o["object"] == object).cloned().collect();
        found.sort_by_key(|object| object["created"].as_u64());
        found
    }

    /// The browser of a card's owner finishes a setup with a card: `visa`, `broke`, `owner` (wants its owner at each
    /// charge).
    pub(crate) fn finish_setup(&self, setup: &str, kind: &str) {
        let last4 = match kind {
            "visa" => "4242",
            "broke" => "9995",
            "owner" => "3184",
            other => panic!("no card {other}"),
        };
        self.state.lock().unwrap().set_up(setup, last4);
    }

    /// A card's owner says yes to its bank.
    pub(crate) fn authenticate(&self, intent: &str) {
        let mut state = self.state.lock().unwrap();
        assert_ne!(state.objects[intent]["status"], "canceled", "nothing canceled can be paid");
        state.pay(intent);
    }

    /// What Stripe never does: a canceled charge is paid all the same.
    pub(crate) fn pay_what_was_canceled(&self, intent: &str) {
        self.state.lock().unwrap().pay(intent);
    }

    /// Someone refunds in Stripe's dashboard.
    pub(crate) fn refund(&self, intent: &str, cents: i64) {
        let fields = [("payment_intent", intent.to_owned()), ("amount", cents.to_string())];
        let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        self.state.lock().unwrap().refund(&fields).unwrap();
    }

    /// A card's owner disputes all of a charge; the dispute's id.
    pub(crate) fn dispute(&self, intent: &str, status: &str) -> String {
        let amount = self.state.lock().unwrap().objects[intent]["amount"].as_i64().unwrap();
        self.dispute_part(intent, amount, status)
    }

    /// A card's owner disputes some of a charge; the dispute's id.
    pub(crate) fn dispute_part(&self, intent: &str, cents: i64, status: &str) -> String {
        let mut state = self.state.lock().unwrap();
        assert_eq!(state.objects[intent]["status"], "succeeded", "only what was paid is disputed");
        let dispute = json!({"object": "dispute", "amount": cents, "currency": "usd", "status": status,
            "payment_intent": intent});
        state.make("dp", dispute)["id"].as_str().unwrap().to_owned()
    }

    /// A dispute ends, or an inquiry becomes one: as Stripe's do, and no other way.
    pub(crate) fn close_dispute(&self, dispute: &str, status: &str) {
        let mut state = self.state.lock().unwrap();
        let dispute = state.objects.get_mut(dispute).unwrap();
        let before = dispute["status"].as_str().unwrap().to_owned();
        let may = match before.as_str() {
            "warning_needs_response" | "warning_under_review" => ["warning_closed", "needs_response"].contains(&status),
            "needs_response" | "under_review" => ["won", "lost"].contains(&status),
            "lost" => status == "won",
            _ => false,
        };
        assert!(may, "a dispute that is {before} does not become {status}");
        dispute["status"] = status.into();
    }

    /// A bank does not take a refund that was made.
    pub(crate) fn fail_refund(&self, refund: &str) {
        let mut state = self.state.lock().unwrap();
        let refund = state.objects.get_mut(refund).unwrap();
        assert!(["pending", "succeeded"].contains(&refund["status"].as_str().unwrap()), "{refund}");
        refund["status"] = "failed".into();
        refund["failure_reason"] = "expired_or_canceled_card".into();
    }

    /// Refunds made from now on wait for their bank, or are made at once.
    pub(crate) fn refunds_are(&self, status: &'static str) {
        self.state.lock().unwrap().refund_status = Some(status);
    }

    /// Changes an object behind everyone's back.
    pub(crate) fn falsify(&self, id: &str, field: &str, value: Value) {
        self.state.lock().unwrap().objects.get_mut(id).unwrap()[field] = value;
    }

    /// An event about an object, as its webhook's body.
    pub(crate) fn event(&self, kind: &str, object: &str) -> String {
        let mut state = self.state.lock().unwrap();
        let object = state.objects[object].clone();
        let event = json!({"object": "event", "type": kind, "api_version": VERSION, "data": {"object": object}});
        state.make("evt", event).to_string()
    }
}

pub(crate) fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A webhook's signature.
pub(crate) fn sign(secret: &str, seconds: u64, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{seconds}.{body}").as_bytes());
    let digits = mac.finalize().into_bytes().iter().fold(String::new(), |digits, byte| format!("{digits}{byte:02x}"));
    format!("t={seconds},v1={digits},v0={}", "0".repeat(64))
}

fn refuse(status: u16, kind: &str, code: &str, message: &str) -> (u16, Value) {
    (status, json!({"error": {"type": kind, "code": code, "message": message}}))
}

fn invalid(code: &str, message: &str) -> (u16, Value) {
    refuse(if code == "resource_missing" { 404 } else { 400 }, "invalid_request_error", code, message)
}

fn header<'a>(request: &'a HttpRequest, name: &str) -> &'a str {
    request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn respond(status: u16, body: &Value) -> HttpResponse {
    // Browsers ask from other origins.
    HttpResponse::build(StatusCode::from_u16(status).unwrap())
        .insert_header(("access-control-allow-origin", "*"))
        .json(body)
}

async fn take(state: web::Data<Mutex<StripeState>>, request: HttpRequest, body: String) -> HttpResponse {
    let is_post = request.method() == "POST";
    let path = request.path().to_owned();
    let behaviour = {
        let mut state = state.lock().unwrap();
        state.calls.push(format!("{} {path}", request.method()));
        if is_post { state.script.pop_front() } else { None }
    };
    if let Some(Behaviour::Status(status)) = behaviour {
        return respond(status, &refuse(status, "api_error", "scripted", "scripted").1);
    }
    let (status, answer, replayed) = state.lock().unwrap().answer(&request, &body);
    if let Some(Behaviour::DoneThenSlow(ms)) = behaviour {
        actix_web::rt::time::sleep(Duration::from_millis(ms)).await;
    }
    match behaviour {
        Some(Behaviour::DoneThenBroken) => {
            let broken = stream::once(async { Err::<web::Bytes, _>(std::io::Error::other("broken")) });
            HttpResponse::Ok().content_type("application/json").streaming(broken)
        }
        Some(Behaviour::DoneThen500) => respond(500, &refuse(500, "api_error", "scripted", "scripted").1),
        Some(Behaviour::DoneThenSlow(_) | Behaviour::Status(_)) | None => {
            let mut response = respond(status, &answer);
            if replayed {
                let yes = actix_web::http::header::HeaderValue::from_static("true");
                response.headers_mut().insert("idempotent-replayed".parse().unwrap(), yes);
            }
            response
        }
    }
}

impl StripeState {
    fn make(&mut self, prefix: &str, mut object: Value) -> Value {
        self.made += 1;
        let id = format!("{prefix}_fake{:06}", self.made);
        object["id"] = id.clone().into();
        object["created"] = self.made.into();
        object["livemode"] = false.into();
        self.objects.insert(id, object.clone());
        object
    }

    fn set_up(&mut self, setup: &str, last4: &str) -> Value {
        let card = json!({"brand": "visa", "last4": last4, "exp_month": 8, "exp_year": 2031});
        let customer = self.objects[setup]["customer"].clone();
        let method =
            self.make("pm", json!({"object": "payment_method", "type": "card", "card": card, "customer": customer}));
        let setup = self.objects.get_mut(setup).unwrap();
        setup["status"] = "succeeded".into();
        setup["payment_method"] = method["id"].clone();
        setup.clone()
    }

    /// What a browser asks for, that shows the key for browsers and an object's own secret.
    fn confirm(&mut self, kind: &str, id: &str, fields: &Fields) -> Said {
        if fields.get("key").is_none_or(|key| key != PUBLISHABLE_KEY) {
            return Err(refuse(401, "invalid_request_error", "api_key_invalid", "Invalid API Key provided"));
        }
        let object = self.find(id, kind)?;
        if fields.get("client_secret").is_none_or(|secret| object["client_secret"] != secret.as_str()) {
            return Err(invalid("resource_missing", "The client_secret is not this object's"));
        }
        if kind == "setup_intent" {
            let number = "payment_method_data[card][number]";
            only(fields, &["key", "client_secret", "payment_method_data[type]", number], &[])?;
            equal(fields, "payment_method_data[type]", "card")?;
            let last4 = match fields[number].as_str() {
                "4242424242424242" => "4242",
                "4000000000009995" => "9995",
                "4000002760003184" => "3184",
                _ => return Err(refuse(402, "card_error", "incorrect_number", "Your card number is incorrect.")),
            };
            return Ok(self.set_up(id, last4));
        }
        only(fields, &["key", "client_secret", "payment_method"], &[])?;
        if object["status"] != "requires_payment_method" {
            return Err(invalid("payment_intent_unexpected_state", "You cannot confirm this PaymentIntent"));
        }
        let method = self.find(&fields["payment_method"], "payment_method")?;
        if method["customer"] != object["customer"] {
            return Err(invalid("resource_missing", "The customer does not have that payment method"));
        }
        self.pay(id);
        Ok(self.objects[id].clone())
    }

    fn pay(&mut self, intent: &str) {
        let intent = self.objects.get_mut(intent).unwrap();
        intent["status"] = "succeeded".into();
        intent["amount_received"] = intent["amount"].clone();
        intent["last_payment_error"] = Value::Null;
    }

    fn find(&self, id: &str, object: &str) -> Result<Value, (u16, Value)> {
        let found = self.objects.get(id).filter(|found| found["object"] == object);
        found.cloned().ok_or_else(|| invalid("resource_missing", &format!("No such {object}: '{id}'")))
    }

    /// The status, the body, and whether it is the answer to an earlier call.
    fn answer(&mut self, request: &HttpRequest, body: &str) -> (u16, Value, bool) {
        let said = |said: Said| match said {
            Ok(value) => (200, value),
            Err((status, value)) => (status, value),
        };
        let path: Vec<&str> = request.path().trim_start_matches("/v1/").split('/').collect();
        if let [kind @ ("setup_intents" | "payment_intents"), id, "confirm"] = path[..] {
            let (status, value) = said(self.confirm(kind.trim_end_matches('s'), id, &parse(body)));
            return (status, value, false);
        }
        if header(request, "authorization") != format!("Bearer {SECRET_KEY}") {
            let (status, value) = refuse(401, "invalid_request_error", "api_key_invalid", "Invalid API Key provided");
            return (status, value, false);
        }
        if header(request, "stripe-version") != VERSION {
            let (status, value) = invalid("version", "This fake speaks another version");
            return (status, value, false);
        }
        if request.method() != "POST" {
            let (status, value) = said(self.get(request.path(), &parse(request.query_string())));
            return (status, value, false);
        }
        let (key, path) = (header(request, "idempotency-key").to_owned(), request.path().to_owned());
        if key.is_empty() || key.len() > 255 {
            let (status, value) = invalid("idempotency_key", "A POST needs an idempotency key");
            return (status, value, false);
        }
        if header(request, "content-type") != "application/x-www-form-urlencoded" && !body.is_empty() {
            let (status, value) = invalid("content_type", "A body must be application/x-www-form-urlencoded");
            return (status, value, false);
        }
        let call = format!("{path}?{body}");
        if let Some((known, status, value)) = self.answers.get(&key) {
            if *known == call {
                return (*status, value.clone(), true);
            }
            let message =
                "Keys for idempotent requests can only be used with the same parameters they were first used with.";
            let (status, value) = refuse(400, "idempotency_error", "idempotency_key_in_use", message);
            return (status, value, false);
        }
        let (status, value) = said(self.post(&path, &parse(body)));
        // What was not begun for a wrong parameter is not kept.
        if status != 400 && status != 404 {
            self.answers.insert(key, (call, status, value.clone()));
        }
        (status, value, false)
    }

    fn get(&self, path: &str, query: &Fields) -> Said {
        match path.trim_start_matches("/v1/").split('/').collect::<Vec<_>>().as_slice() {
            ["payment_intents", "search"] => {
                let wanted = query.get("query").and_then(|query| query.strip_prefix("metadata[\"payment_id\"]:\""));
                let wanted = wanted.and_then(|rest| rest.strip_suffix('"'));
                let wanted = wanted.ok_or_else(|| invalid("query", "not a query this fake knows"))?;
                let found = self
                    .objects
                    .values()
                    .filter(|o| o["object"] == "payment_intent" && o["metadata"]["payment_id"] == wanted);
                Ok(json!({"object": "search_result", "has_more": false, "data": found.collect::<Vec<_>>()}))
            }
            ["payment_intents", id] => self.find(id, "payment_intent"),
            ["disputes", id] => self.find(id, "dispute"),
            [list @ ("payment_intents" | "refunds" | "disputes")] => self.list(list.trim_end_matches('s'), query),
            ["setup_intents", id] => {
                let mut setup = self.find(id, "setup_intent")?;
                if query.get("expand[]").is_some_and(|field| field == "payment_method") {
                    let method = setup["payment_method"].as_str().and_then(|id| self.objects.get(id));
                    setup["payment_method"] = method.cloned().unwrap_or(Value::Null);
                }
                Ok(setup)
            }
            _ => Err(invalid("resource_missing", "Unrecognized request URL")),
        }
    }

    /// A list, newest first, page by page.
    fn list(&self, kind: &str, query: &Fields) -> Said {
        let known = ["payment_intent", "limit", "starting_after", "created[gte]"];
        only(query, &[], if kind == "payment_intent" { &known[1..] } else { &known })?;
        let of = query.get("payment_intent");
        if let Some(intent) = of {
            self.find(intent, "payment_intent")?;
        }
        let limit: usize = query.get("limit").map_or(Ok(10), |limit| limit.parse()).unwrap_or(0);
        if !(1..=100).contains(&limit) {
            return Err(invalid("parameter_invalid_integer", "limit"));
        }
        let is_of = |o: &&Value| o["object"] == kind && of.is_none_or(|intent| o["payment_intent"] == intent.as_str());
        let mut found: Vec<&Value> = self.objects.values().filter(is_of).collect();
        found.sort_by_key(|object| std::cmp::Reverse(object["created"].as_u64()));
        if let Some(after) = query.get("starting_after") {
            let place = found.iter().position(|object| object["id"] == after.as_str());
            let place = place.ok_or_else(|| invalid("resource_missing", "No such object to start after"))?;
            found.drain(..=place);
        }
        // Pages are short here, so that following them is seen.
        let page = limit.min(LARGEST_PAGE);
        let has_more = found.len() > page;
        found.truncate(page);
        Ok(json!({"object": "list", "has_more": has_more, "data": found}))
    }

    fn post(&mut self, path: &str, fields: &Fields) -> Said {
        match path.trim_start_matches("/v1/").split('/').collect::<Vec<_>>().as_slice() {
            ["customers"] => {
                only(fields, &["email", "metadata[account_id]"], &[])?;
                let customer = json!({"object": "customer", "email": fields["email"], "metadata": metadata(fields)});
                Ok(self.make("cus", customer))
            }
            ["setup_intents"] => {
                only(fields, &["customer", "usage", "payment_method_types[]", "metadata[account_id]"], &[])?;
                self.find(&fields["customer"], "customer")?;
                equal(fields, "usage", "off_session")?;
                equal(fields, "payment_method_types[]", "card")?;
                let setup = self.make(
                    "seti",
                    json!({"object": "setup_intent", "status": "requires_payment_method",
                    "customer": fields["customer"], "metadata": metadata(fields), "payment_method": null}),
                );
                Ok(self.with_secret(&setup))
            }
            ["payment_methods", id, "detach"] => {
                let mut method = self.find(id, "payment_method")?;
                if method["customer"].is_null() {
                    return Err(invalid("payment_method_not_attached", "It is attached to no customer"));
                }
                method["customer"] = Value::Null;
                self.objects.insert((*id).to_owned(), method.clone());
                Ok(method)
            }
            ["payment_intents"] => self.charge(fields),
            ["payment_intents", id, "cancel"] => {
                only(fields, &[], &["cancellation_reason"])?;
                let mut intent = self.find(id, "payment_intent")?;
                if intent["status"] == "succeeded" || intent["status"] == "canceled" {
                    return Err(invalid("payment_intent_unexpected_state", "You cannot cancel this PaymentIntent"));
                }
                intent["status"] = "canceled".into();
                self.objects.insert((*id).to_owned(), intent.clone());
                Ok(intent)
            }
            ["refunds"] => self.refund(fields),
            _ => Err(invalid("resource_missing", "Unrecognized request URL")),
        }
    }

    fn with_secret(&mut self, object: &Value) -> Value {
        let id = object["id"].as_str().unwrap().to_owned();
        let kept = self.objects.get_mut(&id).unwrap();
        kept["client_secret"] = format!("{id}_secret_fake").into();
        kept.clone()
    }

    fn charge(&mut self, fields: &Fields) -> Said {
        let needed = [
            "amount",
            "currency",
            "customer",
            "payment_method",
            "payment_method_types[]",
            "off_session",
            "confirm",
            "metadata[payment_id]",
            "metadata[account_id]",
        ];
        only(fields, &needed, &["description"])?;
        let cents: i64 = fields["amount"].parse().map_err(|_| invalid("parameter_invalid_integer", "amount"))?;
        if !(50..=99_999_999).contains(&cents) {
            return Err(invalid("amount_too_small", "Amount must be at least $0.50 usd"));
        }
        for (name, value) in
            [("currency", "usd"), ("payment_method_types[]", "card"), ("off_session", "true"), ("confirm", "true")]
        {
            equal(fields, name, value)?;
        }
        self.find(&fields["customer"], "customer")?;
        let method = self.find(&fields["payment_method"], "payment_method")?;
        if method["customer"] != fields["customer"] {
            return Err(invalid("resource_missing", "The customer does not have that payment method"));
        }
        let error = match method["card"]["last4"].as_str() {
            Some("4242") => Value::Null,
            Some("9995") => json!({"type": "card_error", "code": "card_declined", "decline_code": "insufficient_funds",
                "message": "Your card has insufficient funds."}),
            _ => json!({"type": "card_error", "code": "authentication_required",
                "decline_code": "authentication_required", "message": "Your card was declined."}),
        };
        let paid = error.is_null();
        let intent = json!({
            "object": "payment_intent", "amount": cents, "amount_received": if paid { cents } else { 0 },
            "currency": "usd", "customer": fields["customer"], "payment_method": fields["payment_method"],
            "status": if paid { "succeeded" } else { "requires_payment_method" },
            "metadata": metadata(fields), "last_payment_error": error,
        });
        let intent = self.make("pi", intent);
        let intent = self.with_secret(&intent);
        if paid {
            return Ok(intent);
        }
        let mut body = json!({"error": intent["last_payment_error"]});
        body["error"]["payment_intent"] = intent;
        Err((402, body))
    }

    fn refund(&mut self, fields: &Fields) -> Said {
        only(fields, &["payment_intent", "amount"], &["metadata[refund_id]"])?;
        let id = fields["payment_intent"].clone();
        let intent = self.find(&id, "payment_intent")?;
        let cents: i64 = fields["amount"].parse().map_err(|_| invalid("parameter_invalid_integer", "amount"))?;
        let before = self.objects.values().filter(|o| o["object"] == "refund" && o["payment_intent"] == id.as_str());
        let before = before.filter(|refund| refund["status"] != "failed");
        let before: i64 = before.filter_map(|refund| refund["amount"].as_i64()).sum();
        if cents <= 0 || before + cents > intent["amount_received"].as_i64().unwrap() {
            return Err(invalid(
                "charge_already_refunded",
                "Refund amount is greater than unrefunded amount on charge",
            ));
        }
        let status = self.refund_status.unwrap_or("succeeded");
        let refund = json!({"object": "refund", "amount": cents, "currency": "usd", "status": status,
            "payment_intent": id, "metadata": metadata(fields)});
        Ok(self.make("re", refund))
    }
}

fn parse(text: &str) -> Fields {
    let pairs = web::Query::<Vec<(String, String)>>::from_query(text).unwrap().into_inner();
    pairs.into_iter().collect()
}

fn metadata(fields: &Fields) -> Value {
    let named = fields.iter().filter_map(|(name, value)| {
        let name = name.strip_prefix("metadata[")?.strip_suffix(']')?;
        Some((name.to_owned(), Value::from(value.as_str())))
    });
    Value::Object(named.collect())
}

fn equal(fields: &Fields, name: &str, value: &str) -> Result<(), (u16, Value)> {
    if fields[name] == value { Ok(()) } else { Err(invalid("parameter_invalid", &format!("{name} must be {value}"))) }
}

/// These fields must be there, these others may, and no more.
fn only(fields: &Fields, needed: &[&str], more: &[&str]) -> Result<(), (u16, Value)> {
    if let Some(missing) = needed.iter().find(|name| !fields.contains_key(**name)) {
        return Err(invalid("parameter_missing", &format!("Missing required param: {missing}.")));
    }
    let known = |name: &&String| needed.contains(&name.as_str()) || more.contains(&name.as_str());
    match fields.keys().find(|name| !known(name)) {
        Some(unknown) => Err(invalid("parameter_unknown", &format!("Received unknown parameter: {unknown}"))),
        None => Ok(()),
    }
}
