//! What this gateway signs, anyone can check: receipts and checkpoints are compact JWS (RFC 7515) by Ed25519 (`EdDSA`,
//! RFC 8037), and the public keys are a JWKS (RFC 7517). A key is named by its thumbprint (RFC 7638). Knows neither money
//! nor HTTP.
//!
//! The private key is a file of its own. Beside it stands the list of all public keys that ever signed here: an operator who
//! puts another key in its place changes nothing for what was signed before.

mod files;
pub mod jwks;
pub mod jws;

use std::{
    io,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::{
    rand::{SecureRandom as _, SystemRandom},
    signature::{Ed25519KeyPair, KeyPair as _},
};

use self::jwks::{Keys, PublicKey};

/// The `typ` of a request's receipt.
pub const REQUEST_RECEIPT: &str = "farebox-request-receipt+jws";
/// The `typ` of a payment's receipt.
pub const PAYMENT_RECEIPT: &str = "farebox-payment-receipt+jws";

/// The `typ` of a checkpoint of the log.
pub const CHECKPOINT: &str = "farebox-checkpoint+jws";

/// The lines around a key in its file (RFC 7468).
const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";
/// What stands before the 32 bytes of an Ed25519 key in PKCS#8 (RFC 8410, section 7), as every program reads it.
const PKCS8: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// A key can't be used, or can't be made.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file can't be read or written.
    #[error("{}: {}", .0.display(), .1)]
    File(PathBuf, io::Error),
    /// The file is there, and is no key.
    #[error("{}: not a private key of Ed25519 in PKCS#8 (`openssl genpkey -algorithm ed25519` makes one)", .0.display())]
    NoKey(PathBuf),
    /// The list of public keys is there, and can't be read.
    #[error("{}: {}", .0.display(), .1)]
    NoList(PathBuf, String),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    NoRandom,
}

/// The key that signs, and all that signed before.
pub struct Signer {
    pair: Ed25519KeyPair,
    public: PublicKey,
    keys: Keys,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("public", &self.public).finish_non_exhaustive()
    }
}

impl Signer {
    /// Reads the key of a file, or makes one. It joins the list of public keys beside it.
    ///
    /// # Errors
    ///
    /// A file can't be read or written, or is not what it should be.
    pub fn open(file: &Path) -> Result<Self, KeyError> {
        let pair = match read(file)? {
            Some(pair) => pair,
            None => make(file)?,
        };
        let public = PublicKey::new(pair.public_key().as_ref());
        let public = public.ok_or_else(|| KeyError::NoKey(file.to_owned()))?;
        let mut keys = list(file)?.unwrap_or_default();
        if keys.add(public.clone()) {
            let list = list_of(file);
            files::replace(&list, &(keys.to_json().to_string() + "\n")).map_err(|error| KeyError::File(list, error))?;
        }
        Ok(Self { pair, public, keys })
    }

    /// Signs a payload.
    pub fn sign(&self, typ: &str, payload: &[u8]) -> String {
        jws::write(&self.public, typ, payload, |signed| self.pair.sign(signed).as_ref().to_vec())
    }

    /// All public keys that ever signed here.
    pub const fn keys(&self) -> &Keys {
        &self.keys
    }
}

/// Puts a key and a list of public keys from elsewhere beside what is there. A key that is there stays; the lists become one.
///
/// # Errors
///
/// A file can't be read or written.
pub fn join(file: &Path, key: Option<&str>, others: &str) -> Result<(), KeyError> {
    let list = list_of(file);
    let others = Keys::read(others).map_err(|why| KeyError::NoList(list.clone(), why))?;
    if let Some(key) = key {
        files::begin(file, key).map_err(|error| KeyError::File(file.to_owned(), error))?;
    }
    let mut keys = self::list(file)?.unwrap_or_default();
    let added = others.iter().filter(|key| keys.add((*key).clone())).count();
    if added == 0 {
        return Ok(());
    }
    files::replace(&list, &(keys.to_json().to_string() + "\n")).map_err(|error| KeyError::File(list, error))
}

