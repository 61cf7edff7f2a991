//! The model of a measurement with nothing around it.

use engine::import::MODEL_FILE;
use engine::runtime::Runtime;
use ort::session::Session;

use crate::ratio::{Outcome, Stage};

/// A session of ONNX Runtime alone.
pub(crate) fn session(stage: &Stage, runtime: &Runtime) -> Outcome<Session> {
    let session = Session::builder(runtime.environment())?
        .with_intra_threads(stage.threads)
        .map_err(|error| error.to_string())?
        .with_inter_threads(1)
        .map_err(|error| error.to_string())?
        .commit_from_file(stage.folder.join(MODEL_FILE))?;
    Ok(session)
}
