//! Fetching with a stand-in for `python3`: a shell script that counts its downloads and fails on request.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::{env, fs, thread};

use super::pip::Python;
use super::*;

const CONTENT: &str = "the library";

/// A separate folder for each test, removed afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = env::temp_dir().join(format!("farebox-fetch-{}", uuid::Uuid::new_v4()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn cache(&self) -> PathBuf {
        self.0.join("cache")
    }

    /// A `python3` that runs `download` for pip (with its folder in $DIR), and extracts by copying.
    fn python(&self, download: &str) -> Python {
        let script = self.0.join("python3");
        let count = self.0.join("count");
        let text = format!(
            "if [ \"$1\" = -c ]; then grep -q damaged \"$3\" && exit 1; cp \"$3\" \"$5\"; exit; fi\n\
             echo x >>{count}; while [ $# -gt 1 ]; do if [ \"$1\" = -d ]; then DIR=$2; fi; shift; done\n\
             mkdir -p \"$DIR\"\n{download}\n",
            count = count.display()
        );
        fs::write(&script, text).unwrap();
        Python::of(&[Path::new("/bin/sh"), &script])
    }

    fn downloads(&self) -> usize {
        fs::read_to_string(self.0.join("count")).map_or(0, |text| text.lines().count())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn good() -> String {
    format!("printf '%s' '{CONTENT}' >\"$DIR/thing-1.whl\"")
}

fn item() -> Item {
    let sum = blake3::hash(CONTENT.as_bytes()).to_hex().to_string();
    let piece = Piece { blake3: sum.leak(), ..RUNTIME_X86_64.pieces[0] };
    Item { pieces: Box::leak(Box::new([piece])), platform: &[], package: "thing==1", ..RUNTIME_X86_64 }
}

fn silent(_: &News) {}

fn fetch(python: Python, cache: &Path) -> Result<PathBuf, FetchError> {
    Fetcher::new(python, &silent).fetch(cache, &item()).map(|mut files| files.remove(0))
}

#[test]
fn a_file_is_fetched_once() {
    let folder = Folder::new();
    let first = fetch(folder.python(&good()), &folder.cache()).unwrap();
    assert_eq!(first, folder.cache().join("onnxruntime/1.31.1/libonnxruntime.so"));
    assert_eq!(fs::read_to_string(&first).unwrap(), CONTENT);
    assert!(!folder.cache().join("partial/onnxruntime-1.31.1").exists());
    assert_eq!(fetch(folder.python("exit 1"), &folder.cache()).unwrap(), first);
    assert_eq!(folder.downloads(), 1);
}

#[test]
fn a_finished_download_of_an_interrupted_run_is_used() {
    let folder = Folder::new();
    let left = folder.cache().join("partial/onnxruntime-1.31.1/package");
    fs::create_dir_all(&left).unwrap();
    fs::write(left.join("thing-1.whl"), CONTENT).unwrap();
    fetch(folder.python("exit 1"), &folder.cache()).unwrap();
    assert_eq!(folder.downloads(), 0);
}

#[test]
fn a_partial_download_of_an_interrupted_run_is_replaced() {
    let folder = Folder::new();
    let left = folder.cache().join("partial/onnxruntime-1.31.1/package");
    fs::create_dir_all(&left).unwrap();
    fs::write(left.join("thing-1.whl"), "the lib").unwrap();
    let file = fetch(folder.python(&good()), &folder.cache()).unwrap();
    assert_eq!(fs::read_to_string(file).unwrap(), CONTENT);
    assert_eq!(folder.downloads(), 1);
}

#[test]
fn a_spoilt_file_in_the_cache_is_fetched_again() {
    let folder = Folder::new();
    let file = fetch(folder.python(&good()), &folder.cache()).unwrap();
    fs::write(&file, "spoilt").unwrap();
    fetch(folder.python(&good()), &folder.cache()).unwrap();
    assert_eq!(fs::read_to_string(file).unwrap(), CONTENT);
    assert_eq!(folder.downloads(), 2);
}

#[test]
fn a_damaged_download_is_refused_and_cleared() {
    for download in ["printf other >\"$DIR/thing-1.whl\"", "printf damaged >\"$DIR/thing-1.whl\"", "true"] {
        let folder = Folder::new();
        let error = fetch(folder.python(download), &folder.cache()).unwrap_err();
        assert!(matches!(error, FetchError::Damaged { .. }), "{error}");
        assert!(!folder.cache().join("onnxruntime").exists());
        assert!(!folder.cache().join("partial/onnxruntime-1.31.1").exists());
    }
}

#[test]
fn files_of_one_package_come_together_or_not_at_all() {
    let folder = Folder::new();
    let good = item().pieces[0];
    let beside = Piece { member: "another", target: "onnxruntime/1.31.1/beside.so", ..good };
    let of = |second: Piece| Item { pieces: Box::leak(Box::new([good, second])), ..item() };
    let fetch = |item: &Item| Fetcher::new(folder.python(&self::good()), &silent).fetch(&folder.cache(), item);
    let wrong = fetch(&of(Piece { blake3: "none", ..beside })).unwrap_err();
    assert!(matches!(wrong, FetchError::Damaged { expected: "none", .. }), "{wrong}");
    assert!(!folder.cache().join("onnxruntime").exists());
    let files = fetch(&of(beside)).unwrap();
    assert_eq!(files.iter().map(|file| fs::read_to_string(file).unwrap()).collect::<Vec<_>>(), [CONTENT; 2]);
    assert_eq!(folder.downloads(), 2);
    fs::remove_file(&files[1]).unwrap();
    assert_eq!(fetch(&of(beside)).unwrap(), files, "what is missing is fetched again");
    assert_eq!(folder.downloads(), 3);
}

#[test]
fn fetchers_at_once_download_once() {
    let folder = Folder::new();
    let python = folder.python(&good());
    thread::scope(|scope| {
        let fetchers: Vec<_> =
            (0..4).map(|_| scope.spawn(|| fetch(python.clone(), &folder.cache()).unwrap())).collect();
        for fetcher in fetchers {
            fetcher.join().unwrap();
        }
    });
    assert_eq!(folder.downloads(), 1);
}

#[test]
fn progress_is_told_while_pip_runs() {
    let folder = Folder::new();
    let news = Mutex::new(Vec::new());
    let tell = |word: &News| news.lock().unwrap().push(word.clone());
    let slow = format!("head -c 2500000 /dev/zero >\"$TMPDIR/part\"; sleep 1.3; {}", good());
    Fetcher::new(folder.python(&slow), &tell).fetch(&folder.cache(), &item()).unwrap();
    let news = news.into_inner().unwrap();
    assert!(news.contains(&News::Progress("fetching ONNX Runtime 1.31.1 (24 MB): 2.5 MB".to_owned())), "{news:?}");
    assert!(matches!(news.first(), Some(News::Said(text)) if text.starts_with("fetching")), "{news:?}");
}

#[test]
fn each_failure_says_what_to_do_instead() {
    let folder = Folder::new();
    let offline =
        "echo 'WARNING: Retrying: NewConnectionError(x)'; echo 'ERROR: No matching distribution found'; exit 1";
    let failures = [
        (Python::of(&[Path::new("/nowhere/python3")]), "python3 with pip"),
        (folder.python("echo '/usr/bin/python3: No module named pip' >&2; exit 1"), "python3 -m pip"),
    ];
    for (python, said) in failures {
        let error = fetch(python, &folder.cache()).unwrap_err();
        assert!(matches!(error, FetchError::NoPip { .. }) && error.to_string().contains(said), "{error}");
        assert!(error.to_string().contains("FAREBOX_RUNTIME__ONNXRUNTIME"), "{error}");
    }
    let error = fetch(folder.python(offline), &folder.cache()).unwrap_err();
    assert!(matches!(error, FetchError::NoNetwork { .. }), "{error}");
    let error = fetch(folder.python("echo 'ERROR: disk on fire'; exit 2"), &folder.cache()).unwrap_err();
    assert!(matches!(&error, FetchError::Pip { said, .. } if said == "ERROR: disk on fire"), "{error}");
    assert!(DEMO_MODEL.instead.contains("farebox models import"));
    // After all these failures the next run succeeds.
    fetch(folder.python(&good()), &folder.cache()).unwrap();
}

#[test]
fn a_cache_that_cannot_be_written_says_so() {
    let folder = Folder::new();
    fs::write(folder.cache(), "a file where a folder should be").unwrap();
    let error = fetch(folder.python(&good()), &folder.cache()).unwrap_err();
    assert!(matches!(error, FetchError::Cache { .. }), "{error}");
}

#[test]
fn other_machines_are_told_what_to_set() {
    let cuda = runtime_for(("linux", "aarch64"), Kind::Cuda).unwrap_err().to_string();
    assert!(cuda.contains("for CUDA 13") && cuda.contains("linux on aarch64"), "{cuda}");
    let error = runtime_for(("plan9", "mips"), Kind::Cpu).unwrap_err().to_string();
    assert!(error.contains("plan9 on mips") && error.contains("FAREBOX_RUNTIME__ONNXRUNTIME"), "{error}");
}
