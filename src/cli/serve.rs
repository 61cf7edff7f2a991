//! `farebox serve`.

use anyhow::Result;

use crate::{
    app::{self, Running, Start, stopping::Signals},
    config::Settings,
    telemetry,
};

/// The arguments of `farebox serve` and `farebox quickstart`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Take the ledger over from another running process, which then stops.
    #[arg(long, conflicts_with = "replace")]
    take_over: bool,
    /// Take the place of the process that serves from the same data folder, without a refused connection: it finishes
    /// what it has begun, and ends. Where none serves, this one does.
    #[arg(long)]
    replace: bool,
}

impl Args {
    const fn start(&self) -> Start {
        match (self.take_over, self.replace) {
            (true, _) => Start::TakeOver,
            (false, true) => Start::Replace,
            (false, false) => Start::Beside,
        }
    }
}

/// Serves until the process is asked to stop.
pub(super) fn run(settings: &Settings, args: &Args) -> Result<i32> {
    serve(settings, args, async |running: &Running| {
        println!("listening on http://{}", running.address);
        Ok(())
    })
}

/// Serves until the process is asked to stop; `tell` prints the start. It does not return after serving: work that
/// still runs (a model that loads, a body that arrives) is not awaited.
#[expect(clippy::print_stdout, reason = "the command's output")]
pub(super) fn serve(settings: &Settings, args: &Args, tell: impl AsyncFnOnce(&Running) -> Result<()>) -> Result<i32> {
    telemetry::init_logs(&settings.log)?;
    let metrics = telemetry::Metrics::install()?;
    actix::System::new().block_on(async {
        let mut signals = Signals::hear()?;
        let running = tokio::select! {
            running = app::start(settings, metrics, args.start()) => running?,
            name = signals.end() => {
                println!("{name}: stopped before it served");
                return Ok(0);
            }
        };
        tell(&running).await?;
        let status = running.until_stopped(signals).await?;
        std::process::exit(status)
    })
}
