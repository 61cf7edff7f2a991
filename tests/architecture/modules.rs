//! Which module may use which, within `actors` and within the gateway, held against the paths in the code: a new edge fails
//! the test, and so does one of the table that is gone. A path counts however it is written: whole, by `super`, in a group.

use std::collections::{BTreeMap, BTreeSet};

use super::{LAYERS, Source, assert_none, is_product, product_text, sources};

/// A module: its name, its siblings that it may use, and our crates that it may use.
type Module = (&'static str, &'static [&'static str], &'static [&'static str]);

/// A folder of modules, and what each of them may use.
const TABLES: &[(&str, &[Module])] = &[
    (
        "wire/src/",
        &[
            ("fields", &[], &[]),
            ("object", &[], &[]),
            ("sse", &[], &[]),
            ("usage", &[], &[]),
            // The neutral words know no format.
            ("inference", &["fields", "usage"], &[]),
            ("multipart", &["fields", "inference"], &[]),
            ("recording", &[], &[]),
            ("format", &["fields", "inference", "multipart", "object", "recording", "sse", "usage"], &[]),
            ("tokens", &["format", "inference"], &[]),
        ],
    ),
    (
        "actors/src/",
        &[
            ("running", &[], &["billing", "runtime"]),
            // Of a capture it knows the record alone.
            ("spool", &[], &["billing"]),
            ("journal", &[], &["billing", "ledger", "runtime"]),
            ("context", &["journal", "running"], &["billing", "ledger", "runtime"]),
            // Nothing of where accounts live, of payments, or of the thread that writes.
            ("account", &["context", "journal", "running"], &["billing", "cards", "runtime"]),
            (
                "accounts",
                &["account", "context", "journal", "running", "spool"],
                &["billing", "cards", "ledger", "runtime"],
            ),
            ("admission", &["account", "accounts", "running", "spool"], &["billing", "ledger", "runtime"]),
            // Of accounts these two know the guard alone.
            ("pool", &["admission"], &["billing", "engine", "runtime", "wire"]),
            ("provider", &["admission"], &["runtime", "upstream", "wire"]),
            ("resources", &["account", "accounts"], &["billing", "ledger"]),
            ("payment", &["account", "accounts", "context", "resources"], &["billing", "cards", "ledger", "runtime"]),
            ("delivery", &["accounts", "resources"], &["billing", "ledger", "runtime", "upstream"]),
            ("sweeper", &["accounts"], &["billing", "ledger", "runtime"]),
            // Which node owns what, and the way to accounts of other nodes.
            // Of pools it knows how a model stands.
            (
                "cluster",
                &["account", "accounts", "context", "journal", "pool", "running", "sweeper"],
                &["billing", "hints", "ledger", "link", "runtime"],
            ),
            ("faults", &["account", "delivery", "payment", "pool", "provider"], &[]),
        ],
    ),
    (
        "src/",
        &[
            ("email", &[], &[]),
            // Letters, and not who writes to whom.
            ("mail", &[], &[]),
            ("sealing", &[], &[]),
            ("secret_file", &[], &[]),
            ("single_flight", &[], &[]),
            ("words", &[], &[]),
            // Keys and signatures: neither money nor HTTP.
            ("signing", &[], &[]),
            // Of the engine the devices alone, of OpenID Connect the algorithms: one type from the settings to their use.
            ("config", &["words"], &["billing", "engine", "oidc"]),
            ("fetch", &["config"], &[]),
            ("telemetry", &["config"], &["runtime"]),
            ("catalogue", &[], &["billing", "wire"]),
            // A repeated request: of what was asked it knows the id alone.
            ("idempotency", &["sealing", "single_flight"], &["actors", "billing", "ledger"]),
            // Responses for later requests: of a response it knows its items alone.
            ("kept", &["sealing"], &["actors", "billing", "ledger", "wire"]),
            // What people do beside inference: it and the gateway do not know each other.
            (
                "service",
                &["email", "idempotency", "mail", "sealing"],
                &["actors", "billing", "cards", "ledger", "oidc", "runtime"],
            ),
            ("gateway", &["catalogue", "single_flight"], &["actors", "billing", "engine", "runtime", "traces", "wire"]),
            // Of the nested crates the counts of addresses alone: what it answers comes from the gateway and the services.
            (
                "http",
                &[
                    "catalogue",
                    "config",
                    "gateway",
                    "idempotency",
                    "kept",
                    "sealing",
                    "service",
                    "signing",
                    "telemetry",
                    "words",
                ],
                &["actors", "billing", "hints", "traces", "wire"],
            ),
            (
                "app",
                &["catalogue", "config", "gateway", "http", "mail", "secret_file", "service", "signing", "telemetry"],
                &[
                    "actors", "billing", "cards", "hints", "ledger", "link", "oidc", "runtime", "traces", "upstream",
                    "wire",
                ],
            ),
            (
                "cli",
                &["app", "catalogue", "config", "fetch", "secret_file", "service", "signing", "telemetry"],
                &["actors", "billing", "engine", "hub", "ledger", "runtime", "upstream"],
            ),
        ],
    ),
];

/// Modules that may use no more of another than this: of the journal what accounts tell it and hear of it, not its writer.
const NAMES: &[(&str, &str, &str, &[&str])] = &[
    ("actors/src/", "account", "journal", &["Committed", "protocol"]),
    ("actors/src/", "context", "journal", &["Append", "protocol"]),
    ("actors/src/", "accounts", "journal", &["Append"]),
];

/// A path of the code, segment by segment.
type Segments = Vec<String>;

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The paths that a tree of `use` spreads to. `self` at the end of one is its own name.
fn spread(tree: &str, prefix: &[String], found: &mut Vec<Segments>) {
    let tree = tree.trim();
    let Some((head, group)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default().split("::").map(|segment| segment.trim().to_owned());
        let mut path: Segments = prefix.iter().cloned().chain(path.filter(|segment| !segment.is_empty())).collect();
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        if !path.is_empty() {
            found.push(path);
        }
        return;
    };
    let inner: Segments = prefix
        .iter()
        .cloned()
        .chain(head.split("::").filter(|s| !s.trim().is_empty()).map(|s| s.trim().to_owned()))
        .collect();
    let group = group.trim_end().strip_suffix('}').unwrap_or(group);
    let (mut depth, mut start) = (0_usize, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                spread(&group[start..at], &inner, found);
                start = at + 1;
            }
            _ => {}
        }
    }
    if !group[start..].trim().is_empty() {
        spread(&group[start..], &inner, found);
    }
}

/// What a file imports, and the paths that it writes out.
fn paths(text: &str) -> (Vec<Segments>, Vec<Segments>) {
    let text: String =
        text.lines().map(|line| line.split(" // ").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
    let (mut imported, mut rest, mut left) = (Vec::new(), String::new(), text.as_str());
    while let Some(at) = left.find("use ") {
        let before = left[..at].lines().next_back().filter(|_| !left[..at].ends_with('\n')).unwrap_or_default().trim();
        let begins = before.is_empty() || before.starts_with("pub") || before.ends_with([';', '{']);
        let end = left[at..].find(';').map_or(left.len(), |end| at + end);
        if begins && !left[at..end].contains('(') {
            rest.push_str(&left[..at]);
            spread(&left[at + "use ".len()..end], &[], &mut imported);
            left = &left[end..];
        } else {
            rest.push_str(&left[..at + "use ".len()]);
            left = &left[at + "use ".len()..];
        }
    }
    rest.push_str(left);
    let written =
        rest.split(|c: char| !is_word(c) && c != ':').filter(|path| path.contains("::") && !path.starts_with(':'));
    (imported, written.map(|path| path.split("::").map(str::to_owned).collect()).collect())
}

/// Where a file is in its crate: `payment/pursue.rs` is `payment::pursue`.
fn place(path: &str) -> Segments {
    let path = path.strip_suffix(".rs").unwrap_or(path);
    path.split('/').filter(|segment| *segment != "mod").map(str::to_owned).collect()
}

/// A path from the root of its crate; none where it begins with another crate, or with a name of the file's own.
fn from_root(path: &[String], place: &[String]) -> Option<Segments> {
    let mut here = place.to_vec();
    let mut rest = path;
    match rest.first()?.as_str() {
        "crate" => {
            here.clear();
            rest = &rest[1..];
        }
        "self" => rest = &rest[1..],
        "super" => {
            while rest.first().is_some_and(|segment| segment == "super") {
                here.pop();
                rest = &rest[1..];
            }
        }
        _ => return None,
    }
    Some(here.into_iter().chain(rest.iter().cloned()).collect())
}

/// What a module uses.
#[derive(Debug, Default, PartialEq, Eq)]
struct Uses {
    siblings: BTreeSet<String>,
    crates: BTreeSet<String>,
    /// What of a sibling: its name, and the one behind it.
    names: BTreeSet<(String, String)>,
}

/// Adds what one file, named from its crate's `src`, uses.
fn add(uses: &mut BTreeMap<String, Uses>, path: &str, text: &str) {
    let place = place(path);
    let Some(own) = place.first().filter(|own| !["lib", "main"].contains(&own.as_str())) else { return };
    let own_uses = uses.entry(own.clone()).or_default();
    let text = product_text(text);
    let (imported, written) = paths(&text);
    // What is declared or imported here is no crate, whatever its name.
    let mut local: BTreeSet<String> = imported
        .iter()
        .filter(|path| from_root(path, &place).is_some())
        .filter_map(|path| path.last().cloned())
        .collect();
    let declared = text.lines().filter_map(|line| line.trim().split("mod ").nth(1)?.strip_suffix(';'));
    local.extend(declared.map(str::to_owned));
    for path in imported.iter().chain(&written) {
        if let Some(whole) = from_root(path, &place) {
            let Some(sibling) = whole.first().filter(|first| *first != own) else { continue };
            own_uses.siblings.insert(sibling.clone());
            own_uses.names.extend(whole.get(1).map(|name| (sibling.clone(), name.clone())));
        } else {
            let ours = |name: &String| LAYERS.iter().any(|(_, package, _)| package == name);
            own_uses.crates.extend(path.first().filter(|name| ours(name) && !local.contains(*name)).cloned());
        }
    }
}

fn uses_of(folder: &str, sources: &[Source]) -> BTreeMap<String, Uses> {
    let mut uses = BTreeMap::new();
    for source in sources.iter().filter(|source| is_product(&source.path)) {
        if let Some(path) = source.path.strip_prefix(folder) {
            add(&mut uses, path, &source.text);
        }
    }
    uses
}

/// Where the code and the table differ.
fn differences(uses: &BTreeMap<String, Uses>, table: &[Module]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let none = Uses::default();
    let names: BTreeSet<&str> = uses.keys().map(String::as_str).chain(table.iter().map(|(name, ..)| *name)).collect();
    for name in names {
        let row = table.iter().find(|(row, ..)| *row == name);
        let (siblings, crates) = row.map_or((&[][..], &[][..]), |(_, siblings, crates)| (*siblings, *crates));
        if row.is_none() || !uses.contains_key(name) {
            found.push((name.to_owned(), "is in the code or in the table alone".to_owned()));
        }
        let used = uses.get(name).unwrap_or(&none);
        for (used, allowed) in [(&used.siblings, siblings), (&used.crates, crates)] {
            let new = used.iter().filter(|used| !allowed.contains(&used.as_str()));
            found.extend(new.map(|used| (name.to_owned(), format!("uses {used}"))));
            let gone = allowed.iter().filter(|allowed| !used.contains(**allowed));
            found.extend(gone.map(|gone| (name.to_owned(), format!("no longer uses {gone}: take it off the table"))));
        }
    }
    found
}

/// What a module names of another that it may not.
fn names_beyond(uses: &BTreeMap<String, Uses>, module: &str, of: &str, allowed: &[&str]) -> Vec<String> {
    let names = uses.get(module).into_iter().flat_map(|uses| &uses.names);
    let beyond = names.filter(|(sibling, name)| sibling == of && !allowed.contains(&name.as_str()));
    beyond.map(|(sibling, name)| format!("{sibling}::{name}")).collect()
}

/// Modules that use each other in a circle, if any do: what is left once all that use nothing left are taken away.
fn circle(uses: &BTreeMap<String, Uses>) -> Vec<String> {
    let mut left: BTreeSet<&String> = uses.keys().collect();
    loop {
        let ends: Vec<_> =
            left.iter().copied().filter(|name| !uses[*name].siblings.iter().any(|used| left.contains(used))).collect();
        if ends.is_empty() {
            return left.into_iter().cloned().collect();
        }
        for end in ends {
            left.remove(end);
        }
    }
}

#[test]
fn modules_use_what_the_table_says() {
    let sources = sources();
    let mut findings = Vec::new();
    for (folder, table) in TABLES {
        let found = differences(&uses_of(folder, &sources), table);
        findings.extend(found.into_iter().map(|(module, what)| (format!("{folder}{module}"), what)));
    }
    assert_none("the table of modules and the code differ", &findings);
}

#[test]
fn accounts_do_not_know_who_writes_their_journal() {
    let sources = sources();
    let mut findings = Vec::new();
    for (folder, module, of, allowed) in NAMES {
        let found = names_beyond(&uses_of(folder, &sources), module, of, allowed);
        findings.extend(found.into_iter().map(|name| (format!("{folder}{module}"), name)));
    }
    assert_none("a module names too much of another", &findings);
}

#[test]
fn modules_use_each_other_in_no_circle() {
    let sources = sources();
    let mut findings = Vec::new();
    for (folder, _) in TABLES {
        findings.extend(circle(&uses_of(folder, &sources)).into_iter().map(|name| ((*folder).to_owned(), name)));
    }
    assert_none("a circle of modules, and what uses it", &findings);
}

/// Each rule, shown a bad sample, must object; shown a good one, must not.
mod each_rule_can_fail {
    use super::*;

    fn uses(files: &[(&str, &str)]) -> BTreeMap<String, Uses> {
        let mut uses = BTreeMap::new();
        for (path, text) in files {
            add(&mut uses, path, text);
        }
        uses
    }

    fn siblings(path: &str, text: &str) -> Vec<String> {
        uses(&[(path, text)]).into_values().flat_map(|uses| uses.siblings).collect()
    }

    #[test]
    fn an_edge_is_found_however_it_is_written() {
        assert_eq!(siblings("account/actor.rs", "use crate::payment::Charge;"), ["payment"]);
        let group = "pub use crate::{\n    a::{B, C},\n    account::D,\n    e,\n};\nuse std::fmt;";
        assert_eq!(siblings("account/mod.rs", group), ["a", "e"]);
        assert_eq!(siblings("account/actor.rs", "fn f(x: &crate::payment::Charge) {}"), ["payment"]);
        assert_eq!(siblings("account/actor.rs", "fn f() { super::super::payment::f() }"), ["payment"]);
        assert_eq!(siblings("accounts.rs", "use super::{account, running as r};"), ["account", "running"]);
        assert_eq!(siblings("account/queue.rs", "use super::outbox::Outbox; use self::x::Y;"), Vec::<String>::new());
        let unseen = "/// [`crate::a`]\nfn f() {} // crate::b\n#[cfg(test)]\nmod tests { use crate::c; }";
        assert_eq!(siblings("account/mod.rs", unseen), Vec::<String>::new());
    }

    #[test]
    fn a_crate_is_told_from_a_module_of_its_name() {
        let crates = |path, text| uses(&[(path, text)]).into_values().flat_map(|uses| uses.crates).collect::<Vec<_>>();
        assert_eq!(crates("http/pay.rs", "use cards::Processor; fn f() -> billing::Nanos {}"), ["billing", "cards"]);
        assert!(crates("http/routes.rs", "use super::{cards, usage}; fn f() { cards::list() }").is_empty());
        assert!(crates("http/mod.rs", "mod cards;\nfn f() { cards::list() }").is_empty());
        assert!(crates("x.rs", "use base64::{Engine, engine::Config}; use tokio::runtime::Builder;").is_empty());
    }

    #[test]
    fn an_edge_that_is_not_in_the_table_is_found_and_one_that_is_gone() {
        let code = uses(&[("a.rs", "use crate::b::B; use billing::Nanos;"), ("b.rs", "")]);
        assert!(differences(&code, &[("a", &["b"], &["billing"]), ("b", &[], &[])]).is_empty());
        assert_eq!(differences(&code, &[("a", &[], &["billing"]), ("b", &[], &[])]).len(), 1);
        assert_eq!(differences(&code, &[("a", &["b"], &[]), ("b", &[], &[])]).len(), 1);
        assert_eq!(differences(&code, &[("a", &["b"], &["billing"]), ("b", &["a"], &[])]).len(), 1);
        assert_eq!(differences(&code, &[("a", &["b"], &["billing"])]).len(), 1);
        assert_eq!(differences(&code, &[("a", &["b"], &["billing"]), ("b", &[], &[]), ("c", &[], &[])]).len(), 1);
    }

    #[test]
    fn a_name_that_is_too_much_is_found() {
        let code = uses(&[("account/actor.rs", "use crate::journal::{Committed, Journal, protocol::Pending};")]);
        assert_eq!(names_beyond(&code, "account", "journal", &["Committed", "protocol"]), ["journal::Journal"]);
    }

    #[test]
    fn a_circle_is_found() {
        let line = [("a.rs", "use crate::b;"), ("b.rs", "use crate::c;"), ("c.rs", "")];
        assert!(circle(&uses(&line)).is_empty());
        let round = [line[0], line[1], ("c.rs", "fn f() { crate::a::g() }"), ("d.rs", "")];
        assert_eq!(circle(&uses(&round)), ["a", "b", "c"]);
    }
}
