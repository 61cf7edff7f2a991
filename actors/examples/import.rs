//! Imports a GGUF file: `import <file.gguf> <folder> [full]`.
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let precision = if args.len() > 3 {
        farebox_actors::engine::onnx::Precision::Full
    } else {
        farebox_actors::engine::onnx::Precision::Packed
    };
    let start = std::time::Instant::now();
    println!(
        "{:?} {:?}",
        farebox_actors::engine::import::import_as(args[1].as_ref(), args[2].as_ref(), precision),
        start.elapsed()
    );
}
