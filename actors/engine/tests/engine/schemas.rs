//! Answers that are held to a schema: whatever a model of random weights would rather write, what it writes is valid, as
//! an independent reader (Python's `jsonschema`) finds. Others beside it write what they would write alone.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use engine::model::Model;
use engine::tokenizer::Tokenizer;
use engine::worker::{EngineHandle, Job, Settings, StopSignal};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use wire::inference::{Event, Failure, FinishReason, Request, TokenLogprob};

use super::tiny::{Tiny, Value as Key};
use super::{SHARE, all, chat_with, deltas, finish, raw_with, text, usage};

const READER: &str = "jsonschema==4.25.1";
const SCRIPT: &str = "import json, sys
import jsonschema
def valid(schema, text):
    try:
        jsonschema.validate(json.loads(text), schema, cls=jsonschema.Draft202012Validator)
        return None
    except Exception as error:
        return str(error)[:300]
json.dump([valid(schema, text) for schema, text in json.load(sys.stdin)], sys.stdout)";

/// What the reader says against texts, each with its schema.
pub(crate) fn invalid(cases: &[(Value, String)]) -> Vec<String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(READER);
    if !folder.is_dir() {
        let partial = folder.with_extension(format!("partial-{}", std::process::id()));
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"];
        assert!(Command::new("python3").args(pip).arg(&partial).arg(READER).status().unwrap().success());
        // Another run may have been first.
        let _ = std::fs::rename(&partial, &folder);
    }
    let mut python = Command::new("python3");
    python.args(["-c", SCRIPT]).env("PYTHONPATH", folder).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = python.spawn().unwrap();
    child.stdin.take().unwrap().write_all(json!(cases).to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let found: Vec<Option<String>> = serde_json::from_slice(&output.stdout).unwrap();
    let told = |((schema, text), why): (&(Value, String), Option<String>)| {
        why.map(|why| format!("{why}\nschema: {schema}\nanswer: {text}"))
    };
    cases.iter().zip(found).filter_map(told).collect()
}

/// A model of random weights, with room for long answers.
pub(crate) struct Random {
    _root: tempfile::TempDir,
    pub(crate) tokenizer: Arc<Tokenizer>,
    worker: EngineHandle,
}

impl Random {
    pub(crate) fn new(tiny: &Tiny) -> Self {
        let tiny = tiny.clone().key("llama.context_length", Key::U32(4096));
        let (root, folder) = super::proof::import_bytes(&tiny.bytes());
        let folder = folder.unwrap();
        let model = Model::load(&super::runtime(), "tiny", &folder, 1).unwrap();
        let tokenizer = model.tokenizer();
        let worker = EngineHandle::spawn(model, Settings::default(), |_| {}).unwrap();
        Self { _root: root, tokenizer, worker }
    }

    pub(crate) fn submit(&self, request: &Request) -> mpsc::Receiver<Event> {
        let (events, receiver) = mpsc::channel(1 << 14);
        let asked = self.tokenizer.prepare(request).unwrap();
        self.worker.submit(Job { asked, share: SHARE, events, stop: StopSignal::new() }).unwrap();
        receiver
    }

    pub(crate) fn answer(&self, request: &Request) -> Vec<Event> {
        all(self.submit(request))
    }

    /// Why a request is refused: its field and the reason.
    pub(crate) fn refusal(&self, request: &Request) -> (String, String) {
        match self.tokenizer.prepare(request) {
            Err(Failure::Invalid { field, message }) => (field, message),
            other => panic!("{other:?}"),
        }
    }
}

/// A chat that must be answered by a schema.
fn held(schema: &Value, fields: &Value) -> Request {
    let format = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": true}});
    let mut all = json!({"response_format": format, "max_tokens": 3000});
    all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    chat_with("hi", &all)
}

/// Numbers that say which schema is made.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    /// A schema that every answer comes to an end of.
    fn schema(&mut self, depth: u64) -> Value {
        match self.roll(if depth == 0 { 8 } else { 12 }) {
            0 => json!({"type": "boolean"}),
            1 => json!({"type": ["null", "boolean"]}),
            2 => json!({"type": "integer", "minimum": -5, "maximum": 300}),
            3 => json!({"type": "number", "exclusiveMinimum": 0, "multipleOf": 0.25, "maximum": 8}),
            4 => json!({"enum": ["a\"b", "é🦀", 7, null, {"k": [1]}]}),
            5 => json!({"const": "only\nthis"}),
            6 => json!({"type": "string", "minLength": self.roll(3), "maxLength": 3 + self.roll(5)}),
            7 => json!({"type": "string", "pattern": "^[A-Z]{2}-[0-9]{1,3}$"}),
            8 => {
                let least = self.roll(2);
                json!({"type": "array", "items": self.schema(depth - 1), "minItems": least, "maxItems": least + self.roll(3)})
            }
            9 => {
                json!({"type": "array", "prefixItems": [self.schema(depth - 1), self.schema(depth - 1)], "items": false})
            }
            10 => json!({"anyOf": [self.schema(depth - 1), self.schema(0)]}),
            _ => {
                let names = ["one", "two words", "dré\"i"];
                let count = 1 + usize::try_from(self.roll(3)).unwrap();
                let properties: HashMap<&str, Value> =
                    names[..count].iter().map(|name| (*name, self.schema(depth - 1))).collect();
                let required: Vec<&str> = names[..count].iter().filter(|_| self.roll(2) == 0).copied().collect();
                json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
            }
        }
    }
}

