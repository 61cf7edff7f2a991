//! The form that an import chooses: the fast one where it agrees with 32-bit floats on the built-in texts, else the exact
//! one. What a folder's form is worth can be measured again.

use engine::accuracy;
use engine::import::{self, ImportedModel, MODEL_FILE};
use engine::model::Model;
use engine::onnx::Precision;

use super::tiny::{HIDDEN, Tiny};

fn imported(tiny: &Tiny) -> (tempfile::TempDir, ImportedModel) {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("model.gguf");
    std::fs::write(&file, tiny.bytes()).unwrap();
    let runtime = super::runtime();
    let out = root.path().join("out");
    let imported = import::import_with(&file, &out, Precision::Packed, Some((&runtime, 1)), |_, _| Ok(())).unwrap();
    (root, imported)
}

/// The largest difference of the scores to the definition's, in nats.
fn distance(tiny: &Tiny, imported: &ImportedModel) -> f64 {
    let ids: Vec<u32> = (0..40).map(|at| at * 7 % 256).collect();
    let mut model = Model::load(&super::runtime(), "tiny", &imported.folder, 1).unwrap();
    let found = model.decoder().all_logits(&ids).unwrap();
    let expected = tiny.expected(&ids, 1.0);
    let apart = found.iter().zip(&expected).flat_map(|(scores, expected)| {
        let total: f64 = scores.iter().map(|score| f64::from(*score).exp()).sum();
        scores.iter().zip(expected).map(move |(score, expected)| (f64::from(*score) - total.ln() - expected).abs())
    });
    apart.fold(0.0, f64::max)
}

/// A model with one very large number in what its head reads, which the head gives no weight: rounding to 8 bits loses all
/// others.
fn outlier() -> Tiny {
    let large = |weights: &mut Vec<f32>| weights[0] = 3000.0;
    let unread = |weights: &mut Vec<f32>| weights.chunks_mut(HIDDEN).for_each(|row| row[0] = 0.0);
    Tiny::new().change("output_norm.weight", large).change("output.weight", unread).quantized()
}

#[test]
fn a_model_that_bears_eight_bits_is_fast_and_any_other_exact() {
    let plain = Tiny::new().quantized();
    let (_root, fast) = imported(&plain);
    let agreement = fast.agreement.unwrap();
    assert_eq!(fast.precision, Precision::Packed, "{agreement:?}");
    assert!(agreement.suffices() && agreement.positions > 500, "{agreement:?}");
    let measured = accuracy::measure(&super::runtime(), &fast.folder, MODEL_FILE, 1).unwrap();
    assert_eq!(measured, Some(agreement), "measured again");
    let apart = distance(&plain, &fast);
    assert!(apart < 1.0, "{apart}, {agreement:?}");

    let outlier = outlier();
    let (_root, exact) = imported(&outlier);
    let agreement = exact.agreement.unwrap();
    assert_eq!(exact.precision, Precision::Exact, "{agreement:?}");
    assert!(!agreement.suffices(), "{agreement:?}");
    assert!(distance(&outlier, &exact) < 1e-3, "{}", distance(&outlier, &exact));
    assert_eq!(accuracy::measure(&super::runtime(), &exact.folder, MODEL_FILE, 1).unwrap(), None, "it is in floats");
    let names = std::fs::read_dir(&exact.folder).unwrap().map(|file| file.unwrap().file_name());
    assert!(names.into_iter().all(|name| !name.to_string_lossy().starts_with('.')), "nothing is left beside it");
}

#[test]
fn a_model_without_quantized_products_is_in_floats_and_one_without_scores_is_refused() {
    let (_root, floats) = imported(&Tiny::new());
    assert_eq!((floats.precision, floats.agreement), (Precision::Packed, None));
    let broken = Tiny::new().change("output_norm.weight", |weights| weights.fill(3e38)).quantized();
    let root = tempfile::tempdir().unwrap();
    let (file, out) = (root.path().join("model.gguf"), root.path().join("out"));
    std::fs::write(&file, broken.bytes()).unwrap();
    let refused = import::import_with(&file, &out, Precision::Packed, Some((&super::runtime(), 1)), |_, _| Ok(()));
    assert!(refused.unwrap_err().to_string().contains("not finite numbers"));
    assert!(!out.exists());
}
