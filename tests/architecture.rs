//! The shape of the code, held by a test: which crate may use which, where each foreign crate lives, how long a file may
//! grow, what must not be written anywhere. Every rule is a plain function from text to findings, and each has a test
//! that feeds it a bad sample, so a rule that can no longer fail is noticed. It reads text, not syntax: simple, and
//! good enough to keep honest people honest.

#![expect(clippy::unwrap_used, reason = "a test that cannot read the repository has failed")]

#[path = "architecture/modules.rs"]
mod modules;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use farebox::config::{self, Overrides, Settings};

/// Our crates, left to right: the folder, the package, and which of our packages it may use.
const LAYERS: &[(&str, &str, &[&str])] = &[
    ("billing", "billing", &[]),
    ("wire", "wire", &[]),
    ("migrations", "migrations", &[]),
    ("actors/runtime", "runtime", &["billing"]),
    ("actors/ledger", "ledger", &["billing", "migrations"]),
    ("actors/engine", "engine", &["wire"]),
    ("actors/client", "client", &[]),
    ("actors/link", "link", &["runtime"]),
    ("actors/hints", "hints", &["billing", "runtime"]),
    ("actors/hub", "hub", &["client"]),
    ("actors/oidc", "oidc", &["client"]),
    ("actors/traces", "traces", &["client"]),
    ("actors/upstream", "upstream", &["wire", "client"]),
    ("actors/cards", "cards", &["billing", "client"]),
    ("actors", "actors", &["billing", "wire", "runtime", "ledger", "engine", "hints", "link", "upstream", "cards"]),
    // It tests itself with faults.
    (
        "",
        "farebox",
        &[
            "farebox",
            "billing",
            "wire",
            "migrations",
            "runtime",
            "ledger",
            "engine",
            "hints",
            "link",
            "hub",
            "oidc",
            "traces",
            "upstream",
            "cards",
            "actors",
        ],
    ),
];

/// The pure crates may use these and nothing else: no I/O, no clock, no async.
const PURE: &[(&str, &[&str])] = &[
    ("billing", &["rust_decimal", "serde", "thiserror", "uuid"]),
    ("wire", &["base64", "bytes", "memchr", "serde", "serde_json", "thiserror", "tiktoken"]),
    ("migrations", &["async-trait", "sea-orm-migration", "unicode-normalization"]),
];

/// A foreign crate and the places it may be used: a folder (ends with `/`) or a file.
const FENCES: &[(&str, &[&str])] = &[
    ("sea_orm", &["actors/ledger/", "migrations/"]),
    ("sea_orm_migration", &["actors/ledger/", "migrations/"]),
    // Only what sea-orm hands through: SQLite's pragmas.
    ("sqlx", &["actors/ledger/"]),
    (
        "actix_http",
        &[
            "src/http/server.rs",
            "src/http/relay/incoming.rs",
            "src/http/upgrade.rs",
            "src/http/live.rs",
            "src/http/live/",
        ],
    ),
    ("actix_server", &["src/http/server.rs"]),
    ("actix_service", &["src/http/server.rs", "src/http/relay/incoming.rs"]),
    ("actix_web", &["src/http/", "src/http.rs", "src/app.rs", "src/app/"]),
    ("ort", &["actors/engine/"]),
    ("tokenizers", &["actors/engine/"]),
    // What tests and benchmarks call with, and nothing that ships.
    ("reqwest", &[]),
    // The one HTTP client stands on these, and all others call with it; so does the link between nodes, which is both sides.
    ("hyper", &["actors/client/", "actors/link/"]),
    ("hyper_util", &["actors/client/", "actors/link/"]),
    ("hyper_rustls", &["actors/client/"]),
    ("http_body_util", &["actors/client/", "actors/link/"]),
    ("h2", &["actors/client/", "actors/link/"]),
    ("tokio_rustls", &["actors/link/"]),
    ("rustls_platform_verifier", &["actors/client/"]),
    ("tower_service", &["actors/client/"]),
    ("redis", &["actors/hints/"]),
    ("openidconnect", &["actors/oidc/"]),
    ("opentelemetry", &["actors/traces/"]),
    ("opentelemetry_otlp", &["actors/traces/"]),
    ("opentelemetry_sdk", &["actors/traces/"]),
    // Exact dollars: prices and what they come to, what is kept of them, and nothing that multiplies them (`PRICES`).
    (
        "rust_decimal",
        &[
            "billing/src/price.rs",
            "billing/src/price/",
            "billing/src/nanos.rs",
            "billing/src/hold.rs",
            "actors/ledger/src/audit/usage.rs",
            "actors/ledger/src/log/body/v1/usage.rs",
            "actors/ledger/src/query.rs",
            "src/gateway/plan/closed.rs",
        ],
    ),
    ("icalendar", &["src/http/account/calendar.rs"]),
    ("lettre", &["src/mail.rs", "src/config/people.rs"]),
    ("argon2", &["src/service/people/passwords.rs"]),
    ("figment", &["src/config.rs", "src/config/"]),
    ("ratatui", &["src/cli/top.rs", "src/cli/top/"]),
    // Settings; and the one variable that ONNX Runtime itself reads.
    ("std::env", &["src/config.rs", "src/config/", "actors/engine/src/telemetry.rs"]),
];

