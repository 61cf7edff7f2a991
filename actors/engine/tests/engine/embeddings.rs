//! Vectors of a real model: `MiniLM`, with weights of 8 bits. Its known answers were made by a bare loop over ONNX Runtime in
//! Python, one text a run. The weights' activations are rounded over a whole run, so in a batch the numbers differ a little.

use engine::embedding::encoder::{Encode, Encoder, runs};
use engine::embedding::tokenizer::TextTokenizer;
use wire::format::openai::read_embedding;
use wire::inference::{Failure, Request};

use super::{fetched, runtime};

fn folder() -> std::path::PathBuf {
    fetched("embeddings", "models/all-minilm-l6-v2/model.onnx").parent().unwrap().to_owned()
}

fn model() -> (TextTokenizer, Encoder) {
    let tokenizer = TextTokenizer::load(&folder()).unwrap();
    let encoder = Encoder::load(&runtime(), &folder().join("model.onnx"), 2, tokenizer.form()).unwrap();
    (tokenizer, encoder)
}

fn asked(input: &serde_json::Value) -> Request {
    read_embedding(serde_json::json!({"model": "m", "input": input}).to_string().as_bytes()).unwrap()
}

fn cosine(one: &[f32], other: &[f32]) -> f32 {
    // Vectors have length 1.
    one.iter().zip(other).map(|(one, other)| one * other).sum()
}

fn close(found: f32, expected: f32, tolerance: f32) -> bool {
    (found - expected).abs() < tolerance
}

#[test]
fn a_real_models_vectors_are_known() {
    let (tokenizer, mut encoder) = model();
    let texts = [
        "A man is eating food.",
        "A man is eating a piece of bread.",
        "The girl is carrying a baby.",
        "A man is riding a horse.",
    ];
    let prepared = tokenizer.prepare(&asked(&serde_json::json!(texts))).unwrap();
    assert_eq!(prepared.texts[0], [101, 1037, 2158, 2003, 5983, 2833, 1012, 102]);
    let alone: Vec<Vec<f32>> =
        prepared.texts.iter().map(|text| encoder.encode(&[text], None).unwrap().remove(0)).collect();
    assert_eq!(alone[0].len(), encoder.width());
    for (found, expected) in alone[0].iter().zip([0.0310, 0.0067, -0.0044, 0.0475, -0.1399]) {
        assert!(close(*found, expected, 0.002), "{found} is not {expected}");
    }
    for (other, expected) in [(1, 0.7535), (2, -0.1055), (3, 0.2535)] {
        let found = cosine(&alone[0], &alone[other]);
        assert!(close(found, expected, 0.005), "{found} is not {expected}");
    }
    let batch: Vec<&[u32]> = prepared.texts.iter().map(Vec::as_slice).collect();
    for (alone, together) in alone.iter().zip(encoder.encode(&batch, None).unwrap()) {
        assert!(close(cosine(alone, alone), 1.0, 1e-5) && cosine(alone, &together) > 0.99);
    }
}

#[test]
fn texts_of_all_lengths_are_read_in_few_runs_and_each_has_its_vector() {
    let (tokenizer, mut encoder) = model();
    let texts: Vec<String> = (0..70).map(|n| format!("number {n} {}", "and more ".repeat(n % 9))).collect();
    let prepared = tokenizer.prepare(&asked(&serde_json::json!(texts))).unwrap();
    let plan = runs(&prepared.texts);
    assert_eq!(plan.len(), 3);
    for run in plan {
        let batch: Vec<&[u32]> = run.iter().map(|&place| prepared.texts[place].as_slice()).collect();
        let vectors = encoder.encode(&batch, None).unwrap();
        assert_eq!(vectors.len(), run.len());
        let alone = encoder.encode(&[batch[0]], None).unwrap().remove(0);
        assert!(cosine(&alone, &vectors[0]) > 0.98, "a text has the vector of another");
    }
}

#[test]
fn what_the_model_can_not_do_is_refused_by_its_field() {
    let (tokenizer, _) = model();
    let refused = |fields: &str| {
        let body = format!(r#"{{"model":"m","input":"x"{fields}}}"#);
        match tokenizer.prepare(&read_embedding(body.as_bytes()).unwrap()) {
            Err(Failure::Invalid { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused(r#","dimensions":64"#), "dimensions");
    assert_eq!(refused(r#","input_type":"search_query""#), "input_type");
    assert_eq!(refused(r#","input":[1,2,3]"#), "input");
    assert_eq!(refused(r#","output_dtype":"int8""#), "output_dtype");
    let long = tokenizer.prepare(&asked(&serde_json::json!("word ".repeat(300)))).unwrap_err();
    assert!(matches!(long, Failure::ContextLength(long) if long.context == 256 && long.prompt == 302));
}
