//! The API format of each route that has one: the route's errors have the format's shape. All other routes have
//! Farebox's own.

use actix_web::HttpRequest;
use wire::format::{
    ClientFormat, ErrorShape,
    anthropic::Messages,
    cohere::{self, Embed},
    gemini::Generate,
    openai::{
        Chat, Completions, Embeddings, Responses,
        media::{edits::Editing, images::Drawing, speech::Speaking, transcriptions::Transcribing},
    },
    rerank::{CohereReranking, Reranking},
};

/// Routes of a format, by their patterns.
const FORMATS: [(&str, ErrorShape); 22] = [
    ("/v1/chat/completions", errors::<Chat>()),
    ("/v1/completions", errors::<Completions>()),
    ("/v1/embeddings", errors::<Embeddings>()),
    ("/v1/rerank", errors::<Reranking>()),
    ("/v1/audio/speech", errors::<Speaking>()),
    ("/v1/audio/transcriptions", errors::<Transcribing>()),
    ("/v1/audio/translations", errors::<Transcribing>()),
    ("/v1/images/generations", errors::<Drawing>()),
    ("/v1/images/edits", errors::<Editing>()),
    ("/v1/images/variations", errors::<Editing>()),
    ("/v1/responses", errors::<Responses>()),
    ("/v1/conversations", errors::<Responses>()),
    ("/v1/conversations/{id}", errors::<Responses>()),
    ("/v1/conversations/{id}/items", errors::<Responses>()),
    ("/v1/conversations/{id}/items/{item}", errors::<Responses>()),
    ("/v1/messages", errors::<Messages>()),
    ("/v1/messages/count_tokens", errors::<Messages>()),
    ("/v2/chat", errors::<cohere::Chat>()),
    ("/v2/embed", errors::<Embed>()),
    ("/v2/rerank", errors::<CohereReranking>()),
    ("/v1/models", errors::<Chat>()),
    ("/v1/models/{id:.+}", errors::<Chat>()),
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

const fn errors<F: ClientFormat>() -> ErrorShape {
    F::ERRORS
}

/// The shape of a request's errors: that of the route's format. SDKs also call unknown paths, and read the error.
pub fn errors_of(request: &HttpRequest) -> ErrorShape {
    let shape = match request.match_pattern() {
        Some(pattern) if pattern.starts_with(GOOGLES_PATH) || pattern.starts_with(GOOGLES_METHODS) => {
            errors::<Generate>()
        }
        Some(pattern) => {
            let format = FORMATS.iter().find(|(route, _)| *route == pattern);
            format.map_or(ErrorShape::Phrase, |(_, shape)| *shape)
        }
        None if request.path().starts_with(GOOGLES_PATH) => errors::<Generate>(),
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
}