/// Where a price may be multiplied: a rate shows its number to nobody else, and exact dollars are multiplied nowhere but here
/// and where they become whole nano-dollars.
const PRICES: &[&str] = &["billing/src/price.rs", "billing/src/price/", "billing/src/nanos.rs"];

/// Where the bare verbs of actix are wrapped, and may be written.
const MAILBOX: &str = "actors/runtime/src/mailbox.rs";

/// The longest a source file may be, and those that may be longer, each with its reason.
const LONGEST_FILE: usize = 600;
const LONG_FILES: &[(&str, &str)] = &[];

/// What is not finished, or not run, is not merged.
const UNFINISHED: &[&str] = &["todo!(", "unimplemented!(", "#[ignore"];

/// What services do not know: who asks how, and how answers are spelled.
const NOT_OF_SERVICES: &[&str] = &["actix_web", "serde", "serde_json", "utoipa"];

/// The folders of handlers that translate alone, and the lines that such a handler may have.
const HANDLERS: &[&str] = &["src/http/account/", "src/http/admin/", "src/http/operations.rs", "src/http/stripe.rs"];
const LONGEST_HANDLER: usize = 25;

/// Where faults are: what a release does not have, and what names it.
const FAULTY: &[&str] = &["src/", "actors/src/"];
const FAULT_WORDS: &[&str] = &["faults", "Panic"];
const IF_FAULTS: &str = "#[cfg(feature = \"faults\")]";

/// A clock in the rules of money.
const CLOCKS: &[&str] = &["SystemTime", "Instant", "now_v7", "new_v4", "Local::now", "Utc::now"];

/// Package registries are reached by their clients, which know their own hosts (and a user's mirror of them).
const REGISTRY_HOSTS: &[&str] =
    &["pypi.org", "pythonhosted.org", "crates.io", "npmjs.org", "npmjs.com", "proxy.golang.org"];

/// Folders of one machine.
const MACHINE_PATHS: &[&str] = &["/work/", "/root/", "/home/"];

/// This file names what it forbids.
const SELF: &str = "tests/architecture.rs";

/// One file of the repository: its path from the root, and its text.
struct Source {
    path: String,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The repository's text files: what git tracks or would add, or, without git, all but what is built.
fn sources() -> Vec<Source> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .ok()
        .filter(|output| output.status.success() && !output.stdout.is_empty());
    let paths = match listed {
        Some(output) => String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect(),
        None => walk(root(), ""),
    };
    let read = |path: String| fs::read_to_string(root().join(&path)).ok().map(|text| Source { path, text });
    let found: Vec<Source> = paths.into_iter().filter_map(read).collect();
    for place in ["src/main.rs", "billing/src/lib.rs", "actors/src/lib.rs", "tests/e2e/main.rs", "README.md"] {
        assert!(found.iter().any(|source| source.path == place), "{place} is not among what is looked at");
    }
    found
}

fn walk(folder: &Path, prefix: &str) -> Vec<String> {
    let built = ["target", "data", "node_modules", ".git", "__pycache__"];
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
        match entry.file_type().unwrap() {
            kind if kind.is_dir() && !built.contains(&name.as_str()) => found.extend(walk(&entry.path(), &path)),
            kind if kind.is_file() => found.push(path),
            _ => {}
        }
    }
    found
}

