//! Imports a GGUF file: `import <file.gguf> <folder> [full | exact | <libonnxruntime.so>]`; with a library, the fast form
//! is tried.

use std::error::Error;
use std::path::Path;

use engine::import::import_with;
use engine::onnx::Precision;
use engine::runtime::Runtime;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, file, folder, how @ ..] = &args[..] else { return Err("import <file.gguf> <folder> [how]".into()) };
    let how = how.first().map(String::as_str);
    let precision = match how {
        Some("full") => Precision::Full,
        Some("exact") => Precision::Exact,
        _ => Precision::Packed,
    };
    let runtime = how.map(Path::new).filter(|library| library.is_file()).map(Runtime::load).transpose()?;
    let start = std::time::Instant::now();
    let tried = runtime.as_ref().map(|runtime| (runtime, 2));
    let imported = import_with(file.as_ref(), folder.as_ref(), precision, tried, |_, _| Ok(()))?;
    println!("{imported:?} {:?}", start.elapsed());
    Ok(())
}
