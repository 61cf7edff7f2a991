//! The description of a route: what it takes and answers. Whatever all routes of a kind share (authentication, path
//! ids, body errors, `Idempotency-Key`) is derived here.

use std::collections::BTreeMap;

use billing::{event::EventKind, key::Scope};
use utoipa::{
    ToSchema,
    openapi::{
        HttpMethod, PathItem, Ref, RefOr, Required,
        content::{Content, ContentBuilder},
        path::{OperationBuilder, Parameter, ParameterBuilder, ParameterIn},
        request_body::RequestBodyBuilder,
        response::ResponseBuilder,
        schema::{ObjectBuilder, Schema, Type},
        security::SecurityRequirement,
    },
};

use super::errors;
use crate::{
    http::{
        addresses::PROBED,
        error::code::Code,
        views::{List, Page},
    },
    service::page,
};

/// The schemes by which a key is sent; the last one on Google's routes, where its clients send theirs so.
const KEYS: [&str; 3] = ["key", "x-api-key", "x-goog-api-key"];

/// The authentication of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// None.
    Nothing,
    /// A signature of the card processor.
    Signature,
    /// Any key.
    Key,
    /// A key with this scope.
    Scope(Scope),
    /// The operator's token.
    Operator,
}

/// Named schemas.
type Schemas = Vec<(String, RefOr<Schema>)>;

/// A header of requests or answers, and its description.
type Headers = &'static [(&'static str, &'static str)];

/// A route.
pub(super) struct Operation {
    method: HttpMethod,
    path: &'static str,
    says: &'static str,
    takes: Takes,
    query: &'static [&'static str],
    body: Option<RefOr<Schema>>,
    body_kind: &'static str,
    answers: Vec<(u16, &'static str, Option<RefOr<Schema>>)>,
    errors: Vec<(u16, Code)>,
    request_headers: Vec<(&'static str, &'static str)>,
    answer_headers: Headers,
    schemas: Schemas,
}

fn operation(method: HttpMethod, path: &'static str, takes: Takes, says: &'static str) -> Operation {
    Operation {
        method,
        path,
        says,
        takes,
        query: &[],
        body: None,
        body_kind: "application/json",
        answers: Vec::new(),
        errors: vec![(500, Code::Internal), (503, Code::NotReady), (503, Code::Overloaded)],
        request_headers: Vec::new(),
        answer_headers: &[],
        schemas: Vec::new(),
    }
}

pub(super) fn get(path: &'static str, takes: Takes, says: &'static str) -> Operation {
    operation(HttpMethod::Get, path, takes, says)
}

pub(super) fn put(path: &'static str, takes: Takes, says: &'static str) -> Operation {
    operation(HttpMethod::Put, path, takes, says)
}

pub(super) fn delete(path: &'static str, takes: Takes, says: &'static str) -> Operation {
    operation(HttpMethod::Delete, path, takes, says)
}

/// A POST, which may carry an `Idempotency-Key`.
pub(super) fn post(path: &'static str, takes: Takes, says: &'static str) -> Operation {
    let mut post = operation(HttpMethod::Post, path, takes, says);
    post.request_headers.push((
        "idempotency-key",
        "1 to 255 printable characters. Under one key a request is carried out once, and answered so for 24 hours.",
    ));
    post.errors(&[Code::InvalidRequest, Code::IdempotencyKeyReused, Code::IdempotencyInProgress, Code::AnswerLost])
}

const REPLAYED: (&str, &str) = ("idempotency-replayed", "`true` where this was answered before.");