fn is_rust(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "rs")
}

/// Rust that ships: not a test folder, not a file of tests.
fn is_product(path: &str) -> bool {
    let in_src = path.starts_with("src/") || path.contains("/src/");
    is_rust(path) && in_src && !path.ends_with("/tests.rs") && !path.contains("/tests/")
}

/// The part of a file that ships, without comments and without its test module.
fn product_text(text: &str) -> String {
    let shipped = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    shipped.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Whether `text` uses the crate or module `name`: as the head of a path, or imported whole.
fn uses(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].trim_end_matches("::").chars().next_back();
        let is_head = !before.is_some_and(|c| c.is_alphanumeric() || c == '_');
        let after = &text[at + name.len()..];
        let imported = text[..at].ends_with("use ") && (after.starts_with(';') || after.starts_with(" as "));
        is_head && (after.starts_with("::") || imported)
    })
}

/// The bare verbs of actix on something that is named like an address.
fn bare_verbs(text: &str) -> Vec<String> {
    let mut joined = String::new();
    for line in text.lines().map(str::trim) {
        if !line.starts_with('.') {
            joined.push('\n');
        }
        joined.push_str(line);
    }
    let mut found = Vec::new();
    if joined.contains(".do_send(") {
        found.push(".do_send(".to_owned());
    }
    for verb in [".send(", ".try_send("] {
        for (at, _) in joined.match_indices(verb) {
            let before = joined[..at].trim_end_matches("()");
            let start = before.rfind(|c: char| !c.is_alphanumeric() && c != '_').map_or(0, |i| i + 1);
            let receiver = &before[start..];
            if ["addr", "address", "recipient"].iter().any(|name| receiver.ends_with(name)) {
                found.push(format!("{receiver}{verb}"));
            }
        }
    }
    found
}

/// Lines that multiply or divide, in a text that knows exact dollars.
fn multiplied(text: &str) -> Vec<&str> {
    let multiplies = |line: &&str| {
        let is_called =
            ["checked_mul(", "checked_div(", ".mul(", ".div(", ".product"].iter().any(|verb| line.contains(verb));
        // Two numbers that are written out are neither a price.
        let is_digit = |letter: Option<char>| letter.is_some_and(|letter| letter.is_ascii_digit());
        let is_product = line.match_indices(" * ").any(|(at, sign)| {
            let (before, after) = (line[..at].chars().next_back(), line[at + sign.len()..].chars().next());
            !(is_digit(before) && is_digit(after))
        });
        is_called || is_product || line.contains(" *= ") || line.contains(" /= ")
    };
    if uses(text, "rust_decimal") { text.lines().filter(multiplies).map(str::trim).collect() } else { Vec::new() }
}

/// Whether a text of `billing::price` lets a rate's number out, or is multiplied with by others.
fn shows_a_rate(text: &str) -> bool {
    let is_open = text.contains("pub struct Rate(pub") || text.contains("for Rate {\n    type Output");
    let numbers = text.split("pub fn ").skip(1).filter_map(|rest| rest.split_once('{')).map(|(head, _)| head);
    is_open || (text.contains("pub struct Rate(") && numbers.into_iter().any(|head| head.contains("Decimal")))
}

/// Machine paths that begin a path (`/work/x`), not ones inside another (`/v1/work/x`).
fn machine_paths(text: &str) -> Vec<&'static str> {
    let begins =
        |at: usize| !text[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || "/_-.}*~".contains(c));
    MACHINE_PATHS.iter().copied().filter(|path| text.match_indices(path).any(|(at, _)| begins(at))).collect()
}

