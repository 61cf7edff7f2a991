//! Which of a repository's models is meant: the only one, or the one that was chosen by its file, a pattern, or the name of
//! its quantization. Where that is none or several, the choices are told with their sizes. It knows names and sizes alone.

use std::collections::BTreeMap;

use engine::gguf::split_name;
use hub::RemoteFile;

/// What kind of file a model is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// GGUF: all is in one file, or in parts of it.
    Gguf,
    /// ONNX: a graph, and files beside it.
    Onnx,
}

/// A model of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice<'a> {
    /// What chooses it: a file's path, without the number of its part.
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Its file, or its parts in their order.
    pub(super) files: Vec<&'a RemoteFile>,
    /// The parts that there should be.
    parts: u64,
}

/// The files beside an ONNX model that an import reads.
const BESIDE: [&str; 9] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
];

/// The model that is meant. The error has the choices, each with its size.
pub(super) fn choose<'a>(files: &'a [RemoteFile], wanted: Option<&str>) -> Result<Choice<'a>, String> {
    let mut all = choices(files);
    if all.is_empty() {
        let has = |end: &str| files.iter().any(|file| file.path.ends_with(end));
        let other = [".safetensors", ".bin", ".pt"].into_iter().find(|end| has(end));
        let other = other.map(|end| format!("; its weights are in {end} files")).unwrap_or_default();
        return Err(format!("it has no GGUF file and no ONNX file, which are what can be imported{other}"));
    }
    let Some(wanted) = wanted else {
        return if all.len() == 1 { whole(all.remove(0)) } else { Err(listed("it has several models", &all)) };
    };
    // The narrowest way to name it counts: a file's path may be the end of another's name.
    let ways: [fn(&Choice<'_>, &str) -> bool; 4] = [is_path, is_name, is_match, is_quantization];
    let found =
        ways.into_iter().map(|is_meant| all.iter().filter(|choice| is_meant(choice, wanted)).collect::<Vec<_>>());
    match found.into_iter().find(|found| !found.is_empty()).unwrap_or_default().as_slice() {
        [] => Err(listed(&format!("it has no {wanted:?}"), &all)),
        [one] => whole((*one).clone()),
        several => Err(listed(&format!("{wanted:?} means several"), several.iter().copied())),
    }
}

/// The files beside a chosen model: those in its own folder, or else the repository's.
pub(super) fn beside<'a>(files: &'a [RemoteFile], chosen: &Choice<'_>) -> Vec<&'a RemoteFile> {
    if chosen.kind == Kind::Gguf {
        return Vec::new();
    }
    let folder = chosen.name.rsplit_once('/').map(|(folder, _)| folder);
    let find = |path: &str| files.iter().find(|file| file.path == path);
    let named = BESIDE
        .iter()
        .filter_map(|name| folder.and_then(|folder| find(&format!("{folder}/{name}"))).or_else(|| find(name)));
    // `1_Pooling/config.json`, as encoders have it.
    let is_module = |file: &&RemoteFile| {
        let number = file.path.strip_suffix("/config.json").and_then(|folder| folder.split_once('_'));
        number.is_some_and(|(number, name)| number.parse::<u8>().is_ok() && !name.contains('/'))
    };
    named.chain(files.iter().filter(is_module)).collect()
}

/// A size for people.
pub(super) fn shown(bytes: u64) -> String {
    let (unit, name) = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")]
        .into_iter()
        .find(|(unit, _)| bytes >= *unit)
        .unwrap_or((1, "bytes"));
    if unit == 1 { format!("{bytes} {name}") } else { format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit) }
}

impl Choice<'_> {
    /// Bytes of its files.
    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).fold(0, u64::saturating_add)
    }
}

/// All models of a repository, by name.
fn choices(files: &[RemoteFile]) -> Vec<Choice<'_>> {
    let mut found: BTreeMap<String, Vec<(u64, u64, &RemoteFile)>> = BTreeMap::new();
    for file in files {
        let (folder, name) = file.path.rsplit_once('/').map_or(("", &*file.path), |(folder, name)| (folder, name));
        let Some((stem, kind)) = kind_of(name) else { continue };
        let (stem, (part, parts)) = split_name(stem).filter(|_| kind == Kind::Gguf).unwrap_or((stem, (1, 1)));
        let end = &name[name.len() - 5..];
        let key = if folder.is_empty() { format!("{stem}{end}") } else { format!("{folder}/{stem}{end}") };
        found.entry(key).or_default().push((part, parts, file));
    }
    found.into_iter().map(|(name, parts)| choice(name, parts)).collect()
}

