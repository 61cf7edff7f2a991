//! A strict stand-in for a hub of models and for the store that it redirects to, which is another origin. It refuses what
//! the real one would, notes what it was asked, notes a token that reached the store, and misbehaves once for each misdeed
//! that it was scripted.

use std::{
    collections::VecDeque,
    fmt::Write as _,
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use serde_json::{Value, json};

/// The commit of every repository here.
pub(crate) const COMMIT: &str = "5d1a4c5b6e7f8091a2b3c4d5e6f708192a3b4c5d";

/// Files this large are in the store.
const LARGE: usize = 512;

/// What it does wrong, once, where a file or a list is asked for.
#[derive(Debug, Clone)]
pub(crate) enum Misdeed {
    /// Answers with this status, and perhaps with the seconds to wait.
    Status(u16, Option<u64>),
    /// Breaks the connection after so many bytes of a file.
    CutAt(usize),
    /// Sends other bytes than the file's.
    OtherBytes,
    /// Sends the whole, whatever part was asked for.
    WithoutRanges,
    /// Says that the part can't be had.
    NoSuchRange,
    /// Tells another checksum than the list.
    OtherSum,
    /// Sends a file that is longer than was told.
    TooLong,
    /// Sends each byte by itself, with so many milliseconds between.
    Slow(u64),
    /// Redirects there.
    Redirect(&'static str),
}

/// Who may see a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Open {
    ToAll,
    /// To this hub's token, which must have accepted its terms.
    Gated,
    /// To this hub's token alone; to others it is not there.
    Private,
}

/// A request, as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) target: String,
    pub(crate) range: Option<String>,
    pub(crate) token: Option<String>,
}

#[derive(Debug)]
struct Shelf {
    id: String,
    open: Open,
    files: Vec<(String, Vec<u8>)>,
    /// The size that is told of its files, where it is not their own.
    size: Option<u64>,
}

struct Shared {
    shelves: Mutex<Vec<Shelf>>,
    token: Option<String>,
    accepted: bool,
    store: Mutex<String>,
    script: Mutex<VecDeque<Misdeed>>,
    asked: Mutex<Vec<Asked>>,
    leaked: Mutex<Vec<String>>,
}

/// The hub, gone with the test's process.
#[derive(Clone)]
pub(crate) struct FakeHub {
    shared: Arc<Shared>,
    url: String,
}

impl FakeHub {
    /// A hub that takes this token. Whether its account has accepted the terms of gated repositories is said too.
    pub(crate) fn start(token: Option<&str>, accepted: bool) -> Self {
        let shared = Arc::new(Shared {
            shelves: Mutex::default(),
            token: token.map(str::to_owned),
            accepted,
            store: Mutex::default(),
            script: Mutex::default(),
            asked: Mutex::default(),
            leaked: Mutex::default(),
        });
        let store = listen(&shared, Shared::stored);
        *shared.store.lock().unwrap() = store;
        let url = listen(&shared, Shared::answer);
        Self { shared, url }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Puts a repository there, or others in the place of its files.
    pub(crate) fn put(&self, id: &str, open: Open, files: &[(&str, Vec<u8>)]) {
        let files = files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.clone())).collect();
        let mut shelves = self.shared.shelves.lock().unwrap();
        shelves.retain(|shelf| shelf.id != id);
        shelves.push(Shelf { id: id.to_owned(), open, files, size: None });
    }

    /// Tells another size of a repository's files.
    pub(crate) fn tell_size(&self, id: &str, size: u64) {
        let mut shelves = self.shared.shelves.lock().unwrap();
        shelves.iter_mut().filter(|shelf| shelf.id == id).for_each(|shelf| shelf.size = Some(size));
    }

    pub(crate) fn script(&self, misdeed: Misdeed) {
        self.shared.script.lock().unwrap().push_back(misdeed);
    }

    /// What was asked for since the last look, of hub and store.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.shared.asked.lock().unwrap())
    }

    /// Tokens that were sent to the store, or by one who may not.
    pub(crate) fn leaked(&self) -> Vec<String> {
        self.shared.leaked.lock().unwrap().clone()
    }
}

struct Request {
    target: String,
    headers: Vec<(String, String)>,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

/// An answer: its head without the connection's headers, its body, and how it is sent.
struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    cut: Option<usize>,
    pause: Option<u64>,
}

