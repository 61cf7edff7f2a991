//! The catalogue of open models, from a hub to an answer: models are pulled by the real binary from a strict stand-in for a
//! hub, imported, served by the server that runs, listed with where they came from, held against their checksums, and
//! removed while they answer.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::{
    open::cached,
    support::{
        client::Customer,
        fake_hub::{COMMIT, FakeHub, Misdeed, Open},
        hugging::{DATA, Hugging, Lie},
        server::{Options, Server},
        temporary,
        tiny::Tiny,
        with,
    },
};

const TOKEN: &str = "hf_the-token-of-the-tests";
const CHAT: &str = "/v1/chat/completions";

/// A hub, and a models folder.
struct Place {
    hub: FakeHub,
    models: PathBuf,
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.models);
    }
}

impl Place {
    fn new() -> Self {
        let hub = FakeHub::start(Some(TOKEN), true);
        Self { hub, models: temporary("catalogue") }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_farebox"));
        command.arg("models").args(arguments).env("FAREBOX_RUNTIME__MODELS_DIR", &self.models);
        command.env("FAREBOX_RUNTIME__ONNXRUNTIME", cached("onnxruntime/1.31.1/libonnxruntime.so"));
        command.env("HF_ENDPOINT", self.hub.url()).env_remove("HF_TOKEN");
        command
    }

    fn run(&self, arguments: &[&str]) -> (bool, String) {
        told(&self.command(arguments).output().unwrap())
    }

    /// What a command that must go well prints as JSON.
    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.command(arguments).arg("--json").output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", told(&output).1);
        serde_json::from_slice(&output.stdout).unwrap()
    }

    async fn serve(&self) -> (Server, Customer) {
        let library = cached("onnxruntime/1.31.1/libonnxruntime.so");
        let options = Options::default()
            .set("FAREBOX_RUNTIME__MODELS_DIR", self.models.to_str().unwrap())
            .set("FAREBOX_RUNTIME__ONNXRUNTIME", library.to_str().unwrap());
        let server = Server::start(options).await;
        let customer = server.admin().customer("payg", "5").await;
        (server, customer)
    }
}

fn told(output: &Output) -> (bool, String) {
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

fn gguf() -> Vec<u8> {
    Tiny::new().quantized().bytes()
}

/// The files of the small model as a hub has them, with a graph in the folder `onnx`.
fn graph(model: &[u8], more: &[(&'static str, Vec<u8>)]) -> Vec<(&'static str, Vec<u8>)> {
    let place = Place::new();
    let file = temporary("seed").with_extension("gguf");
    fs::write(&file, Tiny::new().bytes()).unwrap();
    let (is_imported, said) = place.run(&["import", "--name", "seed", file.to_str().unwrap()]);
    assert!(is_imported, "{said}");
    fs::remove_file(&file).unwrap();
    let names = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"];
    let mut files: Vec<_> = names.map(|name| (name, fs::read(place.models.join("seed").join(name)).unwrap())).into();
    files.push(("onnx/model.onnx", model.to_vec()));
    files.push(("model.safetensors", b"not read".to_vec()));
    files.extend(more.iter().cloned());
    files
}

fn ask(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "x"}], "max_tokens": 3, "temperature": 0})
}