/// A model of files that are named alike, each with its part's number and the number of parts.
fn choice(name: String, mut parts: Vec<(u64, u64, &RemoteFile)>) -> Choice<'_> {
    parts.sort_unstable_by_key(|(part, ..)| *part);
    let kind = kind_of(&name).map_or(Kind::Gguf, |(_, kind)| kind);
    let count = parts.iter().map(|(_, count, _)| *count).max().unwrap_or(1);
    Choice { name, kind, files: parts.into_iter().map(|(.., file)| file).collect(), parts: count }
}

/// A model's file by its name: the name without its ending, and the kind.
fn kind_of(name: &str) -> Option<(&str, Kind)> {
    let end = name.len().checked_sub(5).filter(|end| *end > 0 && name.is_char_boundary(*end))?;
    let (stem, end) = name.split_at(end);
    // The eyes of a model are no model.
    let is_part_of_another = ["mmproj", "imatrix"].iter().any(|begin| stem.to_ascii_lowercase().starts_with(begin));
    match end.to_ascii_lowercase().as_str() {
        ".gguf" if !is_part_of_another => Some((stem, Kind::Gguf)),
        ".onnx" => Some((stem, Kind::Onnx)),
        _ => None,
    }
}

/// A model whose parts are all there.
fn whole(chosen: Choice<'_>) -> Result<Choice<'_>, String> {
    let count = chosen.files.len() as u64;
    if count == chosen.parts {
        return Ok(chosen);
    }
    Err(format!("of {}, a model in {} parts, it has {count}", chosen.name, chosen.parts))
}

fn is_path(choice: &Choice<'_>, wanted: &str) -> bool {
    choice.name == wanted || choice.files.iter().any(|file| file.path == wanted)
}

fn is_name(choice: &Choice<'_>, wanted: &str) -> bool {
    let is_last = |path: &str| path.rsplit('/').next() == Some(wanted);
    is_last(&choice.name) || choice.files.iter().any(|file| is_last(&file.path))
}

fn is_match(choice: &Choice<'_>, wanted: &str) -> bool {
    let last = choice.name.rsplit('/').next().unwrap_or_default();
    wanted.contains('*') && (matches(wanted, &choice.name) || matches(wanted, last))
}

/// Whether the name ends with a quantization's, or its folder has it.
fn is_quantization(choice: &Choice<'_>, wanted: &str) -> bool {
    let name = choice.name[..choice.name.len() - 5].to_ascii_lowercase();
    let wanted = wanted.to_ascii_lowercase();
    let mut parts = name.rsplit('/');
    let stem = parts.next().unwrap_or_default();
    let before = stem.strip_suffix(&*wanted);
    before.is_some_and(|before| before.ends_with(['-', '_', '.'])) || parts.any(|folder| folder == wanted)
}

/// Whether a text is of a pattern in which `*` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|begin| text.strip_prefix(begin)) else { return false };
    let Some(end) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(end)
}

