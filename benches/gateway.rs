//! The cost of billing: closed, non-streamed chat through Farebox (durable hold, call, durable capture, on SQLite)
//! beside a bare actix-web and reqwest proxy, at 64 connections, in short turns on this machine; the time added to the
//! first token; and the memory of accounts. Run with `cargo bench --bench gateway`, which starts itself as the upstream
//! and as the bare proxy.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use actix_web::{App, HttpResponse, HttpServer, web};
use serde_json::{Value, json};

const CONNECTIONS: usize = 64;
/// Short and many turns, because a shared machine changes its speed by the second.
const ROUNDS: usize = 21;
const ROUND: Duration = Duration::from_millis(1_500);
/// The number of streams timed to their first token, each way.
const STREAMS: usize = 500;
/// The number of accounts whose memory is measured, after as many that fill the database's caches.
const ACCOUNTS: usize = 5_000;

/// A child process, killed when the benchmark ends in any way.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a program and reads the address it prints.
fn start(command: &mut Command) -> (Process, String) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.map_while(Result::ok).find(|line| line.starts_with("listening on ")).unwrap();
    (Process(child), line.trim_start_matches("listening on ").to_owned())
}

const ANSWER: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"gpt-4o-mini","choices":[{"index":0,"message":{"role":"assistant","content":"Hello there, how can I help you today?"},"finish_reason":"stop"}],"usage":{"prompt_tokens":12,"completion_tokens":9,"total_tokens":21}}"#;

const STREAM: &[u8] = br#""stream":true"#;

const CHUNKS: &str = r#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-4o-mini","choices":[{"index":0,"delta":{"role":"assistant","content":"Hello"},"finish_reason":null}]}

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-4o-mini","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-4o-mini","choices":[],"usage":{"prompt_tokens":12,"completion_tokens":1,"total_tokens":13}}

data: [DONE]

"#;

fn serve<F>(configure: F)
where
    F: Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
{
    actix_web::rt::System::new().block_on(async move {
        let server = HttpServer::new(move || App::new().configure(configure.clone())).bind("127.0.0.1:0").unwrap();
        println!("listening on http://{}", server.addrs()[0]);
        server.run().await.unwrap();
    });
}

fn upstream() {
    serve(|app| {
        // The body is read: actix-web closes a connection whose request was not.
        let answer = |body: web::Bytes| async move {
            if body.windows(STREAM.len()).any(|window| window == STREAM) {
                return HttpResponse::Ok().content_type("text/event-stream").body(CHUNKS);
            }
            HttpResponse::Ok().content_type("application/json").body(ANSWER)
        };
        app.route("/v1/chat/completions", web::post().to(answer));
    });
}

