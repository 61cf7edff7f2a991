//! The operator's commands, which speak to their own server and to nobody else.

use std::{io::ErrorKind, net::TcpListener, process::Command};

use serde_json::Value;

use crate::support::server::{Options, Server};

#[tokio::test]
async fn commands_call_their_server_past_the_environments_proxy() {
    let server = Server::start(Options::default()).await;
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.set_nonblocking(true).unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_farebox"));
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        command.env(name, &address);
    }
    command
        .args(["account", "create", "ada@example.com"])
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .env("FAREBOX_LISTEN", server.url().trim_start_matches("http://"))
        .env("FAREBOX_ADMIN_TOKEN", Server::admin_token())
        .current_dir(server.folder());
    let made = tokio::task::spawn_blocking(move || {
        // A call that goes to the proxy is never answered.
        let mut running = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while running.try_wait().unwrap().is_none() {
            let asked = proxy.accept().map(drop).map_err(|error| error.kind());
            if asked != Err(ErrorKind::WouldBlock) || std::time::Instant::now() > deadline {
                running.kill().unwrap();
                running.wait().unwrap();
                panic!("the proxy was asked: {asked:?}");
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert_eq!(proxy.accept().map(drop).map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
        running.wait_with_output().unwrap()
    });
    let made = made.await.unwrap();
    let said: Value = serde_json::from_slice(&made.stdout).unwrap();
    assert!(made.status.success() && said["id"].is_string(), "{said}");
}
