//! The two servers beside the gateway, each a process of its own: the provider that answers at once, and the bare proxy
//! that bills nothing.

use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, web};
use futures::stream;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::streams::{Pace, now};

const ANSWER: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"gpt-4o-mini","choices":[{"index":0,"message":{"role":"assistant","content":"Hello there, how can I help you today?"},"finish_reason":"stop"}],"usage":{"prompt_tokens":12,"completion_tokens":9,"total_tokens":21}}"#;

const STREAM: &[u8] = br#""stream":true"#;

const CHUNKS: &str = r#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-4o-mini","choices":[{"index":0,"delta":{"role":"assistant","content":"Hello"},"finish_reason":null}]}

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-4o-mini","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-4o-mini","choices":[],"usage":{"prompt_tokens":12,"completion_tokens":1,"total_tokens":13}}

data: [DONE]

"#;

/// The largest body: that of an agent's turn.
const LARGEST: usize = 8 << 20;
/// Longer than clients keep connections: one that is closed while a request is on its way fails that request.
const KEEP_ALIVE: Duration = Duration::from_mins(10);

fn serve<F>(configure: F)
where
    F: Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
{
    actix_web::rt::System::new().block_on(async move {
        let server =
            HttpServer::new(move || App::new().app_data(web::PayloadConfig::new(LARGEST)).configure(configure.clone()))
                .keep_alive(KEEP_ALIVE);
        let server = server.bind("127.0.0.1:0").unwrap();
        println!("listening on http://{}", server.addrs()[0]);
        server.run().await.unwrap();
    });
}

/// The provider.
pub(crate) fn upstream() {
    serve(|app| {
        // The body is read: actix-web closes a connection whose request was not.
        let answer = |body: web::Bytes| async move {
            if let Some(pace) = Pace::in_body(&body) {
                return paced(pace);
            }
            if body.windows(STREAM.len()).any(|window| window == STREAM) {
                return HttpResponse::Ok().content_type("text/event-stream").body(CHUNKS);
            }
            HttpResponse::Ok().content_type("application/json").body(ANSWER)
        };
        app.route("/v1/chat/completions", web::post().to(answer));
    });
}

/// A stream whose chunks say when each was sent.
fn paced(Pace { chunks, every }: Pace) -> HttpResponse {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let left = move |(left, mut ticks): (usize, Interval)| async move {
        ticks.tick().await;
        let text = match left {
            0 => return None,
            1 => end(chunks),
            _ => chunk(now()),
        };
        Some((Ok::<_, actix_web::Error>(web::Bytes::from(text)), (left - 1, ticks)))
    };
    HttpResponse::Ok().content_type("text/event-stream").streaming(stream::unfold((chunks + 1, ticks), left))
}

/// The end of a stream of so many chunks, each of about seven tokens.
fn end(chunks: usize) -> String {
    let (_, end) = CHUNKS.split_once("\n\n").unwrap_or_default();
    let (tokens, all) = (7 * chunks, 7 * chunks + 12);
    end.replace(
        r#""completion_tokens":1,"total_tokens":13"#,
        &format!(r#""completion_tokens":{tokens},"total_tokens":{all}"#),
    )
}

fn chunk(text: u64) -> String {
    let delta = format!(r#"{{"index":0,"delta":{{"content":"{text} "}},"finish_reason":null}}"#);
    format!(
        "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"gpt-4o-mini\",\
         \"choices\":[{delta}]}}\n\n"
    )
}

/// The bare proxy to a provider. Its workers share one client, or have one each, which is faster.
pub(crate) fn proxy(to: &str, client_per_worker: bool) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (shared, to) = (reqwest::Client::new(), format!("{to}/v1/chat/completions"));
    // Each worker is configured once.
    serve(move |app| {
        let client = if client_per_worker { reqwest::Client::new() } else { shared.clone() };
        let to = to.clone();
        let forward = move |body: web::Bytes| {
            let request =
                client.post(&to).header("content-type", "application/json").bearer_auth("sk-bench").body(body);
            async move {
                let response = request.send().await.unwrap();
                HttpResponse::Ok().content_type("application/json").body(response.bytes().await.unwrap())
            }
        };
        app.route("/v1/chat/completions", web::post().to(forward));
    });
}
