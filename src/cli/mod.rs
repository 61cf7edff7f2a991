//! The command line: one file per command. Commands that change money call the running process at its admin routes,
//! because a ledger has one writer.

mod admin;
mod archive;
mod audit;
mod backup;
mod call;
mod import;
mod keys;
mod models;
mod nodes;
mod people;
mod pools;
mod prices;
mod quickstart;
mod rebuild;
mod receipt;
mod reconcile;
mod running;
mod serve;
mod table;
mod top;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::config::{Overrides, Settings};

/// Self-hosted, credit-metered AI inference gateway.
#[derive(Debug, Parser)]
#[command(name = "farebox", version)]
struct Cli {
    #[command(flatten)]
    overrides: Overrides,
    #[command(subcommand)]
    command: Command,
}

/// How the error of a pipe is told that nobody reads (EPIPE).
const BROKEN_PIPE: &str = "os error 32";
/// The exit status of a command whose output is not read to its end: that of a program that SIGPIPE ends.
const UNREAD: i32 = 141;

#[derive(Debug, Subcommand)]
enum Command {
    /// Fetch ONNX Runtime and a demo model, create a demo account, serve, and print example calls.
    Quickstart(serve::Args),
    /// Run the server until it is stopped.
    Serve(serve::Args),
    /// Pull, import, list, check and remove open models; load, keep and take them out on the running server.
    Models(models::Args),
    /// List, import and compare the prices of closed models.
    Prices(prices::Args),
    /// Show the nodes that share the running server's ledger, and who owns which part of the accounts.
    Nodes(nodes::Args),
    /// Migrate the database to the current schema; exit status 1 if the ledger is not clean.
    ///
    /// The tables of a ledger from before there was a log become the beginning of its log. They are audited before and
    /// after; where they are not clean before, no log is begun. Killed at any point, it goes on when it is called again. No
    /// server may run.
    #[command(verbatim_doc_comment)]
    Migrate,
    /// Check the ledger's invariants; exit status 1 if one is violated.
    Audit(audit::Args),
    /// Back up the ledger into a new folder, also while a server runs; exit status 1 if the backup is not clean.
    ///
    /// The ledger must be in SQLite; PostgreSQL has means of its own. Both files are copied by SQLite itself, the tables
    /// first, and the copy is audited. It has everything that was acknowledged before. The operator's token and the key of
    /// receipts go with them where they are files of the data folder: without the token, kept answers of retried requests
    /// can't be opened. Keep the backup secret: it has both, secrets that sign webhooks, and people.
    ///
    /// Not in a backup: settings and keys of providers and Stripe (config/farebox.toml, FAREBOX_... variables), open models
    /// and ONNX Runtime (import and fetch them again), the folder of prices, and quickstart.json. The prices that were
    /// charged are in the ledger.
    #[command(verbatim_doc_comment)]
    Backup(backup::Args),
    /// Put a backup where the settings say the ledger is; exit status 1 if the backup is not clean.
    ///
    /// Refused, with nothing changed, where a ledger is already, where a process owns one, and if the backup is incomplete,
    /// was changed, or is not clean. It is copied, brought up to its log and audited, and only then put in place; `farebox
    /// serve` serves it. A ledger and its copy must never both be served: each would sell the same credits.
    #[command(verbatim_doc_comment)]
    Restore(backup::Args),
    /// Make the tables again from the log, and compare them with those that there are; exit status 1 on a difference.
    ///
    /// Nothing is changed, and a server may run beside it. The tables that are made need as much room as those that there
    /// are. With --replace they take the place of the tables that there are, or that were lost; no server may run then, and
    /// SQLite's old file is kept as farebox.db.before-rebuild. What stands beside the log is taken along if it is there:
    /// kept answers of retried requests, deliveries of webhooks, and people with their sessions.
    #[command(verbatim_doc_comment)]
    Rebuild(rebuild::Args),
    /// Move the log's older rows to an archive; exit status 1 if they must wait for a server to stop.
    ///
    /// Rows are copied to compressed files in a folder, each of which is read back and checked; a further run with the same
    /// folder goes on where it ends. A server may run meanwhile. Then, where no process serves the ledger, the rows leave
    /// the log, and a signed checkpoint stays in their place: the row at which the log begins, and what all accounts had
    /// there. A server that runs is not disturbed: the rows stay, and a run after it has stopped takes them.
    ///
    /// Keep the archive: `farebox audit --archive FOLDER` checks all from the log's first row, and receipts of archived
    /// requests are held against it.
    #[command(verbatim_doc_comment)]
    Archive(archive::Args),
    /// Check receipts; exit status 1 if one is not what it says.
    Receipt(receipt::Args),
    /// Compare payments, refunds and disputes with the card processor's; exit status 1 on a difference.
    Reconcile(reconcile::Args),
    /// Take over another gateway's configuration: its providers, models and keys.
    Import(import::Args),
    /// Create, list and show accounts on the running server.
    Account(admin::AccountArgs),
    /// Create, list and revoke API keys on the running server.
    Key(admin::KeyArgs),
    /// Grant, list, void and refund credits on the running server.
    Credits(admin::CreditsArgs),
    /// Invite people to the dashboard of the running server, list them, help them with passwords, and turn them away.
    Person(people::Args),
    /// Show the health of the running server's actors; exit status 1 if one is down.
    Actors(admin::ActorsArgs),
    /// Show, pause and resume the running server's providers of closed models.
    Providers(running::ProvidersArgs),
    /// Show the running server's requests, and explain one that runs, has ended or was refused.
    Requests(running::RequestsArgs),
    /// Have a new life take an actor's place on the running server, without a failed request.
    Restart(running::RestartArgs),
    /// Show what models, providers and actors had done to them since the server began.
    Operations(running::ListArgs),
    /// Watch the running server: actors, threads, models, providers, money and requests, each second.
    Top(top::Args),
}