/// The packages a manifest names under its tables of dependencies.
fn dependencies(manifest: &str, with_dev: WithDev) -> BTreeSet<String> {
    let manifest: toml::Table = manifest.parse().unwrap();
    let mut found = BTreeSet::new();
    let mut tables = vec![manifest.clone()];
    if let Some(targets) = manifest.get("target").and_then(toml::Value::as_table) {
        tables.extend(targets.values().filter_map(toml::Value::as_table).cloned());
    }
    let kinds: &[&str] = match with_dev {
        WithDev::Yes => &["dependencies", "build-dependencies", "dev-dependencies"],
        WithDev::No => &["dependencies", "build-dependencies"],
    };
    for table in &tables {
        for dependency in kinds.iter().filter_map(|kind| table.get(*kind)?.as_table()) {
            for (name, value) in dependency {
                let package = value.get("package").and_then(toml::Value::as_str);
                found.insert(package.unwrap_or(name).to_owned());
            }
        }
    }
    found
}

#[derive(Clone, Copy)]
enum WithDev {
    Yes,
    No,
}

/// Edges of one manifest that point right, or that a pure crate may not have.
fn forbidden_edges(package: &str, manifest: &str) -> Vec<String> {
    let ours: Vec<&str> = LAYERS.iter().map(|(_, package, _)| *package).collect();
    let allowed = LAYERS.iter().find(|(_, name, _)| *name == package).map_or(&[][..], |(.., allowed)| allowed);
    let mut found: Vec<String> = dependencies(manifest, WithDev::Yes)
        .into_iter()
        .filter(|name| ours.contains(&name.as_str()) && !allowed.contains(&name.as_str()))
        .collect();
    if let Some((_, pure)) = PURE.iter().find(|(name, _)| *name == package) {
        found.extend(dependencies(manifest, WithDev::No).into_iter().filter(|name| !pure.contains(&name.as_str())));
    }
    found
}

fn manifest_of(folder: &str) -> PathBuf {
    root().join(folder).join("Cargo.toml")
}

/// Fails with every finding, one a line.
fn assert_none(rule: &str, findings: &[(String, String)]) {
    let mut message = String::new();
    for (path, what) in findings {
        let _ = writeln!(message, "  {path}: {what}");
    }
    assert!(findings.is_empty(), "{rule}:\n{message}");
}

#[test]
fn crates_depend_only_to_the_left() {
    let mut findings = Vec::new();
    for (folder, package, _) in LAYERS {
        let manifest = fs::read_to_string(manifest_of(folder)).unwrap();
        findings.extend(forbidden_edges(package, &manifest).into_iter().map(|name| ((*package).to_owned(), name)));
    }
    assert_none("a crate may not depend on this", &findings);
}

#[test]
fn foreign_crates_stay_in_their_one_home() {
    let mut findings = Vec::new();
    for source in sources().into_iter().filter(|source| is_product(&source.path)) {
        let text = product_text(&source.text);
        for (name, homes) in FENCES {
            if uses(&text, name) && !homes.iter().any(|home| source.path.starts_with(home)) {
                findings.push((source.path.clone(), format!("uses {name}, which lives in {homes:?}")));
            }
        }
    }
    assert_none("a crate left its home", &findings);
}

#[test]
fn no_file_grows_past_the_limit() {
    let mut findings = Vec::new();
    let sources: Vec<Source> = sources().into_iter().filter(|source| is_product(&source.path)).collect();
    for source in &sources {
        let lines = source.text.lines().count();
        let excused = LONG_FILES.iter().any(|(path, _)| *path == source.path);
        match (lines > LONGEST_FILE, excused) {
            (true, false) => findings.push((source.path.clone(), format!("{lines} lines, at most {LONGEST_FILE}"))),
            (false, true) => findings.push((source.path.clone(), "is short now: take it off the list".to_owned())),
            (true, true) | (false, false) => {}
        }
    }
    for (path, _) in LONG_FILES.iter().filter(|(path, _)| !sources.iter().any(|source| source.path == *path)) {
        findings.push(((*path).to_owned(), "is gone: take it off the list".to_owned()));
    }
    assert_none("split the file by idea, or give a reason", &findings);
}

#[test]
fn handlers_only_translate() {
    let mut findings = Vec::new();
    for source in sources().iter().filter(|source| HANDLERS.iter().any(|place| source.path.starts_with(place))) {
        let found = long_handlers(&product_text(&source.text));
        findings.extend(found.into_iter().map(|name| (source.path.clone(), name)));
    }
    assert_none("a handler decides something: move that to a service", &findings);
}

