//! Folders with ONNX models as they are on a hub: what is honest is taken over and computes what its definition says, and a
//! graph that lies is refused in words.

use std::fs;
use std::path::{Path, PathBuf};

use engine::decoder::Decoder;
use engine::import::language::{self, ImportedLanguage};
use engine::import::{self, MODEL_FILE};
use engine::network::Network;
use engine::schedule::{Change, Row, SequenceId, Shape};
use engine::tokenizer::Tokenizer;
use serde_json::json;

use super::hugging::{DATA, Hugging, Lie};
use super::proof::import_bytes;
use super::tiny::{END, Tiny};

/// A folder of the small model as a hub has it.
struct Found {
    root: tempfile::TempDir,
}

impl Found {
    fn of(model: &[u8]) -> Self {
        let (_seed, imported) = import_bytes(&Tiny::new().bytes());
        let (seed, root) = (imported.unwrap(), tempfile::tempdir().unwrap());
        let found = Self { root };
        fs::create_dir_all(found.folder().join("onnx")).unwrap();
        for name in ["tokenizer.json", "tokenizer_config.json", "config.json"] {
            fs::copy(seed.join(name), found.folder().join(name)).unwrap();
        }
        found.with("onnx/model.onnx", model)
    }

    fn folder(&self) -> PathBuf {
        self.root.path().join("found")
    }

    fn with(self, name: &str, content: &[u8]) -> Self {
        fs::write(self.folder().join(name), content).unwrap();
        self
    }

    fn import(&self) -> Result<(PathBuf, ImportedLanguage), String> {
        self.import_from(&self.folder())
    }

    fn import_from(&self, path: &Path) -> Result<(PathBuf, ImportedLanguage), String> {
        let out = self.root.path().join("out");
        let _ = fs::remove_dir_all(&out);
        let imported = language::import_with(path, &out, (&super::runtime(), 1), |_, _| Ok(()));
        assert_eq!(out.exists(), imported.is_ok(), "a folder appears whole or not at all");
        imported.map(|imported| (out, imported)).map_err(|error| error.to_string())
    }
}

/// The largest difference, in nats, between log probabilities and the definition's.
fn distance(found: &[Vec<f32>], ids: &[u32], tiny: &Tiny) -> f64 {
    let expected = tiny.expected(ids, 1.0);
    assert_eq!(found.len(), expected.len());
    let apart = found.iter().zip(&expected).flat_map(|(scores, expected)| {
        let total: f64 = scores.iter().map(|score| f64::from(*score).exp()).sum();
        scores.iter().zip(expected).map(move |(score, expected)| (f64::from(*score) - total.ln() - expected).abs())
    });
    apart.fold(0.0, f64::max)
}

fn ids() -> Vec<u32> {
    (0..60).map(|at| at * 7 % 256).collect()
}

#[test]
fn an_exporters_graph_computes_what_its_definition_says() {
    let tiny = Tiny::new();
    let generation = json!({"eos_token_id": [1, 2], "temperature": 0.5, "repetition_penalty": 1.1}).to_string();
    let found = Found::of(&Hugging::model(&tiny, Lie::None)).with("generation_config.json", generation.as_bytes());
    let (out, imported) = found.import().unwrap();
    assert!(!imported.is_shared && imported.context == 128 && imported.parameters > 20_000, "{imported:?}");
    assert_eq!(imported.left_out, ["repetition_penalty 1.1"]);
    let tokenizer = Tokenizer::load(&out).unwrap();
    assert!([1, 2, END].into_iter().all(|end| tokenizer.ends(end)) && !tokenizer.ends(3) && tokenizer.chats());
    let mut decoder = Decoder::load(&super::runtime(), &out.join(MODEL_FILE), 1).unwrap();
    assert!(distance(&decoder.all_logits(&ids()).unwrap(), &ids(), &tiny) < 1e-3);
    assert_eq!(decoder.abilities().most_places, 1);
    // Piece by piece it is the same.
    let mut rows = Vec::new();
    decoder.read(0, 0, &ids()[..20], Some(&mut rows)).unwrap();
    decoder.read(0, 20, &ids()[20..50], Some(&mut rows)).unwrap();
    for (at, token) in ids().into_iter().enumerate().skip(50) {
        decoder.write(&[Row { id: SequenceId(1), token, past: at }]).unwrap();
        rows.push(decoder.scores(0).to_vec());
    }
    assert!(distance(&rows, &ids(), &tiny) < 1e-3);
}