#[test]
fn any_seed_writes_what_its_schema_says() {
    let model = Random::new(&Tiny::new());
    let receivers: Vec<_> = (0..60)
        .map(|seed| {
            let mut dice = Dice(seed);
            let root = dice.schema(3);
            let schema = json!({"type": "object", "properties": {"x": root, "y": {"$ref": "#/$defs/node"}}, "required": ["x", "y"],
                "additionalProperties": false, "$defs": {"node": dice.schema(2)}});
            let fields = json!({"seed": seed, "temperature": seed % 3});
            (model.submit(&held(&schema, &fields)), schema)
        })
        .collect();
    let mut cases = Vec::new();
    for (receiver, schema) in receivers {
        let events = all(receiver);
        assert_eq!(finish(&events, 0).0, Some(FinishReason::Stop), "{schema}\n{}", text(&events, 0));
        cases.push((schema, text(&events, 0)));
    }
    let invalid = invalid(&cases);
    assert!(invalid.is_empty(), "{} of {}:\n{}", invalid.len(), cases.len(), invalid[0]);
    println!("{}", cases.iter().map(|(_, answer)| answer.as_str()).collect::<Vec<_>>().join("\n"));
}

#[test]
fn an_object_of_any_shape_is_one_or_is_cut() {
    let model = Random::new(&Tiny::new());
    let mut whole = Vec::new();
    for seed in 0..12 {
        // A preference for what closes: a random model never ends its texts.
        let bias: Value = [(u32::from(b'}'), 9), (u32::from(b'"'), 4)]
            .iter()
            .map(|(token, bias)| (token.to_string(), *bias))
            .collect();
        let fields = json!({"response_format": {"type": "json_object"}, "seed": seed, "temperature": 1.5, "max_tokens": 300, "logit_bias": bias});
        let events = model.answer(&chat_with("hi", &fields));
        let answer = text(&events, 0);
        assert!(answer.starts_with('{'), "{answer}");
        match finish(&events, 0).0 {
            Some(FinishReason::Stop) => whole.push((json!({"type": "object"}), answer)),
            Some(FinishReason::Length) => assert_eq!(usage(&events).output, 300),
            other => panic!("{other:?}"),
        }
    }
    assert!(whole.len() > 3, "{}", whole.len());
    assert_eq!(invalid(&whole), Vec::<String>::new());
}

#[test]
fn others_beside_an_answer_that_is_held_write_as_alone() {
    let model = Random::new(&Tiny::new());
    let free = |seed: u64| raw_with("ab", &json!({"max_tokens": 60, "temperature": 1.3, "seed": seed, "logprobs": 2}));
    let schema = json!({"type": "object", "properties": {"a": {"type": "string", "maxLength": 30}}, "required": ["a"], "additionalProperties": false});
    let bound = |seed: u64| held(&schema, &json!({"temperature": 1.3, "seed": seed, "n": 2}));
    let alone: Vec<_> = (0..4).map(|seed| text(&model.answer(&free(seed)), 0)).collect();
    let bound_alone = text(&model.answer(&bound(9)), 1);
    let receivers: Vec<_> =
        (0..4).flat_map(|seed| [model.submit(&free(seed)), model.submit(&bound(seed + 6))]).collect();
    let together: Vec<_> = receivers.into_iter().map(all).collect();
    for (seed, events) in together.iter().step_by(2).enumerate() {
        assert_eq!(text(events, 0), alone[seed]);
    }
    assert_eq!(text(&together[7], 1), bound_alone);
    assert_ne!(text(&together[7], 0), bound_alone, "choices differ");
}

#[test]
fn log_probabilities_are_the_models_own_before_the_grammar() {
    let model = Random::new(&Tiny::new());
    let fields = json!({"logprobs": true, "top_logprobs": 3, "temperature": 0, "max_tokens": 1});
    let first = |request: &Request| -> TokenLogprob { deltas(&model.answer(request), 0)[0].logprobs[0].clone() };
    let free = first(&chat_with("hi", &fields));
    let schema = json!({"type": "object", "properties": {}, "additionalProperties": false});
    let held = first(&held(&schema, &fields));
    assert_eq!(held.token, "{", "chosen by the grammar");
    assert_eq!(held.top, free.top, "the likeliest tokens are those of the model, allowed or not");
    assert!(held.logprob < Some(free.top[0].2));
    assert!(free.top.iter().all(|(token, ..)| token != "{"), "{free:?}");
}