/// The handlers with too many lines.
fn long_handlers(text: &str) -> Vec<String> {
    let (mut found, mut begun) = (Vec::new(), None);
    for (at, line) in text.lines().enumerate() {
        if line.starts_with("pub") && line.contains("async fn ") {
            begun = Some((at, line.split("async fn ").nth(1).unwrap_or_default()));
        }
        if line == "}"
            && let Some((from, name)) = begun.take()
            && at - from >= LONGEST_HANDLER
        {
            found.push(name.split('(').next().unwrap_or_default().to_owned());
        }
    }
    found
}

#[test]
fn services_know_no_http_and_no_json() {
    let mut findings = Vec::new();
    for source in sources().into_iter().filter(|source| source.path.starts_with("src/service/")) {
        let text = product_text(&source.text);
        let named = NOT_OF_SERVICES.iter().filter(|name| uses(&text, name));
        findings.extend(named.map(|name| (source.path.clone(), format!("uses {name}"))));
    }
    assert_none("a service is called with what was read, and answers what is written elsewhere", &findings);
}

#[test]
fn nothing_is_unfinished_or_skipped() {
    let mut findings = Vec::new();
    for source in sources().iter().filter(|source| is_rust(&source.path) && source.path != SELF) {
        findings.extend(words(&source.text, UNFINISHED).map(|word| (source.path.clone(), word.to_owned())));
    }
    assert_none("unfinished", &findings);
}

#[test]
fn actors_are_reached_by_ask_and_tell() {
    let mut findings = Vec::new();
    for source in sources().iter().filter(|source| is_product(&source.path) && source.path != MAILBOX) {
        let found = bare_verbs(&product_text(&source.text));
        findings.extend(found.into_iter().map(|verb| (source.path.clone(), verb)));
    }
    assert_none("say ask or tell, which are bounded and report a lost reply", &findings);
}

#[test]
fn only_prices_multiply_prices() {
    let mut findings = Vec::new();
    for source in sources().iter().filter(|source| is_product(&source.path)) {
        let (text, is_home) = (product_text(&source.text), PRICES.iter().any(|home| source.path.starts_with(home)));
        if !is_home {
            findings.extend(multiplied(&text).into_iter().map(|line| (source.path.clone(), line.to_owned())));
        }
        if shows_a_rate(&text) {
            findings.push((source.path.clone(), "shows the number of a rate".to_owned()));
        }
    }
    assert_none("ask `billing::price` what it comes to", &findings);
}

#[test]
fn no_release_has_faults() {
    let mut findings = Vec::new();
    for source in sources().iter().filter(|source| is_product(&source.path)) {
        // Its declaration is behind the feature, or is found.
        let is_faulty = FAULTY.iter().any(|place| source.path.starts_with(place));
        if is_faulty && !source.path.ends_with("/faults.rs") {
            findings.extend(faults(&product_text(&source.text)).into_iter().map(|line| (source.path.clone(), line)));
        }
    }
    let manifest: toml::Table = fs::read_to_string(manifest_of("")).unwrap().parse().unwrap();
    if manifest["features"].get("default").is_some() {
        findings.push(("Cargo.toml".to_owned(), "has features that nobody asked for".to_owned()));
    }
    assert_none(&format!("write it in a module `faults`, or behind {IF_FAULTS}"), &findings);
}

/// The lines that name a fault and are in every build. What stands behind the feature ends with its statement, its field, or
/// the brace that closes it at its own indentation.
fn faults(text: &str) -> Vec<String> {
    let indentation = |line: &str| line.len() - line.trim_start().len();
    let (mut found, mut behind) = (Vec::new(), None);
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        if let Some(at) = behind {
            let ends = indentation(line) == at && line.ends_with([';', ',', '}']) && !line.trim().starts_with("#[");
            behind = behind.filter(|_| !ends);
        } else if line.trim() == IF_FAULTS {
            behind = Some(indentation(line));
        } else {
            let mut named = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            found.extend(named.any(|word| FAULT_WORDS.contains(&word)).then(|| line.trim().to_owned()));
        }
    }
    found
}

#[test]
fn billing_reads_no_clock() {
    let mut findings = Vec::new();
    for source in sources().iter().filter(|source| source.path.starts_with("billing/src/")) {
        findings.extend(words(&product_text(&source.text), CLOCKS).map(|word| (source.path.clone(), word.to_owned())));
    }
    assert_none("time is passed in as `now`", &findings);
}

