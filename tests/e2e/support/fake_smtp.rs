//! A strict stand-in for a mail server (RFC 5321, without extensions beyond EHLO's): commands in their order, lines that end with
//! CR LF and are no longer than 1,000 bytes, one reader a letter. It can refuse a number of letters first.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
};

/// A letter that it took.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    pub(crate) from: String,
    pub(crate) to: String,
    /// Headers, an empty line and the text, with CR LF.
    pub(crate) text: String,
}

/// The server, gone with the test's process.
pub(crate) struct FakeSmtp {
    port: u16,
    taken: Arc<Mutex<Vec<Taken>>>,
    faults: Arc<Mutex<Vec<String>>>,
    busy: Arc<AtomicU32>,
    /// Whether its client is killed: then a connection that is cut breaks no rule.
    killed: Arc<AtomicBool>,
}

impl FakeSmtp {
    /// Answers the first so many letters that it can't take them just now.
    pub(crate) fn start(busy: u32) -> Self {
        Self::start_on(TcpListener::bind("127.0.0.1:0").unwrap(), busy)
    }

    /// The same, at a socket that is there already.
    pub(crate) fn start_on(listener: TcpListener, busy: u32) -> Self {
        let port = listener.local_addr().unwrap().port();
        let busy = Arc::new(AtomicU32::new(busy));
        let server = Self {
            port,
            taken: Arc::default(),
            faults: Arc::default(),
            busy: Arc::clone(&busy),
            killed: Arc::default(),
        };
        let (taken, faults, killed) =
            (Arc::clone(&server.taken), Arc::clone(&server.faults), Arc::clone(&server.killed));
        thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let (taken, faults, busy) = (Arc::clone(&taken), Arc::clone(&faults), Arc::clone(&busy));
                let killed = Arc::clone(&killed);
                thread::spawn(move || {
                    if let Err(fault) = serve(&connection, &taken, &busy) {
                        let is_cut = fault.contains("Connection reset") || fault.contains("Broken pipe");
                        if !(is_cut && killed.load(Ordering::SeqCst)) {
                            faults.lock().unwrap().push(fault);
                        }
                    }
                });
            }
        });
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("smtp://127.0.0.1:{}", self.port)
    }

    /// Notes that its client is killed now.
    pub(crate) fn client_is_killed(&self) {
        self.killed.store(true, Ordering::SeqCst);
    }

    /// How many letters it will answer that it can't take them just now.
    pub(crate) fn busy(&self) -> u32 {
        self.busy.load(Ordering::SeqCst)
    }

    /// The letters so far. A client that broke the protocol fails the test.
    #[track_caller]
    pub(crate) fn taken(&self) -> Vec<Taken> {
        assert!(self.faults.lock().unwrap().is_empty(), "{:?}", self.faults.lock().unwrap());
        self.taken.lock().unwrap().clone()
    }
}

fn address(line: &str, before: &str) -> Result<String, String> {
    let rest = line.strip_prefix(before).ok_or(format!("{line} where {before} is due"))?;
    let address = rest.strip_prefix('<').and_then(|rest| rest.split_once('>')).map(|(address, _)| address);
    address.filter(|address| address.contains('@')).map(str::to_owned).ok_or(format!("{line} has no address"))
}

/// One connection: several letters, until QUIT or its end.
fn serve(connection: &TcpStream, taken: &Mutex<Vec<Taken>>, busy: &AtomicU32) -> Result<(), String> {
    let mut reader = BufReader::new(connection);
    let say = |text: &str| {
        let mut connection = connection;
        connection.write_all(format!("{text}\r\n").as_bytes()).map_err(|error| error.to_string())
    };
    let mut next = || -> Result<Option<String>, String> {
        let mut line = Vec::new();
        let read = reader.read_until(b'\n', &mut line).map_err(|error| error.to_string())?;
        if read == 0 {
            return Ok(None);
        }
        let text = String::from_utf8(line).map_err(|error| error.to_string())?;
        let text = text.strip_suffix("\r\n").ok_or(format!("{text:?} does not end with CR LF"))?.to_owned();
        if text.len() > 998 || text.contains(['\r', '\n', '\0']) {
            return Err(format!("{text:?} is no line"));
        }
        Ok(Some(text))
    };
    say("220 mail.test ready")?;
    let hello = next()?.ok_or("nothing was said")?;
    if !hello.starts_with("EHLO ") {
        return Err(format!("{hello} before EHLO"));
    }
    say("250-mail.test")?;
    say("250 8BITMIME")?;
    while let Some(line) = next()? {
        if line == "QUIT" {
            return say("221 bye");
        }
        if line == "RSET" || line == "NOOP" {
            say("250 ok")?;
            continue;
        }
        let from = address(&line, "MAIL FROM:")?;
        if busy.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            say("451 busy")?;
            continue;
        }
        say("250 ok")?;
        let to = address(&next()?.unwrap_or_default(), "RCPT TO:")?;
        if to.starts_with("nobody@") {
            say("550 there is none")?;
            continue;
        }
        say("250 ok")?;
        let data = next()?.unwrap_or_default();
        if data != "DATA" {
            return Err(format!("{data} where DATA is due"));
        }
        say("354 go on")?;
        let mut text = String::new();
        loop {
            let line = next()?.ok_or("a letter without an end")?;
            if line == "." {
                break;
            }
            text.push_str(line.strip_prefix('.').unwrap_or(&line));
            text.push_str("\r\n");
        }
        taken.lock().unwrap().push(Taken { from, to, text });
        say("250 taken")?;
    }
    Ok(())
}
