//! `farebox serve`.

use anyhow::Result;

use crate::{app, config::Settings, telemetry};

/// Serves until told to stop.
pub(super) fn run(settings: &Settings) -> Result<i32> {
    telemetry::init_logs(&settings.log)?;
    let metrics = telemetry::Metrics::install()?;
    actix::System::new().block_on(async {
        let running = app::start(settings, metrics).await?;
        println!("listening on http://{}", running.address);
        running.until_stopped().await?;
        Ok(0)
    })
}