fn proxy(to: String) {
    serve(move |app| {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (client, to) = (reqwest::Client::new(), format!("{to}/v1/chat/completions"));
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

/// Requests a second, and the median and 99th percentile of their milliseconds.
async fn load(url: &str, key: &str) -> (f64, f64, f64) {
    let body = json!({"model": "gpt-4o-mini", "max_tokens": 64, "messages": [{"role": "user", "content": "Hello, who are you?"}]});
    let (count, mut calls) = (Arc::new(AtomicU64::new(0)), tokio::task::JoinSet::new());
    let (began, client) = (Instant::now(), reqwest::Client::new());
    for _ in 0..CONNECTIONS {
        let request = client.post(format!("{url}/v1/chat/completions")).bearer_auth(key).json(&body);
        let count = Arc::clone(&count);
        calls.spawn(async move {
            let mut times = Vec::new();
            while began.elapsed() < ROUND {
                let sent = Instant::now();
                let response = request.try_clone().unwrap().send().await.unwrap();
                assert_eq!(response.status(), 200);
                response.bytes().await.unwrap();
                times.push(sent.elapsed().as_secs_f64() * 1_000.0);
                count.fetch_add(1, Ordering::Relaxed);
            }
            times
        });
    }
    let mut times = calls.join_all().await.concat();
    times.sort_by(f64::total_cmp);
    #[expect(clippy::cast_precision_loss, reason = "counts of a benchmark")]
    let rate = count.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64();
    (rate, times[times.len() / 2], times[times.len() * 99 / 100])
}

fn memory_kib(process: &Process, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.0.id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap_or(0)
}

/// Processor time a process has used, in seconds. Linux counts it in hundredths (`proc_pid_stat(5)`).
fn processor(process: &Process) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.0.id())).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |field: usize| fields.get(field).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

/// Requests a second beside the bare proxy's.
async fn throughput((proxy, bare): (&Process, &str), (farebox, gateway): (&Process, &str), key: &str) {
    let microseconds = |used: f64, rate: f64| used / (rate * ROUND.as_secs_f64()) * 1e6;
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        (values[values.len() / 2], values[0], values[values.len() - 1])
    };
    let (mut ratios, mut ours, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    load(gateway, key).await;
    for round in 1..=ROUNDS {
        let (bare_before, before) = (processor(proxy), processor(farebox));
        let (bare_rate, bare_p50, bare_p99) = load(bare, "sk-bench").await;
        let (rate, p50, p99) = load(gateway, key).await;
        theirs.push(microseconds(processor(proxy) - bare_before, bare_rate));
        ours.push(microseconds(processor(farebox) - before, rate));
        ratios.push(rate / bare_rate);
        println!(
            "round {round}: bare proxy {bare_rate:.0}/s (p50 {bare_p50:.1}, p99 {bare_p99:.1} ms), farebox {rate:.0}/s (p50 \
             {p50:.1}, p99 {p99:.1} ms), ratio {:.2}",
            rate / bare_rate
        );
    }
    println!("processor a request, medians: bare proxy {:.0} us, farebox {:.0} us", median(theirs).0, median(ours).0);
    let (ratio, least, most) = median(ratios);
    println!("requests a second, ratio, median of {ROUNDS} rounds: {ratio:.2} (least {least:.2}, most {most:.2})");
    println!("memory after load: {} KiB, at most {} KiB", memory_kib(farebox, "VmRSS"), memory_kib(farebox, "VmHWM"));
}

/// What the gateway adds to the time to the first token, one stream at a time.
async fn first_token(upstream: &str, gateway: &str, key: &str) {
    let client = reqwest::Client::new();
    let body = json!({"model": "gpt-4o-mini", "stream": true, "max_tokens": 64, "messages": [{"role": "user", "content": "Hello, who are you?"}]});
    let (mut direct, mut through) = (Vec::new(), Vec::new());
    for _ in 0..STREAMS {
        for (url, times) in [(upstream, &mut direct), (gateway, &mut through)] {
            let sent = Instant::now();
            let request = client.post(format!("{url}/v1/chat/completions")).bearer_auth(key).json(&body);
            let mut response = request.send().await.unwrap();
            assert_eq!(response.status(), 200);
            assert!(response.chunk().await.unwrap().is_some());
            times.push(sent.elapsed().as_secs_f64() * 1_000.0);
            while response.chunk().await.unwrap().is_some() {}
        }
    }
    direct.sort_by(f64::total_cmp);
    through.sort_by(f64::total_cmp);
    let at = |place: usize| through[STREAMS * place / 100] - direct[STREAMS * place / 100];
    println!("time to first token, added: {:.2} ms at the median, {:.2} ms at the 99th percentile", at(50), at(99));
}

async fn orchestrate() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let own = std::env::current_exe().unwrap();
    let (_upstream, upstream) = start(Command::new(&own).arg("upstream"));
    let (proxy, bare) = start(Command::new(&own).args(["proxy", &upstream]));
    let folder = std::env::temp_dir().join(format!("farebox-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (farebox, gateway) = start(
        Command::new(env!("CARGO_BIN_EXE_farebox"))
            .arg("serve")
            .current_dir(&folder)
            .env("FAREBOX_LISTEN", "127.0.0.1:0")
            .env("FAREBOX_ADMIN_TOKEN", "a-token-for-the-benchmark-alone-000000")
            .env("FAREBOX_LOG__LEVEL", "warn")
            .env("FAREBOX_PROVIDERS__OPENAI__API_KEY", "sk-bench")
            .env("FAREBOX_PROVIDERS__OPENAI__BASE_URL", format!("{upstream}/v1")),
    );
    println!("idle memory without a model: {} KiB", memory_kib(&farebox, "VmRSS"));
    let client = reqwest::Client::new();
    let admin = async |path: String, body: Value| -> Value {
        let request =
            client.post(format!("{gateway}/admin/v1/{path}")).bearer_auth("a-token-for-the-benchmark-alone-000000");
        request.json(&body).send().await.unwrap().json().await.unwrap()
    };
    let account = admin("accounts".into(), json!({"email": "bench@example.com", "plan": "payg"})).await;
    let id = account["id"].as_str().unwrap();
    admin(format!("accounts/{id}/grants"), json!({"source": "promo", "amount": "1000"})).await;
    let key = admin(format!("accounts/{id}/keys"), json!({})).await["key"].as_str().unwrap().to_owned();
    throughput((&proxy, &bare), (&farebox, &gateway), &key).await;
    first_token(&upstream, &gateway, &key).await;
    let mut resident = Vec::new();
    for account in 0..2 * ACCOUNTS {
        if account % ACCOUNTS == 0 {
            resident.push(memory_kib(&farebox, "VmRSS"));
        }
        let account =
            admin("accounts".into(), json!({"email": format!("{account}@example.com"), "plan": "payg"})).await;
        let id = account["id"].as_str().unwrap();
        let key = admin(format!("accounts/{id}/keys"), json!({})).await["key"].as_str().unwrap().to_owned();
        let balance = client.get(format!("{gateway}/v1/balance")).bearer_auth(key).send().await.unwrap();
        assert_eq!(balance.status(), 200);
    }
    let grown = memory_kib(&farebox, "VmRSS").saturating_sub(resident[1]) * 1_024;
    println!("memory of an account that was just used: {} bytes (of {ACCOUNTS})", grown / ACCOUNTS as u64);
    let audit = admin("audit".into(), json!({})).await;
    println!("audit: ok {}, {} requests, {} open holds", audit["ok"], audit["requests"], audit["open_holds"]);
    assert_eq!(audit["ok"], true, "{audit}");
    drop(farebox);
    let _ = std::fs::remove_dir_all(&folder);
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["upstream"] => upstream(),
        ["proxy", to] => proxy((*to).to_owned()),
        _ => tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(orchestrate()),
    }
}