/// The choices in words.
fn listed<'a>(why: &str, all: impl IntoIterator<Item = &'a Choice<'a>>) -> String {
    let lines = all.into_iter().map(|choice| format!("\n  :{}  {}", choice.name, shown(choice.bytes())));
    format!("{why}; choose one behind a colon:{}", lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hub::Sum;

    fn files(paths: &[&str]) -> Vec<RemoteFile> {
        let file =
            |path: &&str| RemoteFile { path: (*path).to_owned(), bytes: 1_500_000, sum: Sum::Git("0".repeat(40)) };
        paths.iter().map(file).collect()
    }

    /// The chosen files, or the error.
    fn chosen(paths: &[&str], wanted: Option<&str>) -> Result<String, String> {
        let files = files(paths);
        let found = choose(&files, wanted)?;
        Ok(found.files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>().join(" "))
    }

    const QUANTS: [&str; 7] = [
        "README.md",
        "m-Q4_K_M.gguf",
        "m-Q4_K.gguf",
        "m.Q8_0.gguf",
        "big/m-F16-00002-of-00002.gguf",
        "big/m-F16-00001-of-00002.gguf",
        "mmproj-m-F16.gguf",
    ];

    #[test]
    fn a_model_is_chosen_by_file_name_pattern_or_quantization() {
        for (wanted, found) in [
            ("m-Q4_K_M.gguf", "m-Q4_K_M.gguf"),
            ("Q4_K_M", "m-Q4_K_M.gguf"),
            ("q4_k", "m-Q4_K.gguf"),
            ("Q8_0", "m.Q8_0.gguf"),
            ("*Q8*", "m.Q8_0.gguf"),
            ("F16", "big/m-F16-00001-of-00002.gguf big/m-F16-00002-of-00002.gguf"),
            ("big/m-F16-00002-of-00002.gguf", "big/m-F16-00001-of-00002.gguf big/m-F16-00002-of-00002.gguf"),
            ("m-F16.gguf", "big/m-F16-00001-of-00002.gguf big/m-F16-00002-of-00002.gguf"),
            ("big", "big/m-F16-00001-of-00002.gguf big/m-F16-00002-of-00002.gguf"),
        ] {
            assert_eq!(chosen(&QUANTS, Some(wanted)), Ok(found.to_owned()), "{wanted}");
        }
        assert_eq!(chosen(&["a.gguf", "x.safetensors"], None), Ok("a.gguf".to_owned()));
        assert_eq!(
            chosen(&["onnx/model_q4.onnx", "onnx/model_q4f16.onnx"], Some("q4")),
            Ok("onnx/model_q4.onnx".to_owned())
        );
    }

    #[test]
    fn what_is_not_clear_is_told_with_all_choices_and_their_sizes() {
        let told = chosen(&QUANTS, None).unwrap_err();
        assert!(told.contains("\n  :m-Q4_K_M.gguf  1.5 MB") && told.contains("\n  :big/m-F16.gguf  3.0 MB"), "{told}");
        assert!(!told.contains("mmproj") && told.lines().count() == 5, "{told}");
        let told = chosen(&QUANTS, Some("*Q4*")).unwrap_err();
        assert!(told.contains("several") && told.lines().count() == 3, "{told}");
        assert!(chosen(&QUANTS, Some("Q5_K_M")).unwrap_err().contains("no \"Q5_K_M\""));
        assert!(chosen(&QUANTS, Some("4_K_M")).is_err());
        assert!(chosen(&["big/m-F16-00002-of-00002.gguf"], None).unwrap_err().contains("2 parts, it has 1"));
        let told = chosen(&["model.safetensors", "config.json"], None).unwrap_err();
        assert!(told.contains("no GGUF file") && told.contains(".safetensors"), "{told}");
    }

    #[test]
    fn a_graph_has_files_beside_it_and_its_own_come_first() {
        let files = files(&[
            "1_Pooling/config.json",
            "config.json",
            "cpu/config.json",
            "cpu/model.onnx",
            "model.safetensors",
            "modules.json",
            "onnx/model.onnx",
            "tokenizer.json",
            "x/1_y/config.json",
        ]);
        let of = |name: &str| {
            let found = choose(&files, Some(name)).unwrap();
            beside(&files, &found).into_iter().map(|file| file.path.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(of("onnx/model.onnx"), ["config.json", "tokenizer.json", "modules.json", "1_Pooling/config.json"]);
        assert_eq!(of("cpu/model.onnx")[0], "cpu/config.json");
    }

    #[test]
    fn patterns_match_from_the_beginning_to_the_end() {
        for (pattern, text, wanted) in [
            ("a*c", "abc", true),
            ("a*c", "abcd", false),
            ("*", "", true),
            ("a*a", "a", false),
            ("*b*b*", "abab", true),
            ("ab", "ab", true),
            ("ab", "abc", false),
        ] {
            assert_eq!(matches(pattern, text), wanted, "{pattern} {text}");
        }
        assert_eq!((shown(999), shown(1_234_000_000)), ("999 bytes".to_owned(), "1.2 GB".to_owned()));
    }
}
