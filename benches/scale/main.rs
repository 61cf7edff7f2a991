//! A large ledger on SQLite: how long Farebox takes to be ready after a process with a million accounts and ten thousand
//! running requests was killed, the memory that it has then, how long those requests take to be settled, what an audit
//! of a million transitions takes, and how long each page takes for the owner of a million ended requests.
//!
//! `cargo bench --bench scale` makes the ledgers and measures, `-- --only restarts`, `audits` or `pages` one of them. `FAREBOX_BENCH_PROGRAM` names another program to measure
//! than the one that is built with it; `FAREBOX_BENCH_FOLDER` a folder in which the ledgers are kept for the next time.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

mod made;
mod measured;
mod pages;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{self, Command},
    time::Instant,
};

use clap::{Parser, ValueEnum};
use made::Size;

const RESTARTED: Size = Size { accounts: 1_000_000, holds: 10_000, transitions: 1_010_000, behind: 500, hours: 20 };
const AUDITED: Size = Size { accounts: 50_000, holds: 1_000, transitions: 1_000_000, behind: 0, hours: 20 };
/// One account, whose requests were sent over 80 days.
const VISITED: Size = Size { accounts: 1, holds: 2, transitions: 2_000_004, behind: 0, hours: 80 * 24 };
/// How often each is measured.
const TURNS: usize = 3;

/// Measures.
#[derive(Debug, Parser)]
struct Measure {
    /// Measure this alone
    #[arg(long)]
    only: Option<What>,
    /// Cargo says this
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    Restarts,
    Audits,
    Pages,
}

/// Makes a ledger for this program itself.
#[derive(Debug, Parser)]
struct Make {
    folder: PathBuf,
    #[command(flatten)]
    size: Size,
}

/// A folder in another one with a ledger, made by a process of its own, which ends as a killed one.
fn ledger(within: &Path, name: &str, size: Size) -> PathBuf {
    let folder = within.join(name);
    if folder.exists() {
        return folder;
    }
    let began = Instant::now();
    let unfinished = folder.with_extension("unfinished");
    let _ = fs::remove_dir_all(&unfinished);
    fs::create_dir_all(&unfinished).unwrap();
    let Size { accounts, holds, transitions, behind, hours } = size;
    let mut command = Command::new(env::current_exe().unwrap());
    command.arg("make").arg(&unfinished);
    for (option, number) in
        [("--accounts", accounts), ("--holds", holds), ("--transitions", transitions), ("--behind", behind)]
    {
        command.arg(option).arg(number.to_string());
    }
    command.arg("--hours").arg(hours.to_string());
    assert!(command.status().unwrap().success());
    fs::rename(&unfinished, &folder).unwrap();
    println!("{name}: made in {:.0} s", began.elapsed().as_secs_f64());
    folder
}

/// A copy of a ledger, to be changed.
fn copy(of: &Path) -> PathBuf {
    let folder = of.with_extension("copy");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    for file in fs::read_dir(of).unwrap().map(Result::unwrap) {
        fs::copy(file.path(), folder.join(file.file_name())).unwrap();
    }
    folder
}

fn main() {
    if env::args().nth(1).as_deref() == Some("make") {
        let Make { folder, size } = Make::parse_from(env::args().skip(1));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(made::make(&folder, size));
    }
    let Measure { only, bench: _ } = Measure::parse();
    let is_wanted = |what| only.is_none_or(|only| only == what);
    println!("farebox: {}", Path::new(&measured::program()).display());
    let kept = env::var_os("FAREBOX_BENCH_FOLDER").map(PathBuf::from);
    let within = kept.clone().unwrap_or_else(|| env::temp_dir().join(format!("farebox-scale-{}", process::id())));
    if is_wanted(What::Restarts) {
        let restarted = ledger(&within, "restarted", RESTARTED);
        for _ in 0..TURNS {
            let copy = copy(&restarted);
            measured::restart(&copy);
            fs::remove_dir_all(copy).unwrap();
        }
    }
    if is_wanted(What::Audits) {
        for (name, size) in [("audited", AUDITED), ("restarted", RESTARTED)] {
            let folder = ledger(&within, name, size);
            println!("audit of the ledger `{name}`");
            for _ in 0..TURNS {
                measured::audit(&folder);
            }
        }
    }
    if is_wanted(What::Pages) {
        let copy = copy(&ledger(&within, "visited", VISITED));
        pages::visit(&copy);
        fs::remove_dir_all(copy).unwrap();
    }
    if kept.is_none() {
        fs::remove_dir_all(within).unwrap();
    }
}
