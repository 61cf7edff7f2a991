//! Files by somebody who means harm: each is a good one with a few changes, made from a number, so that a failure can be run
//! again. Whatever a reader is given, it answers or refuses; it does not panic, does not run on, and takes no more memory
//! than some times the file's own size. `FAREBOX_TEST_MUTATIONS` says how many files are made for each reader.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod allocator;
#[allow(dead_code, reason = "the engine's other tests take the rest")]
#[path = "../engine/hugging.rs"]
mod hugging;
mod mutate;
#[allow(dead_code, reason = "the engine's other tests take the rest")]
#[path = "../engine/tiny.rs"]
mod tiny;

use std::io::Cursor;

use allocator::Counting;
use engine::{gguf::Gguf, import, onnx::Shape, tokenizer::Tokenizer};
use hugging::{DATA, Hugging};
use mutate::{Base, mutated};
use tiny::{Tiny, Value};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Memory that a reader may take: so many times its file, and so much for itself.
const TIMES: usize = 40;
const BESIDE: usize = 256 << 10;

fn count(default: u64) -> u64 {
    std::env::var("FAREBOX_TEST_MUTATIONS").ok().and_then(|count| count.parse().ok()).unwrap_or(default)
}

/// Tells which file a reader failed on.
struct Running(u64);

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the file was number {}", self.0);
        }
    }
}

/// Gives a reader its files. It says whether it took one.
fn run(bases: &[Base], count: u64, mut read: impl FnMut(&[u8]) -> bool) {
    let mut taken = 0;
    for number in 0..count {
        let running = Running(number);
        let file = mutated(bases, number);
        let before = allocator::begin();
        taken += u64::from(read(&file));
        let (peak, most) = (allocator::peak(before), TIMES * file.len() + BESIDE);
        assert!(peak <= most, "{peak} bytes for a file of {}", file.len());
        drop(running);
    }
    eprintln!("{count} files, {taken} of them taken");
    // Changes that only ever break a file would reach little of its reader.
    assert!(taken > 0 || count < 1_000, "no file was taken");
}

/// A small GGUF file with a value of each kind, and tensors that are stored otherwise.
fn small() -> Vec<u8> {
    let mut out = b"GGUF\x03\0\0\0".to_vec();
    let text = |out: &mut Vec<u8>, text: &str| {
        out.extend((text.len() as u64).to_le_bytes());
        out.extend(text.as_bytes());
    };
    out.extend(2_u64.to_le_bytes());
    out.extend(15_u64.to_le_bytes());
    for (kind, width) in [(0_u32, 1), (1, 1), (2, 2), (3, 2), (4, 4), (5, 4), (6, 4), (7, 1), (10, 8), (11, 8), (12, 8)]
    {
        text(&mut out, &format!("k{kind}"));
        out.extend(kind.to_le_bytes());
        out.extend(vec![1; width]);
    }
    text(&mut out, "text");
    out.extend(8_u32.to_le_bytes());
    text(&mut out, "llama");
    for (key, kind, width) in [("bytes", 0_u32, 1), ("floats", 6, 4), ("numbers", 10, 8)] {
        text(&mut out, key);
        out.extend([9_u32.to_le_bytes(), kind.to_le_bytes()].concat());
        out.extend(3_u64.to_le_bytes());
        out.extend(vec![1; 3 * width]);
    }
    for (name, kind, offset) in [("a", 2_u32, 0_u64), ("b", 0, 32)] {
        text(&mut out, name);
        out.extend(1_u32.to_le_bytes());
        out.extend(32_u64.to_le_bytes());
        out.extend(kind.to_le_bytes());
        out.extend(offset.to_le_bytes());
    }
    out.resize(out.len().next_multiple_of(32) + 32 + 128, 0);
    out
}

fn bases() -> Vec<Base> {
    let plain = Tiny::new().bytes();
    // A file's keys are where harm is done; its weights are only long.
    let first = Tiny::new().weights("token_embd.weight")[..4]
        .iter()
        .flat_map(|weight| weight.to_le_bytes())
        .collect::<Vec<_>>();
    let keys = plain.windows(first.len()).position(|window| *window == first[..]).unwrap();
    let odd = Tiny::new().key("llama.rope.scaling.type", Value::Text("yarn".into())).quantized().bytes();
    vec![
        Base::whole(small()),
        Base::whole(small()),
        Base { bytes: plain, harmed: keys },
        Base { bytes: odd, harmed: keys },
    ]
}

#[test]
fn no_gguf_file_harms_its_reader() {
    run(&bases(), count(4_000), |file| {
        let Ok(mut read) = Gguf::read(Cursor::new(file)) else { return false };
        let _ = Shape::read(&mut read);
        let names: Vec<String> = read.tensors().map(|tensor| tensor.name.clone()).collect();
        for name in names {
            let _ = read.floats(&name);
        }
        true
    });
}

#[test]
fn no_gguf_file_harms_its_import() {
    let root = tempfile::tempdir().unwrap();
    let (file, out) = (root.path().join("m.gguf"), root.path().join("m"));
    let bases = &bases()[2..];
    let mut taken = 0;
    for number in 0..count(4_000) / 20 {
        let running = Running(number);
        std::fs::write(&file, mutated(bases, number)).unwrap();
        if import::import(&file, &out).is_ok() {
            taken += 1;
            std::fs::remove_dir_all(&out).unwrap();
        }
        assert!(!out.exists(), "a folder appears whole or not at all");
        drop(running);
    }
    assert!(taken > 0, "no file was taken");
}

#[test]
fn no_onnx_file_harms_its_reader_and_none_names_a_file_elsewhere() {
    let (apart, _) = Hugging::apart(&Tiny::new(), DATA);
    let bases = [Base::whole(apart), Base::whole(nested())];
    run(&bases, count(4_000), |file| match import::named_files(file) {
        Ok(names) => {
            let is_single =
                |name: &String| !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0']);
            assert!(names.iter().all(is_single), "{names:?}");
            true
        }
        Err(_) => false,
    });
}

/// Graphs in graphs, with weights that are elsewhere.
fn nested() -> Vec<u8> {
    use hugging::bytes as field;
    let entry = field(13, &[field(1, b"location"), field(2, b"weights")].concat());
    let tensor = [field(8, b"w"), entry].concat();
    let inner = field(1, &field(5, &[field(5, &tensor), field(6, &field(5, &tensor))].concat()));
    let branch = field(1, &field(5, &field(11, &inner)));
    [field(7, &[branch, field(15, &field(1, &tensor))].concat()), field(25, &field(7, &field(5, &field(5, &tensor))))]
        .concat()
}

#[test]
fn no_tokenizer_harms_its_reader() {
    let root = tempfile::tempdir().unwrap();
    let (file, out) = (root.path().join("m.gguf"), root.path().join("m"));
    std::fs::write(&file, Tiny::new().bytes()).unwrap();
    import::import(&file, &out).unwrap();
    for name in ["tokenizer.json", "tokenizer_config.json", "generation_config.json", "config.json"] {
        let path = out.join(name);
        let good = std::fs::read(&path).unwrap();
        let bases = [Base::whole(good.clone())];
        for number in 0..count(4_000) / 20 {
            let running = Running(number);
            std::fs::write(&path, mutated(&bases, number)).unwrap();
            if let Ok(tokenizer) = Tokenizer::load(&out) {
                let _ = tokenizer.prove();
                let _ = tokenizer.encode("some text", engine::tokenizer::Special::Added);
            }
            drop(running);
        }
        std::fs::write(&path, good).unwrap();
    }
}
