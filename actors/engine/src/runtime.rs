//! ONNX Runtime's library, loaded once per process from a path. Loading fails where the library is missing or wrong, or
//! would send telemetry. Later loads with any path return the existing environment, since ONNX Runtime allows only one.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ort::environment::Environment;

use super::telemetry;

/// A session's setting: the folder in which a model's data file is, where the model itself comes from memory.
pub(crate) const DATA_FOLDER: &str = "session.model_external_initializers_file_folder_path";

/// Why ONNX Runtime can't be used.
#[derive(Debug, Clone, thiserror::Error)]
#[error("ONNX Runtime at {path}: {reason}")]
pub struct RuntimeError {
    /// The library's path.
    pub path: PathBuf,
    /// The reason.
    pub reason: String,
}

/// ONNX Runtime, ready to load models.
#[derive(Debug, Clone)]
pub struct Runtime {
    environment: Environment,
}

static LOADED: Mutex<Option<Environment>> = Mutex::new(None);

impl Runtime {
    /// ONNX Runtime's environment, to make sessions in.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Loads the library, or returns the environment that is loaded already.
    ///
    /// # Errors
    ///
    /// There is no file at the path, the library can't be loaded, or it would send telemetry. The error names the path
    /// and the reason; a later call may try again.
    pub fn load(library: &Path) -> Result<Self, RuntimeError> {
        let failed = |reason: String| RuntimeError { path: library.to_owned(), reason };
        let mut loaded = LOADED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(environment) = &*loaded {
            return Ok(Self { environment: environment.clone() });
        }
        if !library.is_file() {
            return Err(failed("no such file".to_owned()));
        }
        if !telemetry::is_off() {
            return Err(failed(format!(
                "it would send telemetry: {} must be 1 before it is loaded",
                telemetry::VARIABLE
            )));
        }
        let environment = ort::init_from(library)
            .map_err(|error| failed(error.to_string()))?
            .with_name("farebox")
            .with_telemetry(false)
            .build()
            .map_err(|error| failed(error.to_string()))?;
        *loaded = Some(environment.clone());
        Ok(Self { environment })
    }
}