/// Runs the command, and returns its exit status.
///
/// # Errors
///
/// The settings are invalid, or the command failed. The caller prints the error and exits with a status other than 0.
pub fn run() -> Result<i32> {
    let Cli { overrides, command } = Cli::parse();
    if !matches!(command, Command::Serve(_) | Command::Quickstart(_)) {
        end_with_the_reader();
    }
    let settings = Settings::load(&overrides)?;
    match command {
        Command::Quickstart(args) => quickstart::run(&settings, &args),
        Command::Models(args) => models::run(&settings, &args),
        Command::Prices(args) => prices::run(&settings, &args),
        Command::Nodes(args) => nodes::run(&settings, &args),
        Command::Serve(args) => serve::run(&settings, &args),
        Command::Migrate => audit::migrate(&settings),
        Command::Audit(args) => audit::run(&settings, &args),
        Command::Backup(args) => backup::back_up(&settings, &args),
        Command::Restore(args) => backup::restore(&settings, &args),
        Command::Rebuild(args) => rebuild::run(&settings, &args),
        Command::Archive(args) => archive::run(&settings, &args),
        Command::Receipt(args) => receipt::run(&settings, &args),
        Command::Reconcile(args) => reconcile::run(&settings, &args),
        Command::Import(args) => import::run(&settings, &args),
        Command::Account(args) => admin::account(&settings, &args),
        Command::Key(args) => admin::key(&settings, &args),
        Command::Credits(args) => admin::credits(&settings, &args),
        Command::Person(args) => people::run(&settings, &args),
        Command::Actors(args) => admin::actors(&settings, &args),
        Command::Providers(args) => running::providers(&settings, &args),
        Command::Requests(args) => running::requests(&settings, &args),
        Command::Restart(args) => running::restart(&settings, &args),
        Command::Operations(args) => running::operations(&settings, &args),
        Command::Top(args) => top::run(&settings, &args),
    }
}

/// Ends a command quietly whose output nobody reads any more, as in `farebox top --once | head`: printing panics then.
fn end_with_the_reader() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let says = panic.payload().downcast_ref::<String>();
        if says.is_some_and(|says| says.starts_with("failed printing to stdout") && says.contains(BROKEN_PIPE)) {
            std::process::exit(UNREAD);
        }
        usual(panic);
    }));
}
