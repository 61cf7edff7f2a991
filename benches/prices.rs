//! How long a price book of 5,000 entries takes to read, beside its TOML alone. Run with `cargo bench --bench prices`.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

use std::{
    fs,
    time::{Duration, Instant},
};

use farebox::catalogue::Book;

const ENTRIES: usize = 5_000;
const ROUNDS: usize = 20;

/// The built-in files, repeated under other names until there are enough.
fn files() -> Vec<String> {
    let (built_in, mut files, mut count) = (Book::built_in().unwrap(), Vec::new(), 0);
    for copy in 0.. {
        for file in built_in.text().split("#: file ").skip(1) {
            if count >= ENTRIES {
                return files;
            }
            let (_, text) = file.split_once('\n').unwrap();
            let text = text.replace("id = \"", &format!("id = \"copy-{copy}-"));
            count += text.matches("[[model]]").count();
            files.push(text);
        }
    }
    files
}

/// The least and the middle of several rounds.
fn timed(mut work: impl FnMut()) -> (Duration, Duration) {
    let round = |_| {
        let began = Instant::now();
        work();
        began.elapsed()
    };
    let mut times: Vec<_> = (0..ROUNDS).map(round).collect();
    times.sort_unstable();
    (times[0], times[ROUNDS / 2])
}

#[expect(clippy::print_stdout, reason = "the result")]
fn main() {
    let files = files();
    let folder = std::env::temp_dir().join(format!("farebox-prices-{}", uuid::Uuid::new_v4()));
    fs::create_dir_all(&folder).unwrap();
    for (place, text) in files.iter().enumerate() {
        fs::write(folder.join(format!("{place:04}.toml")), text).unwrap();
    }
    let bytes: usize = files.iter().map(String::len).sum();
    let book = Book::of_folder(&folder).unwrap();
    println!("{} entries, {bytes} bytes", book.entries().len());
    let toml = timed(|| files.iter().for_each(|text| drop(toml::from_str::<toml::Table>(text).unwrap())));
    println!("TOML alone: at least {:?}, usually {:?}", toml.0, toml.1);
    let read = timed(|| drop(Book::of_folder(&folder).unwrap()));
    println!("the book:   at least {:?}, usually {:?}", read.0, read.1);
    let own = timed(|| drop(Book::built_in().unwrap()));
    println!(
        "the program's own {} entries: at least {:?}, usually {:?}",
        Book::built_in().unwrap().entries().len(),
        own.0,
        own.1
    );
    fs::remove_dir_all(&folder).unwrap();
}