impl Answer {
    fn of(status: u16, headers: Vec<(&'static str, String)>, body: Vec<u8>) -> Self {
        Self { status, headers, body, cut: None, pause: None }
    }

    fn error(status: u16, code: &str) -> Self {
        let body = json!({"error": code}).to_string().into_bytes();
        Self::of(status, vec![("x-error-code", code.to_owned())], body)
    }
}

impl Shared {
    fn answer(&self, request: &Request) -> Answer {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match parts.as_slice() {
            ["api", "models", owner, name, "revision", revision] if query == "blobs=true" => {
                self.shown(request, &format!("{owner}/{name}"), |shelf| match *revision {
                    "main" | "v1" | COMMIT => self.listed(shelf),
                    _ => Answer::error(404, "RevisionNotFound"),
                })
            }
            [owner, name, "resolve", COMMIT, file @ ..] if query.is_empty() => {
                let file = file.join("/");
                self.shown(request, &format!("{owner}/{name}"), |shelf| self.resolved(request, shelf, &file))
            }
            _ => Answer::error(404, "RepoNotFound"),
        }
    }

    /// What a repository answers to those who may see it.
    fn shown(&self, request: &Request, id: &str, answer: impl FnOnce(&Shelf) -> Answer) -> Answer {
        let token = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        if token.is_some() && token != self.token.as_deref() {
            return Answer::error(401, "");
        }
        let shelves = self.shelves.lock().unwrap();
        let is_private = |shelf: &&Shelf| shelf.open != Open::Private || token.is_some();
        let Some(shelf) = shelves.iter().find(|shelf| shelf.id == id).filter(is_private) else {
            return Answer::error(if token.is_some() { 404 } else { 401 }, "RepoNotFound");
        };
        let is_file = request.target.contains("/resolve/");
        if shelf.open == Open::Gated && is_file && !(token.is_some() && self.accepted) {
            return Answer::error(if token.is_some() { 403 } else { 401 }, "GatedRepo");
        }
        answer(shelf)
    }

    fn listed(&self, shelf: &Shelf) -> Answer {
        if let Some(answer) = self.status() {
            return answer;
        }
        let told = |(name, bytes): &(String, Vec<u8>)| told(name, bytes, shelf.size);
        let files: Vec<Value> = shelf.files.iter().map(told).collect();
        let body =
            json!({"_id": "6", "id": shelf.id, "sha": COMMIT, "private": false, "gated": false, "siblings": files});
        Answer::of(200, vec![("content-type", "application/json".to_owned())], body.to_string().into_bytes())
    }

    fn resolved(&self, request: &Request, shelf: &Shelf, file: &str) -> Answer {
        let Some((_, bytes)) = shelf.files.iter().find(|(name, _)| name == file) else {
            return Answer::error(404, "EntryNotFound");
        };
        if let Some(answer) = self.status() {
            return answer;
        }
        if bytes.len() < LARGE {
            return self.part(request, bytes, vec![("etag", format!("\"{}\"", git(bytes)))]);
        }
        let mut sum = sha256(bytes);
        let mut script = self.script.lock().unwrap();
        let mut to = format!("{}/{sum}?sig=ok", self.store.lock().unwrap());
        match script.front() {
            Some(Misdeed::OtherSum) => {
                script.pop_front();
                sum = "0".repeat(64);
            }
            Some(Misdeed::Redirect(there)) => {
                (*there).clone_into(&mut to);
                script.pop_front();
            }
            _ => {}
        }
        let headers = vec![
            ("location", to),
            ("x-linked-etag", format!("\"{sum}\"")),
            ("x-linked-size", bytes.len().to_string()),
            ("x-repo-commit", COMMIT.to_owned()),
        ];
        Answer::of(302, headers, Vec::new())
    }

    /// The store, which knows signed addresses alone and takes no token.
    fn stored(&self, request: &Request) -> Answer {
        if let Some(token) = request.header("authorization") {
            self.leaked.lock().unwrap().push(token.to_owned());
            return Answer::error(400, "a token");
        }
        if let Some(answer) = self.status() {
            return answer;
        }
        let Some(sum) = request.target.trim_start_matches('/').strip_suffix("?sig=ok") else {
            return Answer::error(403, "AccessDenied");
        };
        let shelves = self.shelves.lock().unwrap();
        let mut files = shelves.iter().flat_map(|shelf| &shelf.files);
        match files.find(|(_, bytes)| sha256(bytes) == sum) {
            // The store's own mark is not the file's checksum.
            Some((_, bytes)) => self.part(request, bytes, vec![("etag", format!("\"{}\"", "e".repeat(64)))]),
            None => Answer::error(404, "NoSuchKey"),
        }
    }