#[test]
fn no_registry_and_no_machine_is_named() {
    let mut findings = Vec::new();
    for source in sources().iter().filter(|source| source.path != SELF && !is_lock(&source.path)) {
        let hosts = words(&source.text, REGISTRY_HOSTS).chain(machine_paths(&source.text));
        findings.extend(hosts.map(|name| (source.path.clone(), name.to_owned())));
    }
    assert_none("a registry's host or one machine's path", &findings);
}

#[test]
fn the_settings_file_is_the_built_in_defaults() {
    let path = root().join(config::DEFAULT_FILE);
    let overrides = Overrides { config: Some(path.clone()), ..Overrides::default() };
    assert_eq!(Settings::load_from(&overrides, &[]).unwrap(), Settings::default());
    // Of developers' builds alone, and no user's to read of.
    let known: BTreeSet<String> = config::known_keys().filter(|key| *key != "faults").map(str::to_owned).collect();
    assert_eq!(keys_shown(&fs::read_to_string(path).unwrap()), known);
}

/// The keys a settings file shows, those commented out among them.
fn keys_shown(file: &str) -> BTreeSet<String> {
    let is_key = |line: &str| {
        line.split_once(" = ").is_some_and(|(key, _)| key.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
    };
    let is_table = |line: &str| line.starts_with('[') && line.ends_with(']');
    let is_shown = |rest: &&str| is_key(rest) || is_table(rest);
    let shown = |line: &str| line.strip_prefix("# ").filter(is_shown).unwrap_or(line).to_owned();
    let file = file.lines().map(shown).collect::<Vec<_>>().join("\n");
    let mut found = BTreeSet::new();
    flatten(&file.parse().unwrap(), "", &mut found);
    found
}

fn flatten(table: &toml::Table, prefix: &str, found: &mut BTreeSet<String>) {
    for (name, value) in table {
        let key = format!("{prefix}{name}");
        match value.as_table() {
            Some(inner) => flatten(inner, &format!("{key}."), found),
            None => drop(found.insert(key)),
        }
    }
}

/// Written by package managers, with the hosts they used.
fn is_lock(path: &str) -> bool {
    path.ends_with("Cargo.lock") || path.ends_with("package-lock.json")
}

fn words<'a>(text: &'a str, banned: &'static [&'static str]) -> impl Iterator<Item = &'static str> + 'a {
    banned.iter().copied().filter(move |word| text.contains(word))
}

/// Each rule, shown a bad sample, must object; shown a good one, must not.
mod each_rule_can_fail {
    use super::*;

    #[test]
    fn an_edge_to_the_right_is_found() {
        let manifest = "[dependencies]\nserde = '1'\ntokio = '1'\n[dev-dependencies]\nfarebox = { path = '..' }";
        assert_eq!(forbidden_edges("billing", manifest), ["farebox", "tokio"]);
        let renamed = "[target.'cfg(unix)'.dependencies]\nmoney = { package = 'actors', path = 'x' }";
        assert_eq!(forbidden_edges("wire", renamed), ["actors", "actors"]);
        assert!(forbidden_edges("actors", "[dependencies]\nbilling.workspace = true").is_empty());
    }

    #[test]
    fn a_crate_outside_its_home_is_found() {
        assert!(uses("let x = sea_orm::Set(1);", "sea_orm"));
        assert!(uses("use ::ort::session::Session;", "ort"));
        assert!(uses("use redis;", "redis") && uses("use redis as r;", "redis"));
        assert!(uses("std::env::var(\"HOME\")", "std::env"));
        assert!(!uses("use crate::transport::Client;", "ort"));
        assert!(!uses("use sea_orm_migration::prelude::*;", "sea_orm"));
        assert!(!uses(&product_text("/// Like [`ort::Session`].\nfn f() {}"), "ort"));
        assert!(!uses(&product_text("fn f() {}\n#[cfg(test)]\nmod tests { use std::env::temp_dir; }"), "std::env"));
    }

