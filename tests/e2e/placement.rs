//! Open models that share memory: they take turns in it, none is taken out while it runs or is pinned, operators load and
//! unload them without a failed request, and what can't be loaded costs nothing and harms no other.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    open,
    support::{
        client::{Answer, Customer},
        server::{Options, Server},
        shared_folder, temporary,
        tiny::Tiny,
        with,
    },
};

const CHAT: &str = "/v1/chat/completions";
const REAL: &str = open::MODEL;

/// The demo model and two small ones, imported once.
fn models() -> &'static Path {
    static MODELS: OnceLock<PathBuf> = OnceLock::new();
    MODELS.get_or_init(|| {
        let folder = shared_folder("placement-models");
        copy(&open::models().join(REAL), &folder.join(REAL));
        for name in ["tiny", "other"] {
            let file = folder.join(format!(".{name}.gguf"));
            std::fs::write(&file, Tiny::new().bytes()).unwrap();
            let import = Command::new(env!("CARGO_BIN_EXE_farebox"))
                .args(["models", "import", "--name", name])
                .arg(&file)
                .env("FAREBOX_RUNTIME__MODELS_DIR", &folder)
                .output()
                .unwrap();
            assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
        }
        folder
    })
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

async fn options() -> Options {
    let models = tokio::task::spawn_blocking(models).await.unwrap();
    let library = open::cached("onnxruntime/1.31.1/libonnxruntime.so");
    Options::default()
        .set("FAREBOX_RUNTIME__MODELS_DIR", models.to_str().unwrap())
        .set("FAREBOX_RUNTIME__ONNXRUNTIME", library.to_str().unwrap())
        .set("FAREBOX_RUNTIME__CACHE_MIB", "64")
        .set("FAREBOX_FAULTS", "true")
}

struct Stage {
    server: Server,
    customer: Customer,
}

impl Stage {
    async fn new(options: Options) -> Self {
        let server = Server::start(options).await;
        let customer = server.admin().customer("payg", "5").await;
        Self { server, customer }
    }

    /// With memory of so many bytes.
    async fn of(bytes: u64, more: &[(&str, &str)]) -> Self {
        let options = options().await.set("FAREBOX_POOLS__DEVICE", &format!("cpu {bytes}"));
        Self::new(more.iter().fold(options, |options, (name, value)| options.set(name, value))).await
    }

    async fn ask(&self, model: &str, more: &Value) -> Answer {
        self.customer.api.post(CHAT, &body(model, more)).await
    }

    /// The milliseconds that a request waited for its model, and its text.
    async fn answered(&self, model: &str) -> (f64, Value) {
        let answer = self.ask(model, &json!({})).await;
        let text = answer.ok()["choices"][0]["message"]["content"].clone();
        (answer.timing().1[3], text)
    }

    async fn act(&self, act: &str, model: &str) -> Answer {
        self.server.admin().0.post(&format!("/admin/v1/models/{model}/{act}"), &json!({})).await
    }

    async fn status(&self, model: &str) -> Value {
        self.customer.api.get(&format!("/v1/models/{model}/status")).await.ok()
    }

    async fn pools(&self) -> Value {
        self.server.admin().0.get("/admin/v1/pools").await.ok()
    }

    /// A model, as operators see it.
    async fn seen(&self, model: &str) -> Value {
        let pools = self.pools().await;
        let found = pools["models"].as_array().unwrap().iter().find(|seen| seen["id"] == model);
        found.cloned().unwrap_or(Value::Null)
    }