    /// A scripted status.
    fn status(&self) -> Option<Answer> {
        let mut script = self.script.lock().unwrap();
        let Some(Misdeed::Status(status, seconds)) = script.front().cloned() else { return None };
        script.pop_front();
        let headers = seconds.map(|seconds| ("retry-after", seconds.to_string())).into_iter().collect();
        Some(Answer::of(status, headers, b"busy".to_vec()))
    }

    /// A file, or the part of it that was asked for.
    fn part(&self, request: &Request, bytes: &[u8], mut headers: Vec<(&'static str, String)>) -> Answer {
        let misdeed = self.script.lock().unwrap().pop_front();
        let from = request.header("range").map(|range| {
            let from = range.strip_prefix("bytes=").and_then(|range| range.strip_suffix('-'));
            from.and_then(|from| from.parse::<usize>().ok()).unwrap()
        });
        headers.push(("accept-ranges", "bytes".to_owned()));
        let mut answer = match from {
            Some(_) if matches!(misdeed, Some(Misdeed::WithoutRanges)) => Answer::of(200, headers, bytes.to_vec()),
            Some(from) if from >= bytes.len() || matches!(misdeed, Some(Misdeed::NoSuchRange)) => {
                headers.push(("content-range", format!("bytes */{}", bytes.len())));
                Answer::of(416, headers, Vec::new())
            }
            Some(from) => {
                headers.push(("content-range", format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len())));
                Answer::of(206, headers, bytes[from..].to_vec())
            }
            None => Answer::of(200, headers, bytes.to_vec()),
        };
        match misdeed {
            Some(Misdeed::CutAt(at)) => answer.cut = Some(at),
            Some(Misdeed::OtherBytes) => answer.body.iter_mut().for_each(|byte| *byte ^= 1),
            Some(Misdeed::TooLong) => answer.body.extend(b"more"),
            Some(Misdeed::Slow(pause)) => answer.pause = Some(pause),
            _ => {}
        }
        answer
    }
}

/// A file as the hub tells of it.
fn told(name: &str, bytes: &[u8], size: Option<u64>) -> Value {
    if bytes.len() < LARGE {
        return json!({"rfilename": name, "size": bytes.len(), "blobId": git(bytes)});
    }
    let size = size.unwrap_or(bytes.len() as u64);
    let large = json!({"sha256": sha256(bytes), "size": size, "pointerSize": 134});
    json!({"rfilename": name, "size": size, "blobId": git(b"a pointer"), "lfs": large})
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

fn git(bytes: &[u8]) -> String {
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    context.update(format!("blob {}\0", bytes.len()).as_bytes());
    context.update(bytes);
    hex(context.finish().as_ref())
}

/// Serves each connection's one request. Returns the address.
fn listen(shared: &Arc<Shared>, answer: fn(&Shared, &Request) -> Answer) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        for connection in listener.incoming().map_while(Result::ok) {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                if let Some(request) = read(&connection) {
                    let (range, token) = (request.header("range"), request.header("authorization"));
                    let (range, token) = (range.map(str::to_owned), token.map(str::to_owned));
                    let asked = Asked { target: request.target.clone(), range, token };
                    shared.asked.lock().unwrap().push(asked);
                    send(connection, &answer(&shared, &request));
                }
            });
        }
    });
    url
}

fn read(mut connection: &TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if connection.read(&mut byte).ok()? == 0 {
            return None;
        }
        bytes.extend(byte);
    }
    let text = String::from_utf8(bytes).ok()?;
    let mut lines = text.lines();
    let target = lines.next()?.strip_prefix("GET ")?.strip_suffix(" HTTP/1.1")?.to_owned();
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers: Vec<_> = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    let request = Request { target, headers };
    assert_eq!(request.header("accept-encoding"), Some("identity"), "bytes would be counted that are not the file's");
    assert!(request.header("user-agent").is_some_and(|agent| agent.starts_with("farebox/")));
    Some(request)
}

fn send(mut connection: TcpStream, answer: &Answer) {
    let headers: String = answer.headers.iter().fold(String::new(), |mut text, (name, value)| {
        let _ = write!(text, "{name}: {value}\r\n");
        text
    });
    let (status, length) = (answer.status, answer.body.len());
    let head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n");
    let _ = connection.write_all(head.as_bytes());
    let body = &answer.body[..answer.cut.unwrap_or(length).min(length)];
    match answer.pause {
        None => drop(connection.write_all(body)),
        Some(pause) => {
            for byte in body {
                let _ = connection.write_all(&[*byte]);
                thread::sleep(Duration::from_millis(pause));
            }
        }
    }
    let _ = connection.shutdown(Shutdown::Write);
    let _ = connection.read(&mut [0; 1]);
}