    #[test]
    fn a_long_handler_is_found() {
        let of = |lines: usize| format!("pub async fn list(state: Shared) {{\n{}}}\n", "    x;\n".repeat(lines));
        assert_eq!(long_handlers(&of(LONGEST_HANDLER)), ["list"]);
        assert!(long_handlers(&of(LONGEST_HANDLER - 2)).is_empty());
    }

    #[test]
    fn a_price_that_is_multiplied_elsewhere_is_found() {
        let text = "use rust_decimal::Decimal;\nlet cost = price.input * tokens;\nlet left = whole / 2;";
        assert_eq!(multiplied(text), ["let cost = price.input * tokens;"]);
        assert_eq!(multiplied("use rust_decimal::Decimal;\n  rate.checked_mul(tokens)").len(), 1);
        assert!(multiplied("let bytes = 4 * tokens;").is_empty(), "it knows no dollars");
        assert!(multiplied("use rust_decimal::Decimal;\nconst MS: i64 = 30 * 60_000;").is_empty());
        assert!(shows_a_rate("pub struct Rate(pub Decimal);"));
        assert!(shows_a_rate("pub struct Rate(Decimal);\nimpl Rate { pub fn get(self) -> Decimal { self.0 } }"));
        assert!(shows_a_rate("impl Mul<u64> for Rate {\n    type Output = Decimal;"));
        assert!(!shows_a_rate(
            "pub struct Rate(Decimal);\nimpl Rate { pub(super) fn get(self) -> Decimal { self.0 } }"
        ));
    }

    #[test]
    fn a_fault_of_every_build_is_found() {
        for bad in [
            "pub mod faults;",
            "use crate::{faults::Panic, pool};",
            "    .service(post(\"/admin/v1/faults\", fault))",
            "#[cfg(test)]\npub mod faults;",
            "#[cfg(not(feature = \"faults\"))]",
        ] {
            assert_eq!(faults(bad).len(), 1, "{bad}");
            // What is behind the feature ends, and does not hide what follows.
            for first in
                ["mod faults;", "fn f(\n    a: u8,\n) {\n    Panic;\n}", "#[derive(Debug)]\nstruct S {\n    a: A,\n}"]
            {
                assert_eq!(faults(&format!("{IF_FAULTS}\n{first}\n\n{bad}")).len(), 1, "{first} {bad}");
            }
        }
        let within = format!("struct Settings {{\n    {IF_FAULTS}\n    faults: bool,\n    other: bool,\n}}");
        assert!(faults(&within).is_empty());
        assert!(faults("panic!(\"it is a fault\"); ExitReason::Panicked").is_empty());
    }

    #[test]
    fn a_bare_verb_is_found() {
        assert_eq!(bare_verbs("self.journal.do_send(Tick);"), [".do_send("]);
        assert_eq!(bare_verbs("self.account_addr\n    .send(Admit).await"), ["account_addr.send("]);
        assert_eq!(bare_verbs("ctx.address().try_send(x)"), ["address.try_send("]);
        assert!(bare_verbs("events.send(event).await; reply.send(x)").is_empty());
    }

    #[test]
    fn words_and_paths_are_found() {
        assert_eq!(words("fn f() { todo!() } #[ignore]", UNFINISHED).count(), 2);
        assert_eq!(words("let t = std::time::Instant::now();", CLOCKS).count(), 1);
        assert_eq!(words("pip download -i https://pypi.org/simple", REGISTRY_HOSTS).count(), 1);
        assert_eq!(machine_paths("cat /work/main/x \"/root/.cargo\""), ["/work/", "/root/"]);
        assert!(machine_paths("GET /v1/work/1, ~/work/x, WORKDIR /work").is_empty());
    }

    #[test]
    fn a_key_the_settings_file_lacks_is_missed() {
        let shown = keys_shown("a = 1\n# Some words = not a key.\n[t]\n# b = 'x'");
        assert_eq!(shown, BTreeSet::from(["a".to_owned(), "t.b".to_owned()]));
    }

    #[test]
    fn tests_are_told_from_the_product() {
        assert!(is_product("src/http/auth.rs") && is_product("billing/src/nanos.rs"));
        assert!(!is_product("tests/e2e/main.rs") && !is_product("billing/src/decide/tests.rs"));
        assert!(!is_product("billing/tests/model.rs"));
    }
}
