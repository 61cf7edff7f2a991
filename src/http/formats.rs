//! The API format of each route that has one: the route's errors have the format's shape. All other routes have
//! Farebox's own.

use actix_web::HttpRequest;
use serde_json::Value;
use wire::format::{
    AnswerWriter, ClientFormat, ErrorShape,
    anthropic::Messages,
    cohere::{self, Embed},
    gemini::Generate,
    openai::{
        Chat, Completions, Embeddings, Responses,
        media::{edits::Editing, images::Drawing, speech::Speaking, transcriptions::Transcribing},
    },
    rerank::{CohereReranking, Reranking},
};

use super::{error::ApiError, surface::written_error};

/// Routes of a format, by their patterns.
const FORMATS: [(&str, Format); 25] = [
    ("/v1/chat/completions", format::<Chat>()),
    ("/v1/completions", format::<Completions>()),
    ("/v1/embeddings", format::<Embeddings>()),
    ("/v1/rerank", format::<Reranking>()),
    ("/v1/audio/speech", format::<Speaking>()),
    ("/v1/audio/transcriptions", format::<Transcribing>()),
    ("/v1/audio/translations", format::<Transcribing>()),
    ("/v1/images/generations", format::<Drawing>()),
    ("/v1/images/edits", format::<Editing>()),
    ("/v1/images/variations", format::<Editing>()),
    ("/v1/responses", format::<Responses>()),
    ("/v1/responses/{id}", format::<Responses>()),
    ("/v1/responses/{id}/cancel", format::<Responses>()),
    ("/v1/responses/{id}/input_items", format::<Responses>()),
    ("/v1/conversations", format::<Responses>()),
    ("/v1/conversations/{id}", format::<Responses>()),
    ("/v1/conversations/{id}/items", format::<Responses>()),
    ("/v1/conversations/{id}/items/{item}", format::<Responses>()),
    ("/v1/messages", format::<Messages>()),
    ("/v1/messages/count_tokens", format::<Messages>()),
    ("/v2/chat", format::<cohere::Chat>()),
    ("/v2/embed", format::<Embed>()),
    ("/v2/rerank", format::<CohereReranking>()),
    ("/v1/models", format::<Chat>()),
    ("/v1/models/{id:.+}", format::<Chat>()),
];

/// Where Google's routes begin, of which each has its shape. Under `/v1` they have a colon before what is asked.
const GOOGLES_PATH: &str = "/v1beta/";
const GOOGLES_METHODS: &str = "/v1/models/{model:.+}:";
/// A header of every request of Anthropic's clients.
const ANTHROPICS: &str = "anthropic-version";
/// A header with the client's name, which begins so in all of Cohere's.
const SDK_NAME: &str = "x-fern-sdk-name";
const COHERES: &str = "cohere";
/// Headers of which Google's clients send one with every request.
const GOOGLES: [&str; 2] = ["x-goog-api-key", "x-goog-api-client"];

/// What is known of a format here.
#[derive(Clone, Copy)]
struct Format {
    errors: ErrorShape,
    /// The end of a stream whose writer is gone.
    cut: fn(&Value) -> String,
}

const fn format<F: ClientFormat>() -> Format {
    Format { errors: F::ERRORS, cut: <F::Writer as AnswerWriter>::cut }
}

/// The format of a request's route, where it has one.
fn format_of(request: &HttpRequest) -> Option<Format> {
    let pattern = request.match_pattern()?;
    if pattern.starts_with(GOOGLES_PATH) || pattern.starts_with(GOOGLES_METHODS) {
        return Some(format::<Generate>());
    }
    FORMATS.iter().find(|(route, _)| *route == pattern).map(|(_, format)| *format)
}

/// The end of a stream of a request's route whose writer is gone: an event with the error.
pub fn cut(request: &HttpRequest, error: &ApiError, request_id: &str) -> String {
    let Format { errors, cut } = format_of(request).unwrap_or(format::<Chat>());
    cut(&written_error(errors, error, request_id))
}

/// The shape of a request's errors: that of the route's format. SDKs also call unknown paths, and read the error.
pub fn errors_of(request: &HttpRequest) -> ErrorShape {
    let shape = match request.match_pattern() {
        Some(_) => format_of(request).map_or(ErrorShape::Phrase, |format| format.errors),
        None if request.path().starts_with(GOOGLES_PATH) => ErrorShape::Google,
        None if request.path().starts_with("/v1/") => ErrorShape::Object,
        None if request.path().starts_with("/v2/") => ErrorShape::Cohere,
        None => ErrorShape::Phrase,
    };
    // SDKs of others call routes that are not theirs alone, such as the list of models, and say whose they are.
    match shape {
        ErrorShape::Object if request.headers().contains_key(ANTHROPICS) => ErrorShape::Anthropic,
        ErrorShape::Object if is_coheres(request) => ErrorShape::Cohere,
        ErrorShape::Object if asks_for_models(request) && is_googles(request) => ErrorShape::Google,
        shape => shape,
    }
}

