//! OpenAI's own Python and Node SDKs, unchanged, against the real binary. The scripts are in `tests/sdk/`; the packages are
//! installed once below the build folder.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::support::{
    fake_openai::FakeOpenAi,
    server::{Options, Server},
};

const PYTHON_SDK: &str = "openai==3.57.0";

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk")
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let said = || format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}", said());
    output
}

/// A folder with the Python SDK, made whole or not at all.
fn python() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(PYTHON_SDK);
    if !folder.is_dir() {
        let partial = folder.with_extension("partial");
        let _ = std::fs::remove_dir_all(&partial);
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"];
        run(Command::new("python3").args(pip).arg(&partial).arg(PYTHON_SDK));
        std::fs::rename(&partial, &folder).unwrap();
    }
    folder
}

/// A folder with the Node SDK and the script beside it.
fn node() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("node-sdk");
    std::fs::create_dir_all(&folder).unwrap();
    for file in ["package.json", "openai_node.mjs"] {
        std::fs::copy(scripts().join(file), folder.join(file)).unwrap();
    }
    let npm = ["install", "--silent", "--no-audit", "--no-fund", "--no-package-lock"];
    run(Command::new("npm").args(npm).current_dir(&folder));
    folder
}

async fn against_farebox(prepare: impl FnOnce() -> Command + Send + 'static) {
    let fake = FakeOpenAi::start();
    let options = Options::default().calling(fake.url());
    let server = Server::start(options).await;
    let admin = server.admin();
    let (rich, poor) = (admin.customer("payg", "5").await, admin.customer("free", "0").await);
    let url = server.url().to_owned();
    let work = move || {
        let mut command = prepare();
        run(command.env("FAREBOX_URL", url).env("FAREBOX_KEY", rich.key).env("FAREBOX_POOR_KEY", poor.key))
    };
    let output = tokio::task::spawn_blocking(work).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "ok");
    admin.assert_audit().await;
}

#[tokio::test]
async fn the_python_sdk_chats_streams_and_raises_its_own_exceptions() {
    against_farebox(|| {
        let mut command = Command::new("python3");
        command.arg(scripts().join("openai_python.py")).env("PYTHONPATH", python());
        command
    })
    .await;
}

#[tokio::test]
async fn the_node_sdk_chats_streams_and_throws_its_own_errors() {
    against_farebox(|| {
        let mut command = Command::new("node");
        command.arg("openai_node.mjs").current_dir(node());
        command
    })
    .await;
}