#[tokio::test]
async fn a_pulled_model_is_served_by_the_server_that_runs_and_says_where_it_came_from() {
    let place = Place::new();
    place.hub.put(
        "o/m-GGUF",
        Open::ToAll,
        &[("README.md", b"#".to_vec()), ("M-Q8_0.gguf", gguf()), ("M-F32.gguf", Tiny::new().bytes())],
    );
    let (server, customer) = place.serve().await;
    // Several models want a choice, which is told with their sizes.
    let (is_pulled, said) = place.run(&["pull", "hf:o/m-GGUF"]);
    assert!(!is_pulled && said.contains(":M-F32.gguf") && said.contains("kB"), "{said}");
    let (is_pulled, said) = place.run(&["pull", "hf:o/m-GGUF:Q8_0"]);
    assert!(is_pulled && said.contains("imported m-q8_0") && said.contains("next request"), "{said}");
    let answer = customer.api.post(CHAT, &ask("m-q8_0")).await;
    assert_eq!(answer.ok()["usage"]["completion_tokens"], 3);
    assert_eq!(answer.header("x-farebox-billed-seconds"), Some("1"));
    assert_eq!(customer.record(&answer).await["provider"], "farebox");
    let listed = &place.json(&["list"])[0];
    assert_eq!(
        (&listed["id"], &listed["class"], &listed["form"]),
        (&json!("m-q8_0"), &json!("7B"), &json!("cpu, 8-bit activations"))
    );
    assert_eq!(listed["from"], format!("hf:o/m-GGUF@{}", &COMMIT[..12]));
    assert_eq!(
        (&listed["source"]["commit"], &listed["source"]["files"][0]["name"]),
        (&json!(COMMIT), &json!("M-Q8_0.gguf"))
    );
    assert!(listed["accuracy"]["same_first"].as_f64().unwrap() >= 0.95 && listed["bytes"].as_u64().unwrap() > 10_000);
    // Nothing of the download is left, and pulling it again is no error and asks for no file.
    assert!(
        fs::read_dir(place.models.join(".pull")).unwrap().all(|entry| entry.unwrap().file_type().unwrap().is_file())
    );
    place.hub.asked();
    assert_eq!(place.json(&["pull", "hf:o/m-GGUF:Q8_0"])["told"], "is here already");
    assert_eq!(place.hub.asked().len(), 1);
    let (is_pulled, said) = place.run(&["pull", "hf:o/m-GGUF:F32", "--name", "m-q8_0"]);
    assert!(!is_pulled && said.contains("is another"), "{said}");
    assert_eq!(place.json(&["pull", "hf:o/m-GGUF:F32", "--class", "15B"])["class"], "15B");
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_graph_of_a_hub_is_pulled_with_its_weights_and_streams_its_answers() {
    let place = Place::new();
    let (model, data) = Hugging::apart(&Tiny::new(), DATA);
    place.hub.put("o/Some-Model-ONNX", Open::Private, &graph(&model, &[("onnx/model.onnx_data", data)]));
    let (is_pulled, said) = place.run(&["pull", "hf:o/Some-Model-ONNX"]);
    assert!(!is_pulled && said.contains("HF_TOKEN"), "{said}");
    let output = place.command(&["pull", "hf:o/Some-Model-ONNX"]).env("HF_TOKEN", TOKEN).output().unwrap();
    let (is_pulled, said) = told(&output);
    assert!(is_pulled && said.contains("one sequence at a time"), "{said}");
    assert!(!said.contains(TOKEN) && place.hub.leaked().is_empty());
    let listed = &place.json(&["list"])[0];
    assert_eq!((&listed["id"], &listed["form"]), (&json!("some-model-onnx"), &json!("cpu, as exported")));
    assert_eq!(listed["source"]["files"].as_array().unwrap().len(), 6, "{listed}");
    let (server, customer) = place.serve().await;
    let body = with(&ask("some-model-onnx"), &json!({"stream": true, "stream_options": {"include_usage": true}}));
    let answer = customer.api.post(CHAT, &body).await;
    assert!(answer.status == 200 && answer.body.contains("\"completion_tokens\":3"), "{}", answer.body);
    // Several at once take turns, and each is answered as it would be alone.
    let whole = customer.api.post(CHAT, &ask("some-model-onnx")).await.ok()["choices"].clone();
    let asked = (0..4).map(|_| {
        let api = customer.api.clone();
        tokio::spawn(async move { api.post(CHAT, &ask("some-model-onnx")).await.ok()["choices"].clone() })
    });
    for asked in asked.collect::<Vec<_>>() {
        assert_eq!(asked.await.unwrap(), whole);
    }
    assert_eq!(customer.settled(6).await.len(), 6);
    assert!(customer.settled(6).await.iter().all(|record| record["billed_seconds"] == 1));
    assert!(place.run(&["check"]).1.contains("by the arithmetic that it came with"));
    server.admin().assert_audit().await;
}

#[test]
fn a_pull_that_was_cut_goes_on_and_a_damaged_file_is_never_imported() {
    let place = Place::new();
    place.hub.put("o/m", Open::ToAll, &[("m.gguf", gguf())]);
    place.hub.script(Misdeed::CutAt(4_000));
    let (is_pulled, said) = place.run(&["pull", "hf:o/m"]);
    assert!(is_pulled && said.contains("trying again"), "{said}");
    let ranges: Vec<_> = place.hub.asked().into_iter().filter_map(|asked| asked.range).collect();
    assert_eq!(ranges, ["bytes=4000-"; 2], "hub and store");
    assert!(place.run(&["remove", "m"]).0);
    place.hub.script(Misdeed::OtherBytes);
    let (is_pulled, said) = place.run(&["pull", "hf:o/m"]);
    assert!(!is_pulled && said.contains("damaged") && said.contains("sha256:"), "{said}");
    assert!(!place.models.join("m").exists());
    // What is no model at all is downloaded, told, and no model afterwards.
    place.hub.put("o/bad", Open::ToAll, &[("bad.gguf", b"GGUF but not really".repeat(100))]);
    let (is_pulled, said) = place.run(&["pull", "hf:o/bad"]);
    assert!(!is_pulled && said.contains("can't import") && !said.contains("panicked"), "{said}");
    // Names that would leave the folder, and more than one pull may take.
    place.hub.put("o/evil", Open::ToAll, &[("../../evil.gguf", gguf())]);
    assert!(place.run(&["pull", "hf:o/evil"]).1.contains("can't be kept here by its name"));
    let large = Open::ToAll;
    place.hub.put("o/large", large, &[("m.gguf", gguf())]);
    place.hub.tell_size("o/large", 3 << 30);
    let output = place.command(&["pull", "hf:o/large"]).env("FAREBOX_HUB__MOST_GIB", "2").output().unwrap();
    assert!(told(&output).1.contains("hub.most_gib"), "{}", told(&output).1);
    place.hub.tell_size("o/large", 1 << 60);
    let output = place.command(&["pull", "hf:o/large"]).env("FAREBOX_HUB__MOST_GIB", "1048576").output().unwrap();
    assert!(!output.status.success(), "no disk has an exabyte");
    assert!(place.run(&["pull", "o/m"]).1.contains("hf:OWNER/NAME"));
    assert_eq!(place.json(&["list"]), json!([]));
}

#[test]
fn a_model_in_parts_is_pulled_whole() {
    let place = Place::new();
    let parts = Tiny::new().split(3);
    let name = |at: usize| format!("big/m-0000{}-of-00003.gguf", at + 1);
    let names: Vec<String> = (0..3).map(name).collect();
    let files: Vec<(&str, Vec<u8>)> = names.iter().zip(&parts).map(|(name, part)| (&**name, part.bytes())).collect();
    place.hub.put("o/m", Open::ToAll, &files);
    let pulled = place.json(&["pull", "hf:o/m"]);
    assert_eq!((&pulled["id"], pulled["source"]["files"].as_array().unwrap().len()), (&json!("m"), 3), "{pulled}");
    place.hub.put("o/part", Open::ToAll, &files[..2]);
    assert!(place.run(&["pull", "hf:o/part"]).1.contains("in 3 parts, it has 2"));
}

#[tokio::test]
async fn a_model_is_removed_while_it_answers() {
    let place = Place::new();
    let file = temporary("whole").with_extension("gguf");
    fs::write(&file, Tiny::new().bytes()).unwrap();
    assert!(place.run(&["import", "--name", "m", file.to_str().unwrap()]).0);
    let (server, customer) = place.serve().await;
    let long = json!({"stream": true, "max_tokens": 120, "logit_bias": {"256": -100, "257": -100, "258": -100}});
    let body = with(&ask("m"), &long);
    let request = customer.api.request(reqwest::Method::POST, CHAT).json(&body);
    let mut stream = request.send().await.unwrap().bytes_stream();
    assert!(stream.next().await.unwrap().is_ok(), "it has begun");
    let removed = place.json(&["remove", "m"]);
    assert_eq!((&removed["id"], &removed["removed"]), (&json!("m"), &json!(true)));
    let mut rest = String::new();
    while let Some(piece) = stream.next().await {
        rest.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
    }
    assert!(rest.ends_with("data: [DONE]\n\n") && rest.contains("\"finish_reason\":\"length\""), "{rest}");
    assert_eq!(customer.api.post(CHAT, &ask("m")).await.status, 404);
    let listed = customer.api.get("/v1/models").await.ok();
    assert!(listed["data"].as_array().unwrap().iter().all(|model| model["id"] != "m"));
    let (is_removed, said) = place.run(&["remove", "m"]);
    assert!(!is_removed && said.contains("no model m"), "{said}");
    // Another of its name is another.
    assert!(place.run(&["add", "--name", "m", file.to_str().unwrap()]).0);
    assert_eq!(customer.api.post(CHAT, &ask("m")).await.ok()["usage"]["completion_tokens"], 3);
    fs::remove_file(&file).unwrap();
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_file_that_is_gone_or_cut_costs_nothing_and_the_others_go_on() {
    let place = Place::new();
    let file = temporary("broken").with_extension("gguf");
    fs::write(&file, Tiny::new().bytes()).unwrap();
    for name in ["gone", "cut", "whole"] {
        assert!(place.run(&["import", "--name", name, file.to_str().unwrap()]).0);
    }
    fs::remove_file(&file).unwrap();
    let data = |name: &str| place.models.join(name).join("model.onnx_data");
    fs::remove_file(data("gone")).unwrap();
    let half = fs::read(data("cut")).unwrap();
    fs::remove_file(data("cut")).unwrap();
    fs::write(data("cut"), &half[..half.len() / 2]).unwrap();
    let (server, customer) = place.serve().await;
    for name in ["gone", "cut"] {
        let answer = customer.api.post(CHAT, &ask(name)).await;
        assert_eq!(answer.status, 500, "{}", answer.body);
        assert!(place.run(&["check", name, "--sums"]).1.contains("model.onnx_data is"), "{name}");
    }
    // Where files are concerns the operator alone.
    server.says("model=gone error=").await;
    server.says("model=cut error=").await;
    assert_eq!(customer.api.get("/v1/balance").await.ok()["available"], "10.00");
    assert_eq!(customer.api.post(CHAT, &ask("whole")).await.ok()["usage"]["completion_tokens"], 3);
    server.admin().assert_audit().await;
}

#[test]
fn files_are_held_against_their_sums_and_a_folder_moves_between_machines() {
    let (place, other) = (Place::new(), Place::new());
    let file = temporary("sums").with_extension("gguf");
    fs::write(&file, gguf()).unwrap();
    assert!(place.run(&["import", "--name", "m", file.to_str().unwrap()]).0);
    fs::remove_file(&file).unwrap();
    let (is_sound, said) = place.run(&["check", "--sums"]);
    assert!(is_sound && said.contains("7 files are those of its import"), "{said}");
    let folder = place.models.join("m");
    assert!(fs::metadata(folder.join("model.onnx_data")).unwrap().permissions().readonly());
    // A folder of another Farebox is taken over with what its card says.
    let taken = other.json(&["add", "--name", "mine", folder.to_str().unwrap()]);
    let own = place.json(&["list"])[0].clone();
    assert_eq!(
        (&taken["id"], &taken["source"], &taken["accuracy"]),
        (&json!("mine"), &own["source"], &own["accuracy"])
    );
    assert!(other.run(&["check", "mine", "--sums"]).0);
    // One whose files are others is not.
    change(&folder.join("tokenizer_config.json"));
    let (is_taken, said) = other.run(&["add", "--name", "worse", folder.to_str().unwrap()]);
    assert!(!is_taken && said.contains("tokenizer_config.json is another"), "{said}");
    let (is_sound, said) = place.run(&["check", "m", "--sums", "--json"]);
    assert!(!is_sound && said.contains("tokenizer_config.json is another"), "{said}");
    assert!(!other.models.join("worse").exists());
}

/// Writes one byte more into a file, past its permissions.
fn change(path: &Path) {
    let bytes = [fs::read(path).unwrap(), b" ".to_vec()].concat();
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_graph_that_lies_is_not_imported_and_none_is_without_a_run() {
    let place = Place::new();
    place.hub.put("o/liar", Open::ToAll, &graph(&Hugging::model(&Tiny::new(), Lie::ForgetsPast), &[]));
    let (is_pulled, said) = place.run(&["pull", "hf:o/liar"]);
    assert!(!is_pulled && said.contains("caches are not read") && !place.models.join("liar").exists(), "{said}");
    let (model, _) = Hugging::apart(&Tiny::new(), "../../../etc/passwd");
    place.hub.put("o/thief", Open::ToAll, &graph(&model, &[]));
    let (is_pulled, said) = place.run(&["pull", "hf:o/thief"]);
    assert!(!is_pulled && said.contains("no file of weights in its folder"), "{said}");
    place.hub.put("o/honest", Open::ToAll, &graph(&Hugging::model(&Tiny::new(), Lie::None), &[]));
    let output =
        place.command(&["pull", "hf:o/honest"]).env("FAREBOX_RUNTIME__ONNXRUNTIME", "nowhere.so").output().unwrap();
    assert!(told(&output).1.contains("tried before it is taken over"), "{}", told(&output).1);
    assert!(place.run(&["pull", "hf:o/honest"]).1.contains("was downloaded before"));
}
