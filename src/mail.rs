//! Letters to people: plain text, handed to a mail server, or written to files where there is none. Whoever sends one waits for
//! neither. What no server takes is kept as a file too, as its link may be all that somebody waits for. Knows nothing of who
//! writes to whom, and why.

use std::{
    fmt,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use lettre::{
    AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    message::{
        Body, Mailbox,
        header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue},
    },
};
use tokio::sync::{Semaphore, mpsc, oneshot};

/// The letters that may wait.
const WAITING: usize = 1_000;
/// The letters that are sent at once.
const AT_ONCE: usize = 4;
/// The longest line that goes as it is, in bytes (RFC 5322, section 2.1.1).
const LONGEST_LINE: usize = 998;
/// How long a server may take for a step.
const STEP: Duration = Duration::from_secs(30);
/// The waits between tries at a server that can't take a letter just now.
const AGAIN: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(10), Duration::from_mins(1)];

/// A letter.
#[derive(Clone)]
pub struct Letter {
    /// The address of its reader.
    pub to: String,
    /// What it is about.
    pub subject: String,
    /// What it says.
    pub text: String,
    /// Where its reader has no more of its kind sent, by one request and without signing in (RFC 8058).
    pub unsubscribe: Option<String>,
}

impl fmt::Debug for Letter {
    /// Its text may have a link that is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Letter").field("subject", &self.subject).finish_non_exhaustive()
    }
}

/// Too many letters wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many letters wait to be sent")]
pub struct Full;

/// A letter that waits, and who waits for it to be on its way.
type Waiting = (Letter, Option<oneshot::Sender<()>>);

/// Takes letters.
#[derive(Debug, Clone)]
pub struct Mail(mpsc::Sender<Waiting>);

/// What sends them.
struct Sender {
    from: Mailbox,
    server: Option<AsyncSmtpTransport<Tokio1Executor>>,
    outbox: PathBuf,
}

impl Mail {
    /// Sends letters from an address by a server, and without one into a folder. Must run within a runtime.
    ///
    /// # Errors
    ///
    /// The address can't be read, or the server's.
    pub fn start(from: &str, server: Option<&str>, outbox: PathBuf) -> Result<Self, String> {
        let from = from.parse().map_err(|error| format!("{from}: {error}"))?;
        let server = server.map(AsyncSmtpTransport::<Tokio1Executor>::from_url).transpose();
        let server = server.map_err(|error| format!("the mail server's address: {error}"))?;
        let server = server.map(|server| server.timeout(Some(STEP)).build());
        let (queue, mut waiting) = mpsc::channel::<Waiting>(WAITING);
        let sender = Arc::new(Sender { from, server, outbox });
        tokio::spawn(async move {
            let slots = Arc::new(Semaphore::new(AT_ONCE));
            while let Some((letter, waits)) = waiting.recv().await {
                // It is closed by nobody.
                let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
                let sender = Arc::clone(&sender);
                tokio::spawn(async move {
                    let _slot = slot;
                    sender.send(&letter).await;
                    // Who waited may have left.
                    let _ = waits.map(|waits| waits.send(()));
                });
            }
        });
        Ok(Self(queue))
    }

    /// Has a letter sent.
    ///
    /// # Errors
    ///
    /// Too many wait.
    pub fn send(&self, letter: Letter) -> Result<(), Full> {
        self.0.try_send((letter, None)).map_err(|_| Full)
    }

    /// Sends a letter, and waits until a server has taken it, or it is kept in the outbox. Returns whether that is so.
    pub async fn deliver(&self, letter: Letter) -> bool {
        let (waits, done) = oneshot::channel();
        self.0.send((letter, Some(waits))).await.is_ok() && done.await.is_ok()
    }
}

impl Sender {
    async fn send(&self, letter: &Letter) {
        let message = match self.written(letter) {
            Ok(message) => message,
            Err(error) => return tracing::warn!(error, "a letter can't be written"),
        };
        let Some(server) = &self.server else {
            self.keep(&message.formatted());
            return;
        };
        let mut waits = AGAIN.into_iter();
        loop {
            let Err(error) = server.send(message.clone()).await else { return };
            let Some(wait) = waits.next().filter(|_| !error.is_permanent()) else {
                tracing::warn!(%error, "the mail server did not take a letter: it is kept in the outbox");
                return self.keep(&message.formatted());
            };
            tokio::time::sleep(wait).await;
        }
    }