/// Whether a client of Cohere's asks.
pub fn is_coheres(request: &HttpRequest) -> bool {
    request.headers().get(SDK_NAME).is_some_and(|name| name.as_bytes().starts_with(COHERES.as_bytes()))
}

/// Whether a request is for the list of models or one of them, or for a path that is not known: clients of all formats
/// ask these under `/v1`.
fn asks_for_models(request: &HttpRequest) -> bool {
    request.match_pattern().is_none_or(|pattern| pattern.starts_with("/v1/models"))
}

/// Whether a request shows that its client is Google's. Such clients ask under `/v1` too, where others do.
pub fn is_googles(request: &HttpRequest) -> bool {
    GOOGLES.iter().any(|name| request.headers().contains_key(*name))
}

#[cfg(test)]
mod tests {
    use actix_web::{App, HttpResponse, http::header, test, web};

    use super::*;

    #[test]
    fn every_one_is_a_route() {
        for (route, _) in FORMATS {
            assert!(include_str!("routes.rs").contains(&format!("\"{route}\"")), "{route}");
        }
    }

    #[actix_rt::test]
    async fn a_request_has_the_shape_of_its_route_and_strangers_that_of_sdks() {
        async fn shape(request: HttpRequest) -> HttpResponse {
            let name = format!("{:?}", errors_of(&request));
            HttpResponse::Ok().insert_header((header::SERVER, name)).finish()
        }
        let mut app = App::new().default_service(web::to(shape));
        let googles = ["/v1beta/models/{model:.+}:generateContent", "/v1/models/{model:.+}:generateContent"];
        for route in googles {
            app = app.route(route, web::to(shape));
        }
        for route in ["/v1/models/{id:.+}", "/v1/chat/completions", "/v1/messages", "/v2/chat", "/v1/balance"] {
            app = app.route(route, web::to(shape));
        }
        let app = test::init_service(app).await;
        for (path, expected) in [
            ("/v1/models/gpt-4o", "Object"),
            ("/v1/chat/completions", "Object"),
            ("/v1/messages", "Anthropic"),
            ("/v1/balance", "Phrase"),
            ("/v1/videos", "Object"),
            ("/v2/chat", "Cohere"),
            ("/v2/batches", "Cohere"),
            ("/elsewhere", "Phrase"),
            ("/v1beta/models/gemini-x:generateContent", "Google"),
            ("/v1/models/openai/gpt-4o:generateContent", "Google"),
            ("/v1beta/files", "Google"),
        ] {
            let response = test::call_service(&app, test::TestRequest::with_uri(path).to_request()).await;
            assert_eq!(response.headers().get(header::SERVER).unwrap(), expected, "{path}");
        }
        for (name, value, expected) in [
            (ANTHROPICS, "2023-06-01", "Anthropic"),
            (SDK_NAME, "cohere-ai", "Cohere"),
            (SDK_NAME, "x", "Object"),
            ("x-goog-api-key", "fb_x", "Google"),
        ] {
            let models = test::TestRequest::with_uri("/v1/models/x").insert_header((name, value));
            let response = test::call_service(&app, models.to_request()).await;
            assert_eq!(response.headers().get(header::SERVER).unwrap(), expected);
        }
        let chat = test::TestRequest::with_uri("/v1/chat/completions").insert_header(("x-goog-api-key", "fb_x"));
        let response = test::call_service(&app, chat.to_request()).await;
        assert_eq!(response.headers().get(header::SERVER).unwrap(), "Object");
    }

    #[actix_rt::test]
    async fn a_stream_that_nobody_goes_on_with_ends_in_an_event_that_its_clients_read() {
        async fn ending(request: HttpRequest) -> String {
            cut(&request, &ApiError::internal(&"gone"), "r")
        }
        let google = "/v1beta/models/{model:.+}:streamGenerateContent";
        let mut app = App::new().route(google, web::to(ending));
        for route in ["/v1/chat/completions", "/v1/messages", "/v1/responses", "/v2/chat"] {
            app = app.route(route, web::to(ending));
        }
        let app = test::init_service(app).await;
        for (path, begin, pointer) in [
            ("/v1/chat/completions", "data: {", "/error/code"),
            ("/v1/messages", "event: error\ndata: {", "/error/type"),
            ("/v1/responses", "event: error\ndata: {", "/code"),
            ("/v2/chat", "event: message-end\ndata: {", "/delta/error"),
            ("/v1beta/models/m:streamGenerateContent", "data: {", "/error/status"),
        ] {
            let request = test::TestRequest::with_uri(path).to_request();
            let told = test::call_and_read_body(&app, request).await;
            let told = String::from_utf8(told.to_vec()).unwrap();
            assert!(told.starts_with(begin) && told.ends_with("}\n\n"), "{path}: {told}");
            let data: Value = serde_json::from_str(told.split("data: ").nth(1).unwrap()).unwrap();
            assert!(data.pointer(pointer).is_some_and(Value::is_string), "{path}: {told}");
        }
    }
}
