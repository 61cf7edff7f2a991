//! A provider that answers with exactly the bytes a test wants, and then closes the connection: for what no honest server
//! writes.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::Value;

/// A request, as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// Its first line and headers.
    pub(crate) head: String,
    /// Its body.
    pub(crate) body: Value,
    /// The same, byte for byte.
    pub(crate) text: String,
}

/// The server, gone with the test's process.
pub(crate) struct RawProvider {
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl RawProvider {
    /// Answers each request with what this makes of it.
    pub(crate) fn start(answer: impl Fn(&Asked) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let (asked, answer) = (Arc::<Mutex<Vec<Asked>>>::default(), Arc::new(answer));
        let seen = Arc::clone(&asked);
        thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                thread::spawn(move || {
                    if let Some(asked) = read(&connection) {
                        seen.lock().unwrap().push(asked.clone());
                        serve(connection, &answer(&asked));
                    }
                });
            }
        });
        Self { url, asked }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn read(mut connection: &TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?.parse::<usize>().ok()?;
            if body.len() >= length {
                return Some(Asked {
                    head: head.to_owned(),
                    body: serde_json::from_str(body).ok()?,
                    text: body.to_owned(),
                });
            }
        }
        let mut piece = [0; 4_096];
        match connection.read(&mut piece) {
            Ok(count) if count > 0 => bytes.extend_from_slice(&piece[..count]),
            _ => return None,
        }
    }
}

/// Reads one request, and answers it so.
pub(crate) fn serve_one(connection: TcpStream, bytes: &[u8]) {
    if read(&connection).is_some() {
        serve(connection, bytes);
    }
}

/// Writes, and closes when the other side has.
fn serve(mut connection: TcpStream, bytes: &[u8]) {
    let _ = connection.write_all(bytes);
    let _ = connection.shutdown(Shutdown::Write);
    let _ = connection.read(&mut [0; 1]);
}

/// An answer that ends with its connection.
pub(crate) fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let headers: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("HTTP/1.1 {status} X\r\nconnection: close\r\n{}\r\n{body}", headers.concat()).into_bytes()
}

/// An answer in one chunk whose end never comes: its connection breaks.
pub(crate) fn broken(body: &str) -> Vec<u8> {
    let head =
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = if body.is_empty() { String::new() } else { format!("{:x}\r\n{body}\r\n", body.len()) };
    (head.to_owned() + &chunk).into_bytes()
}
