//! The `farebox` program.

/// A request makes some two hundred small allocations, and frees many of them on another thread than made them.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    if let Err(error) = engine::telemetry::turn_off() {
        eprintln!("farebox: ONNX Runtime's telemetry can't be turned off, so open models will not run: {error}");
    }
    match farebox::cli::run() {
        Ok(status) => std::process::exit(status),
        Err(error) => {
            eprintln!("farebox: {error:#}");
            std::process::exit(2);
        }
    }
}
