//! Letters to people: plain text, handed to a mail server, or written to files where there is none. What a server refuses for good
//! is kept as a file too, as its link may be all that somebody waits for. Each is tried once: who tries again, and who writes to
//! whom, is not known here.

use std::{
    fmt,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use lettre::{
    AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    message::{
        Body, Mailbox,
        header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue},
    },
};
use uuid::Uuid;

/// The longest line that goes as it is, in bytes (RFC 5322, section 2.1.1).
const LONGEST_LINE: usize = 998;
/// How long a server may take for a step.
const STEP: Duration = Duration::from_secs(30);
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

/// What became of a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// A server has it, or a file.
    Taken,
    /// Nobody has it: try again later.
    Later(String),
}

/// Sends letters.
pub struct Mail {
    from: Mailbox,
    server: Option<AsyncSmtpTransport<Tokio1Executor>>,
    outbox: PathBuf,
}

impl Mail {
    /// From an address by a server, and without one into a folder.
    ///
    /// # Errors
    ///
    /// The address can't be read, or the server's.
    pub fn new(from: &str, server: Option<&str>, outbox: PathBuf) -> Result<Self, String> {
        let from = from.parse().map_err(|error| format!("{from}: {error}"))?;
        let server = server.map(AsyncSmtpTransport::<Tokio1Executor>::from_url).transpose();
        let server = server.map_err(|error| format!("the mail server's address: {error}"))?;
        Ok(Self { from, server: server.map(|server| server.timeout(Some(STEP)).build()), outbox })
    }

    /// Sends a letter, once. Sent again under its id it is the same one, as those see who look at its `Message-ID`.
    pub async fn send(&self, id: Uuid, letter: &Letter) -> Sent {
        let message = match self.written(id, letter) {
            Ok(message) => message,
            Err(error) => {
                // Addresses are checked long before.
                tracing::error!(letter.id = %id, error, "a letter can't be written: it is forgotten");
                return Sent::Taken;
            }
        };
        let Some(server) = &self.server else { return self.keep(id, &message) };
        match server.send(message.clone()).await {
            Ok(_) => Sent::Taken,
            Err(error) if error.is_permanent() => {
                tracing::warn!(letter.id = %id, %error, "the mail server refuses a letter: it is kept in the outbox");
                self.keep(id, &message)
            }
            Err(error) => Sent::Later(error.to_string()),
        }
    }

    fn written(&self, id: Uuid, letter: &Letter) -> Result<Message, String> {
        let host = self.from.email.domain();
        let to: lettre::Address = letter.to.parse().map_err(|error| format!("the reader's address: {error}"))?;
        let mut message = Message::builder()
            .message_id(Some(format!("<{id}@{host}>")))
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

    /// Writes a letter to a file, which its owner alone may read. Files are named in the order in which letters were written.
    fn keep(&self, id: Uuid, message: &Message) -> Sent {
        let kept = keep(&self.outbox, id, &message.formatted());
        kept.map_or_else(|error| Sent::Later(format!("{}: {error}", self.outbox.display())), |()| Sent::Taken)
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

fn keep(folder: &Path, id: Uuid, text: &[u8]) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    // Whoever looks for letters sees whole ones. Another try at the same letter begins anew.
    let unfinished = folder.join(format!(".{id}.{}", Uuid::new_v4()));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    file.write_all(text)?;
    // It is forgotten elsewhere once it is here.
    file.sync_all()?;
    std::fs::rename(unfinished, folder.join(format!("{id}.eml")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(outbox: PathBuf) -> Mail {
        Mail::new("Farebox <box@example.com>", None, outbox).unwrap()
    }

    #[test]
    fn a_letter_is_plain_text_and_nobody_adds_headers_to_it() {
        let (mail, id) = (mail(PathBuf::new()), Uuid::from_u128(7));
        let letter = |to: &str| Letter {
            to: to.into(),
            subject: "Sign up".into(),
            text: "A link:\n\nhttp://x/?a=b\n".into(),
            unsubscribe: None,
        };
        let text = String::from_utf8(mail.written(id, &letter("ada@example.com")).unwrap().formatted()).unwrap();
        assert!(text.contains("To: ada@example.com\r\n") && text.contains("Content-Type: text/plain"), "{text}");
        assert!(
            text.contains(&format!("Message-ID: <{id}@example.com>")) && text.ends_with("http://x/?a=b\r\n"),
            "{text}"
        );
        for to in ["a@b.c\r\nBcc: d@e.f", "a@b.c, d@e.f", "<a@b.c>", ""] {
            assert!(mail.written(id, &letter(to)).is_err(), "{to}");
        }
        assert!(!format!("{:?}", letter("a@b.c")).contains("http"));
        assert!(!text.contains("List-Unsubscribe"), "{text}");
        let url = format!("https://x/unsubscribe?token={}", "a".repeat(140));
        let letter = Letter { unsubscribe: Some(url.clone()), ..letter("ada@example.com") };
        let text = String::from_utf8(mail.written(id, &letter).unwrap().formatted()).unwrap();
        let headers = format!("\r\nList-Unsubscribe: <{url}>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n");
        assert!(text.contains(&headers), "{text}");
    }

    #[tokio::test]
    async fn what_is_kept_is_whole_and_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = std::env::temp_dir().join(format!("farebox-outbox-{}", Uuid::new_v4()));
        let mail = mail(folder.clone());
        let letter = |text: &str| Letter {
            to: "ada@example.com".into(),
            subject: "x".into(),
            text: text.into(),
            unsubscribe: None,
        };
        // The first is sent twice: a stop came between.
        for (id, text) in [(1, "one"), (1, "one"), (2, "two")] {
            assert_eq!(mail.send(Uuid::from_u128(id), &letter(text)).await, Sent::Taken);
        }
        let mut found: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        found.sort();
        let texts: Vec<_> = found.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
        assert!(texts.len() == 2 && texts[0].ends_with("one") && texts[1].ends_with("two"), "{texts:?}");
        assert!(found.iter().all(|path| path.extension().is_some_and(|end| end == "eml")));
        assert_eq!(std::fs::metadata(&found[0]).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::remove_dir_all(&folder).unwrap();
        std::fs::write(&folder, "no folder").unwrap();
        assert!(matches!(mail.send(Uuid::from_u128(3), &letter("three")).await, Sent::Later(_)));
        std::fs::remove_file(folder).unwrap();
    }
}