impl Operation {
    /// Adds these query parameters.
    pub(super) fn query(mut self, names: &'static [&'static str]) -> Self {
        self.query = names;
        self.errors(&[Code::InvalidRequest])
    }

    /// Makes the route paged, with these further parameters.
    pub(super) fn paged(self) -> Self {
        self.query(&["limit", "cursor"])
    }

    /// The body is of this type.
    pub(super) fn body<T: ToSchema>(mut self) -> Self {
        self.name::<T>();
        self.body_of(Ref::from_schema_name(name_of::<T>()).into())
    }

    /// The body has this schema.
    pub(super) fn body_of(mut self, schema: RefOr<Schema>) -> Self {
        self.body = Some(schema);
        self.errors(&[Code::InvalidRequest, Code::PayloadTooLarge, Code::UnsupportedEncoding, Code::Timeout])
    }

    /// The body is a form of this schema.
    pub(super) fn form_of(mut self, schema: RefOr<Schema>) -> Self {
        self.body_kind = "multipart/form-data";
        self.body_of(schema)
    }

    fn name<T: ToSchema>(&mut self) {
        T::schemas(&mut self.schemas);
        self.schemas.push((name_of::<T>(), T::schema()));
    }

    /// The answer is of this type.
    pub(super) fn answers<T: ToSchema>(self) -> Self {
        self.answers_with::<T>(200)
    }

    /// The answer is a page of this type.
    pub(super) fn pages<T: ToSchema>(mut self) -> Self {
        self.name::<T>();
        self.answers::<Page<T>>()
    }

    /// The answer is a whole list of this type.
    pub(super) fn lists<T: ToSchema>(mut self) -> Self {
        self.name::<T>();
        self.answers::<List<T>>()
    }

    /// The answer is of this type, with this status.
    pub(super) fn answers_with<T: ToSchema>(mut self, status: u16) -> Self {
        self.name::<T>();
        self.answers_of(status, "application/json", Some(Ref::from_schema_name(name_of::<T>()).into()))
    }

    /// The answer is this one.
    pub(super) fn answers_of(mut self, status: u16, kind: &'static str, schema: Option<RefOr<Schema>>) -> Self {
        self.answers.push((status, kind, schema));
        self
    }

    /// The answer is a text of this media type.
    pub(super) fn text(self, kind: &'static str) -> Self {
        self.answers_of(200, kind, Some(ObjectBuilder::new().schema_type(Type::String).into()))
    }

    /// Adds an error beside the derived ones, with the first of the code's statuses.
    pub(super) fn errors(mut self, codes: &[Code]) -> Self {
        self.errors.extend(codes.iter().filter_map(|code| Some((*code.statuses().first()?, *code))));
        self
    }

    /// Adds an error with any of the code's statuses.
    pub(super) fn errors_of_any_status(mut self, codes: &[Code]) -> Self {
        self.errors.extend(codes.iter().flat_map(|code| code.statuses().iter().map(|status| (*status, *code))));
        self
    }

    /// Adds headers of requests and answers.
    pub(super) fn headers(mut self, request: Headers, answer: Headers) -> Self {
        self.request_headers.extend(request);
        self.answer_headers = answer;
        self
    }

    /// The names of the path's parameters.
    fn path_names(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('/').filter_map(|part| Some(part.strip_prefix('{')?.split_once('}')?.0))
    }

    /// The derived parts of the route.
    fn implied(&self) -> Vec<Code> {
        let mut codes = match self.takes {
            Takes::Nothing => vec![],
            Takes::Signature => vec![Code::InvalidRequest],
            Takes::Key | Takes::Scope(_) => vec![Code::Unauthorized, Code::Forbidden],
            Takes::Operator => vec![Code::Unauthorized],
        };
        if !PROBED.contains(&self.path) {
            codes.push(Code::RateLimit);
        }
        if self.path_names().next().is_some() {
            codes.extend([Code::InvalidRequest, Code::NotFound]);
        }
        codes
    }

    /// The path, its operation, and the named schemas.
    pub(super) fn build(mut self) -> (&'static str, PathItem, Schemas) {
        let implied = self.implied();
        self = self.errors(&implied);
        let id = format!("{}_{}", method_name(&self.method), self.path.replace(['/', '.', '-', ':'], "_"));
        let id: String = id.chars().filter(|c| !"{}".contains(*c)).collect();
        let mut built = OperationBuilder::new()
            .tag(super::table::tag_of(self.path))
            .summary(Some(self.says))
            .operation_id(Some(id.replace("__", "_").trim_end_matches('_')));
        for parameter in self.parameters() {
            built = built.parameter(parameter);
        }
        if let Some(schema) = self.body.take() {
            let required = if needs_fields(&schema, &self.schemas) { Required::True } else { Required::False };
            let content = ContentBuilder::new().schema(Some(schema)).build();
            let body = RequestBodyBuilder::new().content(self.body_kind, content).required(Some(required));
            built = built.request_body(Some(body.build()));
        }
        for (status, response) in self.responses() {
            built = built.response(status.to_string(), response);
        }
        for security in self.securities() {
            built = built.security(security);
        }
        let Self { method, path, schemas, .. } = self;
        (path, PathItem::new(method, built), schemas)
    }

    fn securities(&self) -> Vec<SecurityRequirement> {
        // OpenAPI 3.1 names roles in the security requirement, so scopes are there.
        let by = |name, scope: Option<Scope>| SecurityRequirement::new(name, scope.map(Scope::name));
        match self.takes {
            Takes::Nothing | Takes::Signature => vec![],
            Takes::Key => self.keys().map(|name| by(name, None)).collect(),
            Takes::Scope(scope) => self.keys().map(|name| by(name, Some(scope))).collect(),
            Takes::Operator => vec![by("operator", None)],
        }
    }

    /// Whether the route has Google's format.
    fn is_googles(&self) -> bool {
        self.path.starts_with("/v1beta/") || self.path.starts_with("/v1/models/{model}:")
    }

    fn keys(&self) -> impl Iterator<Item = &'static str> {
        let most = if self.is_googles() { KEYS.len() } else { KEYS.len() - 1 };
        KEYS.into_iter().take(most)
    }

    fn parameters(&self) -> Vec<Parameter> {
        let path = self.path_names().map(|name| {
            let says = if name == "account" { "An account's id, or its owner's address." } else { "An id." };
            parameter(ParameterIn::Path, name, says, text().into())
        });
        let query = self.query.iter().map(|name| {
            let (says, schema) = query_parameter(name);
            parameter(ParameterIn::Query, name, says, schema)
        });
        let headers = self.request_headers.iter();
        let headers = headers.map(|(name, says)| parameter(ParameterIn::Header, name, says, text().into()));
        path.chain(query).chain(headers).collect()
    }

    fn responses(&self) -> BTreeMap<u16, utoipa::openapi::Response> {
        let mut errors = BTreeMap::<u16, Vec<Code>>::new();
        for (status, code) in &self.errors {
            let codes = errors.entry(*status).or_default();
            if !codes.contains(code) {
                codes.push(*code);
            }
        }
        let mut responses: BTreeMap<_, _> = errors
            .iter()
            .map(|(status, codes)| (*status, errors::response(*status, codes, self.is_googles())))
            .collect();
        let mut answers = BTreeMap::<u16, ResponseBuilder>::new();
        for (status, kind, schema) in &self.answers {
            let says = match status {
                101 => "The socket is open.",
                202 => "It goes on by itself.",
                _ => "It was done.",
            };
            let mut answer = answers.remove(status).unwrap_or_default().description(says);
            answer = answer.header("x-request-id", errors::header("The request's id."));
            let replayed = self.method == HttpMethod::Post;
            for (name, says) in self.answer_headers.iter().chain(replayed.then_some(&REPLAYED)) {
                answer = answer.header(*name, errors::header(says));
            }
            if let Some(schema) = schema {
                let content: Content = ContentBuilder::new().schema(Some(schema.clone())).build();
                answer = answer.content(*kind, content);
            }
            answers.insert(*status, answer);
        }
        responses.extend(answers.into_iter().map(|(status, answer)| (status, answer.build())));
        responses
    }
}