#[test]
fn weights_beside_the_graph_come_along_and_none_from_elsewhere() {
    let tiny = Tiny::new();
    let (model, data) = Hugging::apart(&tiny, DATA);
    let found = Found::of(&model);
    assert!(found.import().unwrap_err().contains(DATA), "it is missing");
    let found = found.with(&format!("onnx/{DATA}"), &data[..data.len() - 1]);
    assert!(found.import().unwrap_err().contains(DATA), "it is cut");
    let found = found.with(&format!("onnx/{DATA}"), &data);
    assert_eq!(import::data_files(&found.folder().join("onnx/model.onnx")).unwrap(), [DATA]);
    let (out, _) = found.import().unwrap();
    let mut decoder = Decoder::load(&super::runtime(), &out.join(MODEL_FILE), 1).unwrap();
    assert!(distance(&decoder.all_logits(&ids()).unwrap(), &ids(), &tiny) < 1e-3);
    for place in ["../secret", "/etc/passwd", "sub/data"] {
        let (model, _) = Hugging::apart(&tiny, place);
        let refused = Found::of(&model).with("secret", &data).import().unwrap_err();
        assert!(refused.contains("no file of weights"), "{refused}");
    }
}

#[test]
fn a_file_is_chosen_by_its_name() {
    let tiny = Tiny::new();
    let found = Found::of(b"no model").with("onnx/model_q4.onnx", &Hugging::model(&tiny, Lie::None));
    assert!(found.import().unwrap_err().contains("no ONNX model"));
    assert!(found.import_from(&found.folder().join("onnx/model_q4.onnx")).is_ok());
    fs::remove_file(found.folder().join("config.json")).unwrap();
    assert!(found.import_from(&found.folder().join("onnx/model_q4.onnx")).unwrap_err().contains("config.json"));
}

#[test]
fn a_tokenizer_that_would_cut_or_pad_does_neither() {
    let found = Found::of(&Hugging::model(&Tiny::new(), Lie::None));
    let file = found.folder().join("tokenizer.json");
    let mut tokenizer: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    tokenizer["truncation"] = json!({"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0});
    tokenizer["padding"] = json!({"strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "x"});
    let found = found.with("tokenizer.json", tokenizer.to_string().as_bytes());
    let (out, _) = found.import().unwrap();
    let text = "a text of more than eight tokens";
    let tokens = Tokenizer::load(&out).unwrap().encode(text, engine::tokenizer::Special::InText).unwrap();
    assert_eq!(tokens.len(), text.len());
}

#[test]
fn a_graph_that_lies_is_refused_in_words() {
    let tiny = Tiny::new();
    for (lie, words) in [
        (Lie::ForgetsPast, "its caches are not read"),
        (Lie::NeverGrows, "present.0.key"),
        (Lie::FewScores, "scores for"),
        (Lie::HalfCaches, "past_key_values.0.key"),
        (Lie::Branches, "use_cache_branch"),
        (Lie::NoCaches, "past_key_values.0.key"),
        (Lie::ShortPositions, "position 127 of the 128"),
    ] {
        let refused = Found::of(&Hugging::model(&tiny, lie)).import().unwrap_err();
        assert!(refused.contains(words), "{lie:?}: {refused}");
    }
    let infinite = Tiny::new().change("output.weight", |weights| weights[0] = f32::NAN);
    let refused = Found::of(&Hugging::model(&infinite, Lie::None)).import().unwrap_err();
    assert!(refused.contains("not finite"), "{refused}");
}

#[test]
fn caches_are_shared_only_where_a_run_has_shown_it() {
    let tiny = Tiny::new();
    // Our own graph without its note is one of another exporter whose attention can share.
    let (_root, seed) = import_bytes(&tiny.bytes());
    let seed = seed.unwrap();
    let mut own = fs::read(seed.join(MODEL_FILE)).unwrap();
    let at = own.windows(13).position(|window| window == b"farebox.cache").unwrap();
    own[at] = b'F';
    let found = Found::of(&own).with("onnx/model.onnx_data", &fs::read(seed.join(import::DATA_FILE)).unwrap());
    let (out, imported) = found.import().unwrap();
    assert!(imported.is_shared);
    let mut decoder = Decoder::load(&super::runtime(), &out.join(MODEL_FILE), 1).unwrap();
    assert!(decoder.abilities().most_places > 1);
    decoder.change(Change::Arrange(Shape { places: 2, positions: 64 })).unwrap();
    let mut rows = Vec::new();
    decoder.read(1, 0, &ids(), Some(&mut rows)).unwrap();
    assert!(distance(&rows, &ids(), &tiny) < 1e-3);
    // One that only seems to is left as it is, to the byte.
    let model = Hugging::model(&tiny, Lie::SeemsToShare);
    let found = Found::of(&model);
    let (out, imported) = found.import().unwrap();
    assert!(!imported.is_shared && fs::read(out.join(MODEL_FILE)).unwrap() == model);
}
