//! npm packages that tests run, installed once below the build folder, all in one folder.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};

use super::python::{run, scripts};

static INSTALLED: Mutex<bool> = Mutex::new(false);

/// A script of `tests/sdk`, where it finds its packages.
pub(crate) fn node_script(name: &str) -> Command {
    let folder = node();
    std::fs::copy(scripts().join(name), folder.join(name)).unwrap();
    let mut command = Command::new("node");
    command.arg(name).current_dir(folder);
    command
}

/// A script with this text, where it finds the packages.
pub(crate) fn node_client(name: &str, text: &str) -> Command {
    let folder = node();
    std::fs::write(folder.join(name), text).unwrap();
    let mut command = Command::new("node");
    command.arg(name).current_dir(folder);
    command
}

/// The text of a file of a package.
pub(crate) fn node_file(path: &str) -> String {
    std::fs::read_to_string(node().join("node_modules").join(path)).unwrap()
}

/// A folder with the packages.
fn node() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("node-sdk");
    // Stories run at once, and want one installation.
    let mut is_installed = INSTALLED.lock().unwrap();
    if std::mem::replace(&mut *is_installed, true) {
        return folder;
    }
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::copy(scripts().join("package.json"), folder.join("package.json")).unwrap();
    let npm = ["install", "--silent", "--no-audit", "--no-fund", "--no-package-lock"];
    run(Command::new("npm").args(npm).current_dir(&folder));
    folder
}
