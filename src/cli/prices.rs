//! `farebox prices ...`: the price book of closed models, and what it would have made of past requests. Nothing here
//! changes a ledger; a server that runs takes over what is written to its folder of prices.

mod diff;
mod history;
mod import;
mod list;
mod rerate;

use anyhow::Result;

use crate::config::Settings;

#[derive(Debug, clap::Subcommand)]
enum PricesCommand {
    /// List the models with their prices, before and after the fee.
    List(list::Args),
    /// Read a public price list into price files.
    ///
    /// Each model of our providers is compared with the price book. Where its other source says the same, both are named;
    /// where the two contradict each other, the entry is disputed, and refused until a person rules: by an entry in the
    /// folder of prices whose source is no list. Such entries are never changed; what the list says otherwise is told.
    #[command(verbatim_doc_comment)]
    Import(import::Args),
    /// Show what differs between the price book and other price files.
    Diff(diff::Args),
    /// List the versions of the price book that the ledger has.
    History(history::Args),
    /// Show what past requests would have cost at the prices of now. Nothing is booked.
    ///
    /// Each request is priced by the entry that the price book has for its time. Requests that were charged less than
    /// the sum of their parts (what an estimate may cost ends at its hold) are counted and left out.
    #[command(verbatim_doc_comment)]
    Rerate(rerate::Args),
}

/// `farebox prices ...`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: PricesCommand,
}

/// Runs `farebox prices ...`.
pub(super) fn run(settings: &Settings, args: &Args) -> Result<i32> {
    match &args.command {
        PricesCommand::List(args) => list::run(settings, args),
        PricesCommand::Import(args) => import::run(settings, args),
        PricesCommand::Diff(args) => diff::run(settings, args),
        PricesCommand::History(args) => history::run(settings, args),
        PricesCommand::Rerate(args) => rerate::run(settings, args),
    }
}