/// The name of a type's schema. A page of grants is `Page_Grant`, because all pages would share one name otherwise.
fn name_of<T: ToSchema>() -> String {
    let whole = std::any::type_name::<T>();
    if !whole.contains('<') {
        return T::name().into_owned();
    }
    let parts = whole.split(['<', '>']).filter(|part| !part.is_empty());
    parts.filter_map(|part| part.rsplit("::").next()).collect::<Vec<_>>().join("_")
}

const fn method_name(method: &HttpMethod) -> &'static str {
    match method {
        HttpMethod::Get => "get",
        HttpMethod::Post => "post",
        HttpMethod::Put => "put",
        HttpMethod::Delete => "delete",
        HttpMethod::Options => "options",
        HttpMethod::Head => "head",
        HttpMethod::Patch => "patch",
        HttpMethod::Trace => "trace",
    }
}

/// Whether a body of this schema has required fields.
fn needs_fields(schema: &RefOr<Schema>, named: &Schemas) -> bool {
    let schema = match schema {
        RefOr::T(schema) => Some(schema),
        RefOr::Ref(reference) => named.iter().find_map(|(name, schema)| match schema {
            RefOr::T(schema) if reference.ref_location.ends_with(&format!("/{name}")) => Some(schema),
            _ => None,
        }),
    };
    match schema {
        Some(Schema::Object(object)) => !object.required.is_empty(),
        _ => true,
    }
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

fn parameter(place: ParameterIn, name: &str, says: &str, schema: Schema) -> Parameter {
    let required = if place == ParameterIn::Path { Required::True } else { Required::False };
    let built = ParameterBuilder::new().name(name).parameter_in(place).required(required);
    built.description(Some(says)).schema(Some(schema)).build()
}

/// The description of a query parameter by its name, which is the same on all routes.
fn query_parameter(name: &str) -> (&'static str, Schema) {
    match name {
        "limit" => {
            #[expect(clippy::cast_precision_loss, reason = "a small number")]
            let most = page::LARGEST as f64;
            let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1.0)).maximum(Some(most));
            ("How many a page holds.", number.into())
        }
        "cursor" => ("The `next_cursor` of this list's last page.", text().into()),
        "from" => ("From this instant on: a date, or an RFC 3339 time.", text().into()),
        "to" => ("Up to this instant; a date is that whole day.", text().into()),
        "model" => ("Of this model alone.", text().into()),
        "key_id" => ("Of this key alone; `none` of requests without one.", text().into()),
        "member_id" => {
            ("Of the keys that this member made alone, and of the pages; `none` of no member's.", text().into())
        }
        "session" => ("Of this session alone.", text().into()),
        "group_by" => (
            "One of `minute`, `hour`, `day`, and some of `model`, `provider`, `key`, `member`, `session`, separated by commas.",
            text().into(),
        ),
        "kind" => ("Of this kind alone.", text().enum_values(Some(EventKind::ALL.map(EventKind::name))).into()),
        "order" => ("`desc`, or `asc`.", text().enum_values(Some(["asc", "desc"])).into()),
        "after" => ("Behind the item with this id.", text().into()),
        "stream" => ("`true` for the events of a response in the background.", text().into()),
        "starting_after" => ("Only the events after the one with this number.", text().into()),
        "include_obfuscation" => ("Taken, and nothing is added.", text().into()),
        "include" | "include[]" => ("What else to show; all that is kept is shown.", text().into()),
        "route" => ("The route of the body; a chat's or a completion's where it is not given.", text().into()),
        "topics" => {
            ("Some of `balance`, `permits`, `usage`, `events`, separated by commas; all by default.", text().into())
        }
        "search" => ("What is in an account's address.", text().into()),
        "plan" => ("Of this plan alone.", text().enum_values(Some(["free", "payg"])).into()),
        _ => ("", text().into()),
    }
}
