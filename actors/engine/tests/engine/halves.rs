//! The half-precision form, which CUDA runs, on the processor: its caches, its steps and its agreement with 32-bit floats.
//! The architectures' numbers are in `families`. What only a card can show is tried by `farebox models check --device cuda`.

use std::sync::Arc;

use engine::accuracy;
use engine::device::{Device, Fallback};
use engine::half_decoder::{HalfDecoder, Settings};
use engine::import::{self, MODEL_FILE};
use engine::model::Model;
use engine::network::Network;
use engine::onnx::Precision;
use engine::schedule::{Change, Row, SequenceId, Shape};
use engine::tokenizer::Tokenizer;

use super::tiny::Tiny;

/// On the processor, alone.
pub(super) const SETTINGS: Settings =
    Settings { device: Device::Cpu, threads: 1, fallback: Fallback::Refused, records: false, memory: None };

/// A tiny model's folder; it goes with what is returned.
fn tiny() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("model.gguf");
    std::fs::write(&file, Tiny::new().quantized().bytes()).unwrap();
    import::import(&file, &root.path().join("out")).unwrap();
    root
}

fn load(root: &tempfile::TempDir) -> HalfDecoder {
    let file = root.path().join("out").join(MODEL_FILE);
    HalfDecoder::load(&super::runtime(), &file, SETTINGS).unwrap()
}

fn prompt(of: u32) -> Vec<u32> {
    (0..20 + of * 7).map(|at| (at * 31 + of * 57) % 256).collect()
}

/// The scores of single tokens behind each of the first places' prompts.
fn write(decoder: &mut HalfDecoder, order: &[u32]) -> Vec<Vec<f32>> {
    let rows: Vec<Row> =
        order.iter().map(|of| Row { id: SequenceId(1), token: of + 3, past: prompt(*of).len() }).collect();
    decoder.write(&rows).unwrap();
    (0..order.len()).map(|row| decoder.scores(row).to_vec()).collect()
}

fn apart(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max)
}

#[test]
fn caches_stay_themselves_wherever_they_are_moved() {
    let root = tiny();
    let mut decoder = load(&root);
    let expected: Vec<Vec<f32>> = (0..4)
        .map(|of| {
            decoder.change(Change::Arrange(Shape { places: 1, positions: 64 })).unwrap();
            decoder.clear(0).unwrap();
            decoder.read(0, 0, &prompt(of), None).unwrap();
            write(&mut decoder, &[of]).remove(0)
        })
        .collect();
    decoder.change(Change::Arrange(Shape { places: 4, positions: 64 })).unwrap();
    let length = |of: u32| prompt(of).len();
    for (place, of) in [3, 1, 0, 2].into_iter().enumerate() {
        decoder.read(place, 0, &prompt(of), None).unwrap();
    }
    let mut order = vec![3_u32, 1, 0, 2];
    let check = |decoder: &mut HalfDecoder, order: &[u32], after: &str| {
        for (scores, of) in write(decoder, order).iter().zip(order) {
            let apart = apart(scores, &expected[*of as usize]);
            assert!(apart < 0.02, "{after}: sequence {of} is {apart} off");
        }
    };
    check(&mut decoder, &order, "as read");
    decoder.change(Change::Swap { one: 0, other: 2, positions: 64 }).unwrap();
    order.swap(0, 2);
    check(&mut decoder, &order, "swapped");
    decoder.change(Change::Arrange(Shape { places: 6, positions: 96 })).unwrap();
    check(&mut decoder, &order, "in a larger cache");
    decoder.change(Change::Move { from: 3, to: 5, positions: length(2) }).unwrap();
    decoder.change(Change::Copy { from: 1, to: 3, positions: length(1) }).unwrap();
    order[3] = 1;
    check(&mut decoder, &order, "copied");
    decoder.change(Change::Move { from: 5, to: 0, positions: length(2) }).unwrap();
    order[0] = 2;
    decoder.clear(5).unwrap();
    check(&mut decoder, &order, "moved back");
    decoder.change(Change::Arrange(Shape { places: 3, positions: 64 })).unwrap();
    check(&mut decoder, &order[..3], "in a smaller cache");
    let beyond = decoder.write(&[Row { id: SequenceId(1), token: 1, past: 64 }]).unwrap_err().to_string();
    assert!(beyond.contains("65 positions of place 0"), "{beyond}");
    assert!(decoder.change(Change::Copy { from: 0, to: 3, positions: 1 }).is_err(), "there is no such place");
    assert!(decoder.read(0, 0, &prompt(0), None).is_err(), "all caches are lost then");
}

#[test]
fn a_worker_answers_the_same_in_any_mix() {
    let root = tiny();
    let folder = root.path().join("out");
    let tokenizer = Arc::new(Tokenizer::load(&folder).unwrap());
    let make = || Model::new("tiny", Arc::clone(&tokenizer), load(&root));
    let tokens: Vec<u32> = (0..200).map(|at| at * 31 % 256).collect();
    let requests = super::batches::requests(&tokens, 60, &[60, 20, 64, 7]);
    let apart = super::batches::apart(make, 6, &requests, 100_000);
    assert!(apart < 0.02, "{apart}");
}

#[test]
fn a_real_model_in_half_precision_agrees_with_floats() {
    let folder = super::imported(Precision::Packed);
    let found = accuracy::measure_half(&super::runtime(), &folder, MODEL_FILE, Device::Cpu, 2).unwrap();
    println!("{found:?}");
    assert!(found.suffices() && found.positions > 500, "{found:?}");
}

#[test]
fn a_card_that_is_not_there_is_named() {
    let cuda = Device::Cuda(0);
    let library = super::cached("onnxruntime/1.31.1/libonnxruntime.so");
    let reason = cuda.probe(&super::runtime(), &library).unwrap_err();
    assert!(reason.contains("for processors only") && reason.contains("onnxruntime-gpu"), "{reason}");
    assert_eq!(Device::Cpu.probe(&super::runtime(), &library), Ok(()));
}
