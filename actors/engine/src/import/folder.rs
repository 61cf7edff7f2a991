//! A folder as it is on a hub, with an ONNX model and the files beside it. It knows where the model is and which files it
//! needs, not what the model does. What is taken over is copied: nothing of a model may change under a server that has it
//! loaded.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{ImportError, MODEL_FILE, draft::Draft, graph::Graph};

/// The places of the model in a folder.
const MODELS: [&str; 2] = [MODEL_FILE, "onnx/model.onnx"];
/// The file that every such folder has.
const CONFIG: &str = "config.json";

/// A folder, and its model.
#[derive(Debug)]
pub(crate) struct Folder {
    /// The folder of the files beside the model.
    pub(crate) root: PathBuf,
    /// The model's own file, in it or in a folder of it.
    pub(crate) model: PathBuf,
    /// What the model says of itself.
    pub(crate) graph: Graph,
}

impl Folder {
    /// Finds the model of a folder; or, of a model's file, its folder: the file's own, or the one above, whichever has the
    /// configuration.
    ///
    /// # Errors
    ///
    /// There is no model, or it can't be read. The error names the file.
    pub(crate) fn find(path: &Path) -> Result<Self, ImportError> {
        let refused = |reason: &str| ImportError::Refused(format!("{}: {reason}", path.display()));
        let (root, model) = if path.is_dir() {
            let model = MODELS.map(|place| path.join(place)).into_iter().find(|file| file.is_file());
            (path.to_owned(), model.ok_or_else(|| refused("it has no model.onnx and no onnx/model.onnx"))?)
        } else {
            let path = &std::path::absolute(path).map_err(|error| refused(&error.to_string()))?;
            let above = path.ancestors().skip(1).take(2);
            let root = above.into_iter().find(|folder| folder.join(CONFIG).is_file());
            let root = root.ok_or_else(|| refused("there is no config.json in its folder, nor in the one above"))?;
            (root.to_owned(), path.clone())
        };
        let graph = Graph::open(&model)?;
        Ok(Self { root, model, graph })
    }

    /// Copies the model, the files of its weights, and those files of the folder that are there.
    ///
    /// # Errors
    ///
    /// A file can't be read or written.
    pub(crate) fn copy<'a>(&self, draft: &Draft, files: impl Iterator<Item = &'a Path>) -> Result<(), ImportError> {
        copy(&self.model, &draft.path().join(MODEL_FILE))?;
        for weights in self.graph.data.keys() {
            copy(&self.model.with_file_name(weights), &draft.path().join(weights))?;
        }
        for file in files.filter(|file| self.root.join(file).is_file()) {
            copy(&self.root.join(file), &draft.path().join(file))?;
        }
        Ok(())
    }
}

/// The files beside an ONNX file that have weights of it, by their names.
///
/// # Errors
///
/// The file can't be read, is no ONNX model, or names a file outside its folder.
pub fn data_files(model: &Path) -> Result<Vec<String>, ImportError> {
    let failed = |reason: String| ImportError::Refused(format!("{}: {reason}", model.display()));
    let bytes = super::graph::read(model).map_err(|error| failed(error.to_string()))?;
    named_files(&bytes).map_err(failed)
}

/// The same of an ONNX file's bytes. Each is a single name: no path leaves the folder.
///
/// # Errors
///
/// The bytes are no ONNX model, or name a file outside its folder. The error is in words.
pub fn named_files(model: &[u8]) -> Result<Vec<String>, String> {
    Ok(Graph::read(model)?.data.into_keys().collect())
}

fn copy(from: &Path, to: &Path) -> Result<(), ImportError> {
    let failed = |source| ImportError::Write { path: to.to_owned(), source };
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    fs::copy(from, to).map(drop).map_err(failed)
}
