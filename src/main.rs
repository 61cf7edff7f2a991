//! The `farebox` program.

fn main() {
    match farebox::cli::run() {
        Ok(status) => std::process::exit(status),
        Err(error) => {
            eprintln!("farebox: {error:#}");
            std::process::exit(2);
        }
    }
}