    /// Waits until a model has this state.
    async fn becomes(&self, model: &str, state: &str) -> Value {
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            let status = self.status(model).await;
            if status["state"] == state {
                return status;
            }
            assert!(Instant::now() < deadline, "{status}\n{}", self.server.logs());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The requests on record.
    async fn records(&self) -> Vec<Value> {
        self.customer.api.get("/v1/requests").await.ok()["data"].as_array().unwrap().clone()
    }

    async fn spent_nothing(&self) {
        assert_eq!(self.customer.api.get("/v1/balance").await.ok()["available"], "10.00");
        self.server.admin().assert_audit().await;
    }
}

fn body(model: &str, more: &Value) -> Value {
    let messages = json!([{"role": "user", "content": "Name three colors."}]);
    with(&json!({"model": model, "temperature": 0, "max_tokens": 6, "messages": messages}), more)
}

fn long() -> Value {
    let messages = json!([{"role": "user", "content": "Write a very long story about a lighthouse."}]);
    json!({"stream": true, "max_tokens": 160, "messages": messages, "logit_bias": {"2": -100, "0": -100}})
}

/// The bytes that models need, as a server with room for all of them says.
async fn bytes() -> (u64, u64) {
    static BYTES: tokio::sync::OnceCell<(u64, u64)> = tokio::sync::OnceCell::const_new();
    let measured = async || {
        let stage = Stage::new(options().await).await;
        let mut found = Vec::new();
        for model in [REAL, "tiny"] {
            assert_eq!(stage.act("load", model).await.ok()["done"], "loading");
            stage.becomes(model, "warm").await;
            let seen = stage.seen(model).await;
            assert_eq!((&seen["device"], &seen["pinned"]), (&json!("cpu"), &json!(false)), "{seen}");
            found.push(seen["bytes"].as_u64().unwrap());
        }
        let pools = stage.pools().await;
        assert_eq!(pools["devices"][0]["used_bytes"], found[0] + found[1], "{pools}");
        assert!(pools["devices"][0]["memory_bytes"].as_u64() > Some(found[0] + found[1]), "{pools}");
        (found[0], found[1])
    };
    *BYTES.get_or_init(measured).await
}

#[tokio::test]
async fn two_models_with_memory_for_one_take_turns_and_answer_as_alone() {
    let (real, tiny) = bytes().await;
    let stage = Stage::of(real + tiny - 1, &[("FAREBOX_POOLS__WAIT_SECONDS", "1")]).await;
    let before = stage.status("tiny").await;
    assert_eq!((&before["state"], &before["expected_load_ms"]), (&json!("cold"), &Value::Null), "{before}");
    let (first, second) = (stage.answered(REAL).await, stage.answered("tiny").await);
    assert!(first.0 > 0.0 && second.0 > 0.0, "both were loaded for it");
    for _ in 0..2 {
        for (model, told) in [(REAL, &first), ("tiny", &second)] {
            let again = stage.answered(model).await;
            assert!(again.0 > 0.0, "{model} had been taken out");
            assert_eq!(again.1, told.1, "a model that was loaded anew answers as before");
            let pools = stage.pools().await;
            let warm = pools["models"].as_array().unwrap().iter().filter(|seen| seen["state"] == "warm").count();
            assert_eq!(warm, 1, "{pools}");
            assert!(pools["devices"][0]["used_bytes"].as_u64() < Some(real + tiny), "{pools}");
        }
    }
    let status = stage.status("tiny").await;
    assert_eq!((&status["state"], &status["expected_load_from"]), (&json!("warm"), &json!("measured")), "{status}");
    assert!(status["time_to_first_token_ms"].as_f64() > Some(0.0), "{status}");
    assert_eq!((&status["place_in_queue"], &status["device"]), (&json!(0), &json!("cpu")), "{status}");
    assert!(stage.status(REAL).await["tokens_per_second"].as_f64() > Some(0.0));

    // Pinned, it is never taken out: who waits for the memory waits in vain, and pays nothing.
    assert_eq!(stage.act("pin", REAL).await.ok()["done"], "loading");
    stage.becomes(REAL, "warm").await;
    let records = stage.records().await.len();
    let refused = stage.ask("tiny", &json!({})).await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (503, &json!("overloaded")), "{}", refused.body);
    assert!(refused.header("retry-after").is_some());
    assert_eq!(stage.act("pin", "tiny").await.status, 409);
    assert_eq!(stage.act("unload", REAL).await.status, 409);
    assert!(stage.answered(REAL).await.0 < f64::EPSILON, "it stayed");
    let settled = stage.customer.settled(records + 2).await;
    let failed: Vec<_> = settled.iter().filter(|record| record["ending"] == "failed").collect();
    assert_eq!((failed.len(), &failed[0]["cost"]), (1, &json!("0.00")), "{failed:?}");
    assert_eq!(stage.act("unpin", REAL).await.ok()["done"], "unpinned");
    assert_eq!(stage.answered("tiny").await.1, second.1);
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn operators_take_models_out_and_no_request_fails_of_it() {
    let stage = Stage::new(options().await).await;
    for act in ["unload", "drain"] {
        let request = stage.customer.api.request(reqwest::Method::POST, CHAT).json(&body(REAL, &long()));
        let mut stream = request.send().await.unwrap();
        let mut told = stream.chunk().await.unwrap().unwrap().to_vec();
        let acted = stage.act(act, REAL).await.ok();
        assert_eq!((&acted["done"], &acted["finishing"]), (&json!("finishing"), &json!(1)), "{acted}");
        while let Some(piece) = stream.chunk().await.unwrap() {
            told.extend_from_slice(&piece);
        }
        let told = String::from_utf8(told).unwrap();
        assert!(told.contains("data: [DONE]") && !told.contains("\"error\""), "{told}");
        let gone = if act == "unload" { "cold" } else { "unavailable" };
        stage.becomes(REAL, gone).await;
        let until = Instant::now() + Duration::from_secs(30);
        while stage.pools().await["devices"][0]["used_bytes"] != 0 {
            assert!(Instant::now() < until, "{}", stage.pools().await);
        }
        if act == "unload" {
            assert!(stage.answered(REAL).await.0 > 0.0, "the next request loads it again");
        }
    }
    let refused = stage.ask(REAL, &json!({})).await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (503, &json!("not_ready")), "{}", refused.body);
    let listed = stage.customer.api.get(&format!("/v1/models/{REAL}")).await.ok();
    assert_eq!((&listed["available"], &listed["state"]), (&json!(false), &json!("unavailable")), "{listed}");
    // The same from the command line, which waits until it is loaded.
    let cli = |arguments: &[&str]| {
        let output = stage.server.cli(arguments);
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    assert_eq!(cli(&["models", "load", REAL]).0, Some(0));
    assert_eq!(stage.status(REAL).await["state"], "warm");
    assert!(stage.answered(REAL).await.0 < f64::EPSILON);
    let (code, said) = cli(&["models", "status"]);
    assert!(code == Some(0) && said.contains(REAL) && said.contains("warm") && said.contains("cpu"), "{said}");
    assert_eq!(cli(&["models", "pin", "tiny"]).0, Some(0));
    assert_eq!(stage.seen("tiny").await["pinned"], true);
    let (code, said) = cli(&["models", "unload", "tiny"]);
    assert!(code != Some(0) && said.contains("pinned"), "{said}");
    assert_eq!(cli(&["models", "unpin", "tiny"]).0, Some(0));
    assert_eq!(cli(&["models", "drain", "tiny"]).0, Some(0));
    let (code, said) = cli(&["models", "load", "nobody"]);
    assert!(code != Some(0) && said.contains("nobody"), "{said}");
    assert_eq!(stage.act("load", "gpt-4o-mini").await.status, 400, "a provider's");
    assert_eq!(stage.act("reload", "tiny").await.ok()["done"], "cold", "it is not in memory");
    stage.customer.settled(4).await;
    assert!(stage.records().await.iter().all(|record| record["ending"] == "completed"));
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_model_that_is_larger_than_the_memory_is_refused_before_anything_is_held() {
    let (_, tiny) = bytes().await;
    let stage = Stage::of(tiny, &[]).await;
    let refused = stage.ask(REAL, &json!({})).await;
    let said = refused.json();
    assert_eq!((refused.status, &said["error"]["code"]), (503, &json!("not_ready")), "{said}");
    let message = said["error"]["message"].as_str().unwrap();
    assert!(message.contains(REAL) && message.contains("MiB"), "{message}");
    assert!(stage.records().await.is_empty(), "nothing was held");
    let status = stage.status(REAL).await;
    assert_eq!((&status["state"], &status["why"]), (&json!("unavailable"), &json!(message)), "{status}");
    let listed = stage.customer.api.get("/v1/models").await.ok();
    let listed = listed["data"].as_array().unwrap().iter().find(|model| model["id"] == REAL).unwrap().clone();
    assert_eq!((&listed["available"], &listed["why"]), (&json!(false), &json!(message)), "{listed}");
    assert_eq!(stage.act("load", REAL).await.status, 409);
    stage.spent_nothing().await;
    assert!(stage.answered("tiny").await.0 > 0.0, "what fits is served");
}

#[tokio::test]
async fn a_model_that_can_not_be_loaded_is_left_alone_for_a_while_and_costs_nothing() {
    let folder = temporary("broken-models");
    let good = tokio::task::spawn_blocking(models).await.unwrap();
    for name in ["broken", "gone", "tiny"] {
        copy(&good.join(if name == "tiny" { "tiny" } else { "other" }), &folder.join(name));
        let card = folder.join(name).join("farebox.json");
        let mut text: Value = serde_json::from_slice(&std::fs::read(&card).unwrap()).unwrap();
        // A name as organisations have them.
        text["id"] = json!(if name == "tiny" { "org/tiny" } else { name });
        std::fs::write(&card, text.to_string()).unwrap();
    }
    // As long as it was, and no model.
    let file = folder.join("broken/model.onnx");
    let length = std::fs::metadata(&file).unwrap().len();
    std::fs::write(&file, vec![7; usize::try_from(length).unwrap()]).unwrap();
    let stage = Stage::new(options().await.set("FAREBOX_RUNTIME__MODELS_DIR", folder.to_str().unwrap())).await;
    let first = stage.ask("broken", &json!({})).await;
    assert_eq!(first.status, 500, "{}", first.body);
    let second = stage.ask("broken", &json!({})).await;
    assert_eq!((second.status, &second.json()["error"]["code"]), (503, &json!("overloaded")), "{}", second.body);
    assert!(second.header("retry-after").is_some());
    assert_eq!(stage.server.logs().matches("model loads").count(), 1, "it was not tried again");
    let status = stage.status("broken").await;
    assert!(status["retry_after_seconds"].as_u64() > Some(0) && status["state"] == "failed", "{status}");
    assert_eq!(stage.server.get("/readyz").await.status, 200, "one broken model is no reason");
    // Its files are gone behind its back.
    stage.status("gone").await;
    std::fs::remove_file(folder.join("gone/model.onnx_data")).unwrap();
    let gone = stage.ask("gone", &json!({})).await;
    assert_eq!(gone.status, 500, "{}", gone.body);
    stage.server.says("import it anew").await;
    stage.spent_nothing().await;
    assert!(stage.answered("org/tiny").await.0 > 0.0, "the others go on");
    assert_eq!(stage.status("org/tiny").await["state"], "warm");
    assert_eq!(stage.act("unload", "org/tiny").await.ok()["act"], "unload");
    std::fs::remove_dir_all(&folder).unwrap();
    // Loaded or not, a model whose folder is gone is none.
    assert_eq!(stage.ask("org/tiny", &json!({})).await.status, 404);
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn models_of_the_settings_are_there_at_the_start_and_idle_ones_go() {
    let options = options().await.set("FAREBOX_POOLS__PRELOAD", "tiny,nobody").set("FAREBOX_POOLS__PIN", "other");
    let stage = Stage::new(options.set("FAREBOX_POOLS__IDLE_SECONDS", "2")).await;
    stage.becomes("other", "warm").await;
    stage.becomes("tiny", "cold").await;
    stage.server.says("nobody").await;
    let logs = stage.server.logs();
    assert_eq!(logs.matches("model loaded").count(), 2, "{logs}");
    let (loaded, _) = stage.answered("other").await;
    assert!(loaded < f64::EPSILON, "it was warm before the first request: {loaded}");
    assert_eq!(stage.seen("other").await["pinned"], true);
}

#[tokio::test]
async fn an_engine_that_hangs_makes_readiness_red_and_nothing_that_waits_behind_it_is_charged() {
    let options = options().await.set("FAREBOX_POOLS__QUEUE_SECONDS", "1").set("FAREBOX_RUNTIME__SEQUENCES", "1");
    let stage = Stage::new(options).await;
    stage.answered("tiny").await;
    let faults = async |hang: u64| stage.server.admin().0.post("/admin/v1/faults", &json!({"hang": hang})).await.ok();
    faults(120_000).await;
    let (api, asked) = (stage.customer.api.clone(), body("tiny", &json!({})));
    let running = tokio::spawn(async move { api.post(CHAT, &asked).await });
    let readyz = async |status: u16| {
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            let answer = stage.server.get("/readyz").await;
            if answer.status == status {
                return answer.json()["message"].as_str().unwrap_or_default().to_owned();
            }
            assert!(Instant::now() < deadline, "{}\n{}", answer.body, stage.server.logs());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let why = readyz(503).await;
    assert!(why.contains("tiny") && why.contains("no progress"), "{why}");
    let actors = stage.server.admin().actors().await;
    let engine = actors["actors"].as_array().unwrap().iter().find(|actor| actor["kind"] == "engine").unwrap().clone();
    assert_eq!((&engine["verdict"], &engine["name"]), (&json!("down"), &json!("tiny")), "{engine}");
    assert!(stage.seen("tiny").await["why"].as_str().unwrap().contains("no progress"));
    // One that its engine never begins is given up.
    let late = stage.ask("tiny", &json!({})).await;
    assert_eq!((late.status, &late.json()["error"]["code"]), (503, &json!("overloaded")), "{}", late.body);
    assert!(!running.is_finished(), "one that has begun is not");
    faults(0).await;
    let ran = running.await.unwrap();
    assert_eq!(ran.ok()["usage"]["completion_tokens"].as_u64().map(|tokens| tokens > 0), Some(true));
    readyz(200).await;
    let records = stage.customer.settled(3).await;
    let late: Vec<_> = records.iter().filter(|record| record["ending"] == "failed").collect();
    assert_eq!((late.len(), &late[0]["cost"]), (1, &json!("0.00")), "{records:?}");
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_client_that_leaves_while_its_model_loads_pays_nothing_and_frees_its_place() {
    let (real, tiny) = bytes().await;
    let stage = Stage::of(real + tiny - 1, &[]).await;
    assert_eq!(stage.act("pin", "tiny").await.ok()["done"], "loading");
    let (api, asked) = (stage.customer.api.clone(), body(REAL, &json!({})));
    let asked = tokio::spawn(async move { api.post(CHAT, &asked).await });
    let until = Instant::now() + Duration::from_mins(1);
    while stage.seen(REAL).await["waiting"] != 1 {
        assert!(Instant::now() < until, "{}", stage.pools().await);
    }
    assert_eq!(stage.status(REAL).await["load"]["phase"], "waiting");
    asked.abort();
    let records = stage.customer.settled(1).await;
    assert_eq!((&records[0]["ending"], &records[0]["cost"]), (&json!("client_left"), &json!("0.00")), "{records:?}");
    assert_eq!(stage.seen(REAL).await["waiting"].as_u64().unwrap_or(0), 0);
    stage.spent_nothing().await;
}

#[tokio::test]
async fn a_model_that_an_operator_pinned_is_pinned_at_the_next_start() {
    let mut stage = Stage::new(options().await).await;
    stage.act("pin", "tiny").await.ok();
    let pinned = async |stage: &Stage| {
        let deadline = Instant::now() + Duration::from_mins(1);
        while stage.seen("tiny").await["state"] != "warm" {
            assert!(Instant::now() < deadline, "{}\n{}", stage.pools().await, stage.server.logs());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        stage.seen("tiny").await["pinned"].clone()
    };
    assert_eq!(pinned(&stage).await, true);
    stage.server.restart().await;
    assert_eq!(pinned(&stage).await, true, "nobody asked for it since the start");
    assert_eq!(stage.act("unpin", "tiny").await.ok()["done"], "unpinned");
    stage.server.restart().await;
    // A model that is loaded at the start would be known before the server answers for another.
    stage.act("load", "other").await.ok();
    assert_eq!(stage.seen("tiny").await, Value::Null);
}

#[tokio::test]
async fn models_are_loaded_anew_while_they_run_and_no_request_fails_of_it() {
    let stage = Stage::new(options().await).await;
    stage.answered(REAL).await;
    let before = stage.customer.settled(1).await.len();
    let restart = async |actor: &str| {
        let wanted = json!({"actor": actor, "reason": "to see it"});
        stage.server.admin().0.post("/admin/v1/actors/restart", &wanted).await
    };
    for round in 0..3 {
        let request = stage.customer.api.request(reqwest::Method::POST, CHAT).json(&body(REAL, &long()));
        let mut stream = request.send().await.unwrap();
        let mut told = stream.chunk().await.unwrap().unwrap().to_vec();
        match round {
            0 => {
                let acted = stage.act("reload", REAL).await.ok();
                assert_eq!((&acted["done"], &acted["finishing"]), (&json!("finishing"), &json!(1)), "{acted}");
            }
            1 => assert_eq!(restart(&format!("engine {REAL}")).await.ok()["done"], "restarted"),
            _ => assert_eq!(restart("pool").await.ok()["done"], "restarted"),
        }
        // What comes meanwhile waits for the other life.
        let plain = json!({});
        let (asked, ()) = tokio::join!(stage.ask(REAL, &plain), async {
            while let Some(piece) = stream.chunk().await.unwrap() {
                told.extend_from_slice(&piece);
            }
        });
        assert_eq!(asked.status, 200, "{}", asked.body);
        let told = String::from_utf8(told).unwrap();
        assert!(told.contains("data: [DONE]") && !told.contains("\"error\""), "{told}");
        stage.becomes(REAL, "warm").await;
    }
    let records = stage.customer.settled(before + 6).await;
    assert!(records.iter().all(|record| record["ending"] == "completed"), "{records:?}");
    let (output, wanted) = (stage.server.cli(&["models", "reload", REAL]), stage.status(REAL).await);
    assert!(output.status.success(), "{output:?} {wanted}");
    let refused = restart("engine nobody").await;
    assert!(refused.status == 404 || refused.status == 400, "{}", refused.body);
    stage.server.admin().assert_audit().await;
}