    fn written(&self, letter: &Letter) -> Result<Message, String> {
        let host = self.from.email.domain();
        let to: lettre::Address = letter.to.parse().map_err(|error| format!("the reader's address: {error}"))?;
        let mut message = Message::builder()
            .message_id(Some(format!("<{}@{host}>", uuid::Uuid::now_v7())))
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(&letter.subject)
            .header(ContentType::TEXT_PLAIN)
            .body(body(&letter.text))
            .map_err(|error| error.to_string())?;
        if let Some(url) = &letter.unsubscribe {
            unsubscribed_at(&mut message, url);
        }
        Ok(message)
    }

    /// Writes a letter to a file, which its owner alone may read.
    fn keep(&self, text: &[u8]) {
        if let Err(error) = keep(&self.outbox, text) {
            let folder = self.outbox.display();
            tracing::warn!(%error, %folder, "a letter is lost: it could not be written to the outbox");
        }
    }
}

/// Adds the headers by which programs unsubscribe their reader. The address is ours: it has nothing that a header can't have, and is
/// not folded, as some of those programs read one line alone.
fn unsubscribed_at(message: &mut Message, url: &str) {
    let value = format!("<{url}>");
    for (name, value) in [
        (HeaderName::new_from_ascii_str("List-Unsubscribe"), value.as_str()),
        (HeaderName::new_from_ascii_str("List-Unsubscribe-Post"), "List-Unsubscribe=One-Click"),
    ] {
        let header = HeaderValue::dangerous_new_pre_encoded(name, value.to_owned(), value.to_owned());
        message.headers_mut().insert_raw(header);
    }
}

/// A text as it is where it can be: people read files of the outbox, and a link that is encoded leads nowhere.
fn body(text: &str) -> Body {
    let is_plain = |line: &str| line.len() <= LONGEST_LINE && line.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
    if text.lines().all(is_plain) {
        let lines = text.replace('\n', "\r\n").into_bytes();
        return Body::dangerous_pre_encoded(lines, ContentTransferEncoding::SevenBit);
    }
    Body::new(text.to_owned())
}

fn keep(folder: &Path, text: &[u8]) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let name = uuid::Uuid::now_v7().to_string();
    // Whoever looks for letters sees whole ones.
    let unfinished = folder.join(format!(".{name}"));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    file.write_all(text)?;
    std::fs::rename(unfinished, folder.join(format!("{name}.eml")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(outbox: PathBuf) -> Sender {
        Sender { from: "Farebox <box@example.com>".parse().unwrap(), server: None, outbox }
    }

    #[test]
    fn a_letter_is_plain_text_and_nobody_adds_headers_to_it() {
        let sender = sender(PathBuf::new());
        let letter = |to: &str| Letter {
            to: to.into(),
            subject: "Sign up".into(),
            text: "A link:\n\nhttp://x/?a=b\n".into(),
            unsubscribe: None,
        };
        let text = String::from_utf8(sender.written(&letter("ada@example.com")).unwrap().formatted()).unwrap();
        assert!(text.contains("To: ada@example.com\r\n") && text.contains("Content-Type: text/plain"), "{text}");
        assert!(text.contains("Message-ID: <") && text.ends_with("http://x/?a=b\r\n"), "{text}");
        for to in ["a@b.c\r\nBcc: d@e.f", "a@b.c, d@e.f", "<a@b.c>", ""] {
            assert!(sender.written(&letter(to)).is_err(), "{to}");
        }
        assert!(!format!("{:?}", letter("a@b.c")).contains("http"));
        assert!(!text.contains("List-Unsubscribe"), "{text}");
        let url = format!("https://x/unsubscribe?token={}", "a".repeat(140));
        let letter = Letter { unsubscribe: Some(url.clone()), ..letter("ada@example.com") };
        let text = String::from_utf8(sender.written(&letter).unwrap().formatted()).unwrap();
        let headers = format!("\r\nList-Unsubscribe: <{url}>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n");
        assert!(text.contains(&headers), "{text}");
    }

    #[test]
    fn what_is_kept_is_whole_and_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = std::env::temp_dir().join(format!("farebox-outbox-{}", uuid::Uuid::new_v4()));
        sender(folder.clone()).keep(b"one");
        sender(folder.clone()).keep(b"two");
        let mut found: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        found.sort();
        let texts: Vec<_> = found.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
        assert_eq!(texts, ["one", "two"], "in their order");
        assert!(found.iter().all(|path| path.extension().is_some_and(|end| end == "eml")));
        assert_eq!(std::fs::metadata(&found[0]).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
