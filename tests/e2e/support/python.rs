//! Python packages that tests run, installed once below the build folder.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Mutex,
};

/// A folder with a package (`name==version`), for `PYTHONPATH`: made whole or not at all.
pub(crate) fn package(package: &str) -> PathBuf {
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _one = INSTALLING.lock().unwrap();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(package);
    if !folder.is_dir() {
        let partial = folder.with_extension("partial");
        let _ = std::fs::remove_dir_all(&partial);
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"];
        run(Command::new("python3").args(pip).arg(&partial).arg(package));
        std::fs::rename(&partial, &folder).unwrap();
    }
    folder
}

/// Where the scripts are.
pub(crate) fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk")
}

/// Runs a command that must go well.
pub(crate) fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let said = || format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}", said());
    output
}
