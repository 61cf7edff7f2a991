//! Imports a GGUF file: `import <file.gguf> <folder> [full | exact | <libonnxruntime.so>]`; with a library, the fast form is
//! tried.

use engine::onnx::Precision;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let precision = match args.get(3).map(String::as_str) {
        Some("full") => Precision::Full,
        Some("exact") => Precision::Exact,
        _ => Precision::Packed,
    };
    let library = args.get(3).filter(|library| std::path::Path::new(library).is_file());
    let runtime = library.map(|library| engine::runtime::Runtime::load(library.as_ref()).expect("ONNX Runtime"));
    let start = std::time::Instant::now();
    let tried = runtime.as_ref().map(|runtime| (runtime, 2));
    let imported = engine::import::import_with(args[1].as_ref(), args[2].as_ref(), precision, tried, |_, _| Ok(()));
    println!("{imported:?} {:?}", start.elapsed());
}
