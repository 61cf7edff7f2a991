//! Imports a GGUF file: `import <file.gguf> <folder> [full]`.
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let precision = if args.len() > 3 { engine::onnx::Precision::Full } else { engine::onnx::Precision::Packed };
    let start = std::time::Instant::now();
    println!("{:?} {:?}", engine::import::import_as(args[1].as_ref(), args[2].as_ref(), precision), start.elapsed());
}
