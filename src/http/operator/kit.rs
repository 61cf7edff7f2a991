//! What pages are made of: tiles, tables, facts and forms, as data. One template writes them all, so that each table scrolls in
//! its card, each field has its label, and nothing that people typed is markup.

use crate::http::error::ApiError;

/// One value.
#[derive(Debug, Clone, Default)]
pub(super) struct Cell {
    pub(super) text: String,
    /// Where it leads.
    pub(super) href: Option<String>,
    /// How it is written: `number`, or a verdict.
    pub(super) class: &'static str,
    /// How much of how much it is, shown as a bar.
    pub(super) of: Option<(u64, u64)>,
}

/// A text.
pub(super) fn text(text: impl Into<String>) -> Cell {
    Cell { text: text.into(), ..Cell::default() }
}

/// A number, or a text that stands as numbers do.
#[expect(clippy::needless_pass_by_value, reason = "numbers of all kinds, and texts that were just made")]
pub(super) fn number(number: impl ToString) -> Cell {
    Cell { text: number.to_string(), class: "number", ..Cell::default() }
}

/// A text that leads somewhere.
pub(super) fn link(text: impl Into<String>, href: impl Into<String>) -> Cell {
    Cell { text: text.into(), href: Some(href.into()), ..Cell::default() }
}

/// A text that says something bad.
pub(super) fn bad(text: impl Into<String>) -> Cell {
    Cell { text: text.into(), class: "down", ..Cell::default() }
}

/// A verdict, or another word that is good or bad.
pub(super) fn verdict(word: &str) -> Cell {
    let class = match word {
        "ok" | "closed" | "warm" | "serving" | "running" => "ok",
        "down" | "open" | "failed" | "frozen" | "gone" => "down",
        "cold" | "ended" => "",
        _ => "degraded",
    };
    Cell { text: word.to_owned(), class, ..Cell::default() }
}

/// How much of how much, as a bar with words.
pub(super) fn bar(words: String, value: u64, most: u64) -> Cell {
    Cell { text: words, of: Some((value, most.max(1))), ..Cell::default() }
}

/// One number of a page's head.
#[derive(Debug)]
pub(super) struct Tile {
    pub(super) name: &'static str,
    pub(super) value: Cell,
}

/// A table.
#[derive(Debug)]
pub(super) struct Table {
    /// Its own among the tables of its page.
    pub(super) id: &'static str,
    pub(super) heading: &'static str,
    pub(super) says: String,
    pub(super) heads: &'static [&'static str],
    pub(super) rows: Vec<Vec<Cell>>,
}

impl Table {
    /// Whether a column has numbers.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "so templates pass what they count")]
    pub(super) fn is_number(&self, column: &usize) -> bool {
        self.rows.first().and_then(|row| row.get(*column)).is_some_and(|cell| cell.class == "number")
    }
}

/// A field of a form.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    /// None: it is not shown.
    pub(super) label: Option<&'static str>,
    pub(super) value: String,
    pub(super) required: bool,
    /// What may be chosen; empty where anything may be typed.
    pub(super) choices: &'static [&'static str],
}

impl Field {
    /// A field that must be filled in.
    pub(super) fn of(name: &'static str, label: &'static str) -> Self {
        Self { name, label: Some(label), value: String::new(), required: true, choices: &[] }
    }

    /// One that may be left empty.
    pub(super) fn maybe(name: &'static str, label: &'static str) -> Self {
        Self { required: false, ..Self::of(name, label) }
    }

    /// One that is not shown.
    #[expect(clippy::needless_pass_by_value, reason = "ids that were just made")]
    pub(super) fn hidden(name: &'static str, value: impl ToString) -> Self {
        Self { name, label: None, value: value.to_string(), required: false, choices: &[] }
    }

    /// With what stands in it.
    pub(super) fn with(self, value: impl Into<String>) -> Self {
        Self { value: value.into(), ..self }
    }

    /// One of these.
    pub(super) fn among(self, choices: &'static [&'static str]) -> Self {
        Self { choices, ..self }
    }
}

/// A form.
#[derive(Debug)]
pub(super) struct Form {
    /// Its own among those of its page: the fields' labels are found by it.
    pub(super) id: &'static str,
    pub(super) heading: &'static str,
    pub(super) says: String,
    /// Where it is sent.
    pub(super) action: String,
    /// Whether it only asks.
    pub(super) is_search: bool,
    pub(super) fields: Vec<Field>,
    pub(super) button: String,
    /// What is asked before it is sent, where scripts run.
    pub(super) confirm: String,
}

/// A part of a page.
#[derive(Debug)]
pub(super) enum Part {
    Says(String),
    Links(Vec<Cell>),
    Facts(&'static str, &'static str, Vec<(&'static str, Cell)>),
    Table(Table),
    Form(Form),
}

/// A page's content.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// What was wrong with a form.
    pub(super) message: Option<String>,
    /// What was done.
    pub(super) said: Option<String>,
    pub(super) tiles: Vec<Tile>,
    pub(super) parts: Vec<Part>,
}

impl Content {
    /// The same content, below what was wrong.
    pub(super) fn after(self, wrong: Option<&ApiError>) -> Self {
        Self { message: wrong.map(|error| error.message().to_owned()), ..self }
    }

    /// The same content; the form that was sent there with these fields has in it what was typed.
    pub(super) fn typed(mut self, action: &str, sent: &[(String, String)]) -> Self {
        let value = |name: &str| sent.iter().find(|(known, _)| known == name).map(|(_, value)| value);
        let is_it = |form: &Form| {
            let mut hidden = form.fields.iter().filter(|field| field.label.is_none() && field.name != "once");
            form.action == action && hidden.all(|field| value(field.name) == Some(&field.value))
        };
        for part in &mut self.parts {
            let Part::Form(form) = part else { continue };
            if !is_it(form) {
                continue;
            }
            for field in form.fields.iter_mut().filter(|field| field.label.is_some()) {
                if let Some(typed) = value(field.name) {
                    field.value.clone_from(typed);
                }
            }
        }
        self
    }

    pub(super) fn tile(mut self, name: &'static str, value: Cell) -> Self {
        self.tiles.push(Tile { name, value });
        self
    }

    pub(super) fn says(mut self, says: impl Into<String>) -> Self {
        self.parts.push(Part::Says(says.into()));
        self
    }

    pub(super) fn links(mut self, links: Vec<Cell>) -> Self {
        self.parts.push(Part::Links(links));
        self
    }

    pub(super) fn facts(mut self, id: &'static str, heading: &'static str, facts: Vec<(&'static str, Cell)>) -> Self {
        self.parts.push(Part::Facts(id, heading, facts));
        self
    }

    pub(super) fn table(
        mut self,
        (id, heading): (&'static str, &'static str),
        says: impl Into<String>,
        heads: &'static [&'static str],
        rows: Vec<Vec<Cell>>,
    ) -> Self {
        self.parts.push(Part::Table(Table { id, heading, says: says.into(), heads, rows }));
        self
    }

    pub(super) fn form(mut self, form: Form) -> Self {
        self.parts.push(Part::Form(form));
        self
    }
}
