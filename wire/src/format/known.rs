//! What is known of the parts of requests: the effect of each on a request's cost, where the gateway's key pays. Each
//! format has tables of its own. The pages for people are made from them.

use std::fmt::Write as _;

/// The effect of a field on a request's cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Does {
    /// No effect.
    Nothing,
    /// The field is read with the prompt, and counted with it.
    Prompt,
    /// The field bounds or multiplies the output.
    Output,
    /// The field chooses among prices; only values with a known price are accepted.
    Price,
    /// The field's cost has no price here, or no bound: the field is refused.
    Refused,
    /// The field asks for what the gateway keeps. It is answered before the body is read, and no provider gets it.
    Kept,
}

impl Does {
    /// The effect, for people.
    const fn word(self) -> &'static str {
        match self {
            Self::Nothing => "none",
            Self::Prompt => "counted with the prompt",
            Self::Output => "bounds or multiplies the output",
            Self::Price => "values with a known price are taken",
            Self::Refused => "refused: no price",
            Self::Kept => "none: answered here",
        }
    }
}

/// A known part: its name, its effect, and a remark for people.
pub(super) type Known = (&'static str, Does, &'static str);

/// A table of parts for people, in Markdown. `kind` says what they are.
pub(super) fn table(kind: &str, parts: &[Known]) -> String {
    let mut table = format!("| {kind} | cost | note |\n|---|---|---|\n");
    for (name, does, note) in parts {
        // Writing to a text can't fail.
        let _ = writeln!(table, "| `{name}` | {} | {note} |", does.word());
    }
    table
}

/// The same of fields, each with the routes that have it.
pub(super) fn table_of_routes(fields: impl IntoIterator<Item = (&'static str, Known)>) -> String {
    let mut table = "| field | routes | cost | note |\n|---|---|---|---|\n".to_owned();
    for (routes, (name, does, note)) in fields {
        // Writing to a text can't fail.
        let _ = writeln!(table, "| `{name}` | {routes} | {} | {note} |", does.word());
    }
    table
}

#[cfg(test)]
pub(super) use tests::{assert_listed_once, assert_page};

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, env, fs};

    /// Checks that a page for people, a file of `docs`, is what the tables say. `FAREBOX_TEST_WRITE` has it written.
    pub(in crate::format) fn assert_page(file: &str, page: &str) {
        let path = format!("{}/../docs/{file}", env!("CARGO_MANIFEST_DIR"));
        if env::var_os("FAREBOX_TEST_WRITE").is_some() {
            fs::write(&path, page).unwrap();
        }
        let written = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(written, page, "run this test with FAREBOX_TEST_WRITE=1 to write docs/{file}");
    }

    /// Checks that no name is listed twice.
    pub(in crate::format) fn assert_listed_once(names: impl IntoIterator<Item = &'static str>) {
        let mut listed = HashSet::new();
        for name in names {
            assert!(listed.insert(name), "{name}");
        }
    }
}
