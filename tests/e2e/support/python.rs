//! Python packages that tests run, installed once below the build folder.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Mutex,
};

/// The SDKs and libraries by which applications call models. All are in one folder, so that what they share is installed
/// once.
const SDKS: [&str; 6] = [
    "openai==3.57.0",
    "anthropic==2.14.0",
    "langchain-openai==1.7.4",
    "langchain-anthropic==1.7.10",
    "pydantic-ai-slim[openai,anthropic]==2.68.0",
    "mistralai==3.7.0",
];

/// A script of `tests/sdk`, where it finds the SDKs.
pub(crate) fn python_script(name: &str) -> Command {
    let mut command = Command::new("python3");
    command.arg(scripts().join(name)).env("PYTHONPATH", packages("python-sdks", &SDKS));
    command
}

/// A folder with a package (`name==version`), for `PYTHONPATH`.
pub(crate) fn package(package: &str) -> PathBuf {
    packages(package, &[package])
}

/// A folder of this name with packages, for `PYTHONPATH`: made whole or not at all.
fn packages(name: &str, packages: &[&str]) -> PathBuf {
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _one = INSTALLING.lock().unwrap();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if !folder.is_dir() {
        let partial = folder.with_extension("partial");
        let _ = std::fs::remove_dir_all(&partial);
        // What is imported is compiled then; the rest never.
        let pip = ["-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check", "--target"];
        run(Command::new("python3").args(pip).arg(&partial).args(packages));
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