/// The public keys of a private key's file; `None` if none has signed there.
///
/// # Errors
///
/// The list can't be read.
pub fn list(file: &Path) -> Result<Option<Keys>, KeyError> {
    let list = list_of(file);
    match std::fs::read_to_string(&list) {
        Ok(text) => Keys::read(&text).map(Some).map_err(|why| KeyError::NoList(list, why)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(KeyError::File(list, error)),
    }
}

/// The path of the list of public keys: `signing_key.jwks.json` beside `signing_key.pem`.
pub fn list_of(file: &Path) -> PathBuf {
    file.with_extension("jwks.json")
}

fn read(file: &Path) -> Result<Option<Ed25519KeyPair>, KeyError> {
    let bytes = match std::fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(KeyError::File(file.to_owned(), error)),
    };
    let no_key = || KeyError::NoKey(file.to_owned());
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    let der = match text.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END)) {
        Some((lines, _)) => STANDARD.decode(lines.split_whitespace().collect::<String>()).map_err(|_| no_key())?,
        None => bytes,
    };
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).map(Some).map_err(|_| no_key())
}

/// Makes a key. Of several nodes that start at once one makes it, and the others read it.
fn make(file: &Path) -> Result<Ed25519KeyPair, KeyError> {
    let mut seed = [0; 32];
    SystemRandom::new().fill(&mut seed).map_err(|_| KeyError::NoRandom)?;
    let text = format!("{BEGIN}\n{}\n{END}\n", STANDARD.encode([&PKCS8[..], &seed].concat()));
    files::begin(file, &text).map_err(|error| KeyError::File(file.to_owned(), error))?;
    read(file)?.ok_or_else(|| KeyError::NoKey(file.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let folder = std::env::temp_dir().join(format!("farebox-signing-{}", uuid::Uuid::new_v4()));
            fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }

        fn key(&self) -> PathBuf {
            self.0.join("signing_key.pem")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_key_is_made_once_and_only_its_owner_reads_it() {
        let folder = Folder::new();
        let first = Signer::open(&folder.key()).unwrap();
        let again = Signer::open(&folder.key()).unwrap();
        assert_eq!(first.sign("a", b"{}"), again.sign("a", b"{}"));
        assert_eq!(fs::metadata(folder.key()).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 2, "the key and the list, and nothing half written");
    }

    #[test]
    fn what_a_replaced_key_signed_is_still_checked() {
        let folder = Folder::new();
        let old = Signer::open(&folder.key()).unwrap().sign("a", b"{}");
        fs::remove_file(folder.key()).unwrap();
        let signer = Signer::open(&folder.key()).unwrap();
        assert_eq!(signer.keys().len(), 2);
        assert_eq!(jws::open(&old, signer.keys()).unwrap().payload, b"{}");
        assert_ne!(old, signer.sign("a", b"{}"));
        assert_eq!(list(&folder.key()).unwrap().unwrap().to_json(), signer.keys().to_json());
    }

    #[test]
    fn keys_from_elsewhere_join_and_replace_none() {
        let (here, there) = (Folder::new(), Folder::new());
        let theirs = Signer::open(&there.key()).unwrap();
        let text = fs::read_to_string(there.key()).unwrap();
        join(&here.key(), Some(&text), &theirs.keys().to_json().to_string()).unwrap();
        assert_eq!(Signer::open(&here.key()).unwrap().sign("a", b"{}"), theirs.sign("a", b"{}"));
        let other = Folder::new();
        let own = Signer::open(&other.key()).unwrap().sign("a", b"{}");
        join(&other.key(), Some(&text), &theirs.keys().to_json().to_string()).unwrap();
        let signer = Signer::open(&other.key()).unwrap();
        assert_eq!((signer.sign("a", b"{}"), signer.keys().len()), (own, 2));
    }

    #[test]
    fn what_is_no_key_is_not_replaced() {
        let folder = Folder::new();
        for text in ["", "hello", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            fs::write(folder.key(), text).unwrap();
            assert!(matches!(Signer::open(&folder.key()), Err(KeyError::NoKey(_))), "{text}");
            assert_eq!(fs::read_to_string(folder.key()).unwrap(), text);
        }
        fs::remove_file(folder.key()).unwrap();
        fs::write(list_of(&folder.key()), "{").unwrap();
        assert!(matches!(Signer::open(&folder.key()), Err(KeyError::NoList(..))));
    }

    #[test]
    fn the_examples_of_the_standards_come_out_the_same() {
        // RFC 8037, appendices A.1 to A.4.
        let folder = Folder::new();
        let seed =
            base64::engine::general_purpose::URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A");
        fs::write(folder.key(), [&PKCS8[..], &seed.unwrap()].concat()).unwrap();
        let signer = Signer::open(&folder.key()).unwrap();
        assert_eq!(signer.public.x(), "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        assert_eq!(signer.public.thumbprint(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        let signature = signer.pair.sign(b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc");
        let signature = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(signature.as_ref());
        assert_eq!(signature, "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg");
    }
}
