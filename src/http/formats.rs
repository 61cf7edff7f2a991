//! The API format of each route that has one: the route's errors have the format's shape. All other routes have
//! Farebox's own.

use actix_web::HttpRequest;
use wire::format::{
    AnswerWriter, ClientFormat, ErrorShape,
    anthropic::Messages,
    openai::{
        Chat, Completions, Embeddings, Responses,
        media::{images::Drawing, speech::Speaking, transcriptions::Transcribing},
    },
    rerank::Reranking,
};

/// Routes of a format, by their patterns.
const FORMATS: [(&str, ErrorShape); 13] = [
    ("/v1/chat/completions", errors::<Chat>()),
    ("/v1/completions", errors::<Completions>()),
    ("/v1/embeddings", errors::<Embeddings>()),
    ("/v1/rerank", errors::<Reranking>()),
    ("/v1/audio/speech", errors::<Speaking>()),
    ("/v1/audio/transcriptions", errors::<Transcribing>()),
    ("/v1/audio/translations", errors::<Transcribing>()),
    ("/v1/images/generations", errors::<Drawing>()),
    ("/v1/responses", errors::<Responses>()),
    ("/v1/messages", errors::<Messages>()),
    ("/v1/messages/count_tokens", errors::<Messages>()),
    ("/v1/models", errors::<Chat>()),
    ("/v1/models/{id:.+}", errors::<Chat>()),
];

/// A header of every request of Anthropic's clients.
const ANTHROPICS: &str = "anthropic-version";

const fn errors<F: ClientFormat>() -> ErrorShape {
    <F::Writer as AnswerWriter>::ERRORS
}

/// The shape of a request's errors: that of the route's format. SDKs also call unknown paths, and read the error.
pub fn errors_of(request: &HttpRequest) -> ErrorShape {
    let shape = match request.match_pattern() {
        Some(pattern) => {
            let format = FORMATS.iter().find(|(route, _)| *route == pattern);
            format.map_or(ErrorShape::Phrase, |(_, shape)| *shape)
        }
        None if request.path().starts_with("/v1/") => ErrorShape::Object,
        None => ErrorShape::Phrase,
    };
    // Anthropic's SDKs call routes that are not theirs alone, such as the list of models, and say their version.
    let is_anthropics = shape == ErrorShape::Object && request.headers().contains_key(ANTHROPICS);
    if is_anthropics { ErrorShape::Anthropic } else { shape }
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
        for route in ["/v1/models/{id:.+}", "/v1/chat/completions", "/v1/messages", "/v1/balance"] {
            app = app.route(route, web::to(shape));
        }
        let app = test::init_service(app).await;
        for (path, expected) in [
            ("/v1/models/gpt-4o", "Object"),
            ("/v1/chat/completions", "Object"),
            ("/v1/messages", "Anthropic"),
            ("/v1/balance", "Phrase"),
            ("/v1/videos", "Object"),
            ("/elsewhere", "Phrase"),
        ] {
            let response = test::call_service(&app, test::TestRequest::with_uri(path).to_request()).await;
            assert_eq!(response.headers().get(header::SERVER).unwrap(), expected, "{path}");
        }
        let models = test::TestRequest::with_uri("/v1/models/x").insert_header((ANTHROPICS, "2023-06-01"));
        let response = test::call_service(&app, models.to_request()).await;
        assert_eq!(response.headers().get(header::SERVER).unwrap(), "Anthropic");
    }
}