#[test]
fn what_is_no_schema_or_can_not_be_held_to_is_refused_with_its_field() {
    let model = Random::new(&Tiny::new());
    for schema in [
        json!([]),
        json!({"type": "objekt"}),
        json!({"type": "object", "not": {"required": ["a"]}}),
        json!({"oneOf": [{"type": "integer"}, {"type": "number"}]}),
        json!({"$ref": "https://example.com/a.json"}),
        json!({"$ref": "#/$defs/none"}),
        json!({"$ref": "other"}),
        json!({"type": "string", "pattern": "("}),
        json!({"type": "string", "pattern": "^(?=a)b"}),
        json!({"type": "string", "pattern": "^a{3}$", "maxLength": 2}),
        json!({"type": "object", "properties": {"a": false}, "required": ["a"]}),
        json!({"type": "integer", "minimum": 5, "maximum": 4}),
        json!({"minItems": 100_000_000, "type": "array"}),
        json!({"allOf": [{"type": "string"}, {"type": "integer"}]}),
    ] {
        let (field, message) = model.refusal(&held(&schema, &json!({})));
        println!("{schema}: {message}");
        assert_eq!(field, "response_format", "{schema}");
        assert!(!message.contains("panic") && !message.contains('\n') && message.len() < 500, "{message}");
    }
}

/// Schemas that are made to take long, or much.
#[test]
fn hostile_schemas_are_refused_or_end_within_their_bounds() {
    let model = Random::new(&Tiny::new());
    let chain: HashMap<String, Value> = (0..290)
        .map(|at| (format!("d{at}"), json!({"anyOf": [{"$ref": format!("#/$defs/d{}", at + 1)}, {"type": "null"}]})))
        .chain([("d290".to_owned(), json!({"type": "null"}))])
        .collect();
    let options = |count: usize| -> Value {
        (0..count).map(|at| json!({"type": "object", "properties": {"k": {"const": at}}, "required": ["k"]})).collect()
    };
    let nested =
        (0..60).fold(json!({"type": "string"}), |inner, _| json!({"type": "array", "items": inner, "minItems": 40}));
    let wide: HashMap<String, Value> = (0..3000).map(|at| (format!("p{at}"), json!({"type": "string"}))).collect();
    let both = |level: Value| json!({"anyOf": [level.clone(), {"type": "object", "properties": {"x": level}}]});
    let doubled = (0..12).fold(json!({"type": "string", "maxLength": 3}), |inner, _| both(inner));
    let patterns = json!({"type": "object", "patternProperties": {"^(a|b)*c": {"type": "string"}, "(x+x+)+y": {"type": "integer"}}});
    let cases = [
        ("a chain of references", json!({"$ref": "#/$defs/d0", "$defs": chain})),
        ("many options", json!({"oneOf": options(1500)})),
        ("options of options", json!({"allOf": [{"anyOf": options(300)}, {"anyOf": options(300)}]})),
        ("lists of lists", nested),
        ("many members", json!({"type": "object", "properties": wide, "required": wide.keys().collect::<Vec<_>>()})),
        ("doubled", doubled),
        ("a regular expression that explodes", json!({"type": "string", "pattern": "^(.*a.{1,12}b){1,9}$"})),
        ("repeats of repeats", json!({"type": "string", "pattern": "^((a{1,100}){1,100}){1,100}$"})),
        ("any one of many characters", json!({"type": "string", "pattern": "^(a|ab|abc|b|bc|c)*x[a-z]{9000}$"})),
        (
            "intersections",
            json!({"allOf": (0..40).map(|at| json!({"type": "string", "pattern": format!("(a|b)*a(a|b){{{at}}}")})).collect::<Vec<_>>() }),
        ),
        ("members by patterns", patterns),
        ("endless", json!({"$ref": "#", "type": "array"})),
        ("itself", json!({"$ref": "#"})),
        ("a large multiple", json!({"type": "integer", "multipleOf": 999_999_937, "minimum": 1})),
        ("small and large bounds", json!({"type": "number", "minimum": -1e300, "maximum": 1.234_567_890_123e-200})),
        ("a long text", json!({"type": "string", "minLength": 19_000})),
    ];
    for (name, schema) in cases {
        let began = std::time::Instant::now();
        let prepared = model.tokenizer.prepare(&held(&schema, &json!({"max_tokens": 40, "temperature": 1})));
        let compiled = began.elapsed();
        let said = match prepared {
            Err(Failure::Invalid { field, message }) => {
                assert_eq!(field, "response_format");
                message
            }
            Err(other) => panic!("{name}: {other}"),
            Ok(_) => {
                let events = model.answer(&held(&schema, &json!({"max_tokens": 40, "temperature": 1})));
                assert!(
                    matches!(events.last(), Some(Event::Finished { .. } | Event::Failed(Failure::Invalid { .. }))),
                    "{name}: {events:?}"
                );
                format!("{:?}: {}", events.last(), text(&events, 0))
            }
        };
        println!("{name}: {compiled:?}, {:?} in all: {said}", began.elapsed());
    }
    // The engine goes on.
    assert_eq!(usage(&model.answer(&raw_with("ab", &json!({"max_tokens": 3, "logit_bias": {"256": -100}})))).output, 3);
}
