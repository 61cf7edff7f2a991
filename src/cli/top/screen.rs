//! The screen of `farebox top`: a line of what matters most, the views' names, one view, and the keys. It is drawn from the
//! server's answers alone, and fits a terminal of 80 columns and 24 lines.

use ratatui::{
    Frame,
    crossterm::event::KeyCode,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Paragraph, Row, Table},
};
use serde_json::Value;

use crate::cli::table::{at, cell};

/// The columns of a list: the heading, and the value's path.
type Columns = &'static [(&'static str, &'static str)];

const TROUBLES: Columns = &[("WHAT", "what"), ("VERDICT", "verdict"), ("WHY", "why")];
const KINDS: Columns = &[
    ("KIND", "kind"),
    ("LIVE", "live"),
    ("WAITING", "mailbox_depth"),
    ("HANDLED", "handled"),
    ("WAIT us", "mean_wait_us"),
    ("WORK us", "mean_busy_us"),
    ("PANICS", "panics"),
    ("FULL", "refused"),
    ("LOST", "lost"),
];
const EXECUTORS: Columns =
    &[("THREAD", "name"), ("BUSY /1000", "busy_permille"), ("LATE us", "late_us"), ("BLOCKED ms", "blocked_ms")];
const ACTORS: Columns = &[
    ("KIND", "kind"),
    ("NAME", "name"),
    ("VERDICT", "verdict"),
    ("WAITING", "mailbox_depth"),
    ("NOW", "current.message"),
    ("ms", "current.ms"),
    ("SEEN ms", "heartbeat_ms"),
    ("RESTARTS", "restarts"),
    ("WHY", "reasons"),
];
const DEVICES: Columns = &[("DEVICE", "name"), ("CLASSES", "classes"), ("USED", "used_bytes"), ("OF", "memory_bytes")];
const MODELS: Columns = &[
    ("MODEL", "id"),
    ("CLASS", "class"),
    ("STATE", "state"),
    ("RUNS", "running"),
    ("QUEUED", "queued"),
    ("WAITS", "waiting"),
    ("TOKENS/s", "tokens_per_second"),
    ("WHY", "why"),
];
const PROVIDERS: Columns = &[
    ("PROVIDER", "name"),
    ("CIRCUIT", "circuit"),
    ("KEYS", "keys"),
    ("CALLS", "running"),
    ("OK", "completed"),
    ("LEFT", "left"),
    ("FAILED", "failed"),
    ("P50 ms", "whole_p50_ms"),
    ("P99 ms", "whole_p99_ms"),
    ("WHY", "why"),
];
const REQUESTS: Columns = &[
    ("STAGE", "stage"),
    ("SINCE", "since"),
    ("MODEL", "model"),
    ("COST", "cost"),
    ("HELD", "held"),
    ("ID", "id"),
    ("WAITS FOR", "waits_for"),
];
const MONEY: Columns = &[
    ("MODEL", "model"),
    ("PROVIDER", "provider"),
    ("REQUESTS", "requests"),
    ("FAILED", "failed"),
    ("CHARGED", "charged"),
    ("MARGIN", "margin"),
];

/// All lists: their names, where they are in the overview, and their columns.
pub(super) const LISTS: &[(&str, &str, Columns)] = &[
    ("troubles", "troubles", TROUBLES),
    ("actors by kind", "kinds", KINDS),
    ("actors", "actors", ACTORS),
    ("threads", "executors", EXECUTORS),
    ("devices", "pools.devices", DEVICES),
    ("models", "pools.models", MODELS),
    ("providers", "providers", PROVIDERS),
    ("requests", "", REQUESTS),
];

/// A list of an answer.
pub(super) fn list<'a>(answer: &'a Value, path: &str) -> &'a Value {
    at(answer, path)
}

/// A view.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum View {
    #[default]
    Overview,
    Actors,
    Models,
    Providers,
    Requests,
    Money,
}

impl View {
    const ALL: [Self; 6] = [Self::Overview, Self::Actors, Self::Models, Self::Providers, Self::Requests, Self::Money];

    const fn name(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Actors => "Actors",
            Self::Models => "Models",
            Self::Providers => "Providers",
            Self::Requests => "Requests",
            Self::Money => "Money",
        }
    }

    fn turned(self, by: usize) -> Self {
        Self::ALL[(self as usize + by) % Self::ALL.len()]
    }
}

/// What is shown.
#[derive(Debug, Default)]
pub(super) struct Screen {
    pub(super) view: View,
    /// Why the server was not heard.
    pub(super) failed: Option<String>,
    /// The first row of the view's list.
    first: usize,
}

impl Screen {
    /// Takes a key. Returns whether the watch goes on.
    pub(super) fn press(&mut self, key: KeyCode) -> bool {
        match key {
            KeyCode::Char('q') | KeyCode::Esc => return false,
            KeyCode::Char(digit @ '1'..='6') => self.show(View::ALL[digit as usize - '1' as usize]),
            KeyCode::Tab | KeyCode::Right => self.show(self.view.turned(1)),
            KeyCode::BackTab | KeyCode::Left => self.show(self.view.turned(View::ALL.len() - 1)),
            KeyCode::Down => self.first += 1,
            KeyCode::Up => self.first = self.first.saturating_sub(1),
            KeyCode::PageDown => self.first += 10,
            KeyCode::PageUp => self.first = self.first.saturating_sub(10),
            KeyCode::Home => self.first = 0,
            _ => {}
        }
        true
    }

    fn show(&mut self, view: View) {
        (self.view, self.first) = (view, 0);
    }

    /// Draws all of it.
    pub(super) fn draw(&mut self, frame: &mut Frame<'_>, overview: &Value, requests: &Value, money: &Value) {
        let areas = [Constraint::Length(1), Constraint::Length(1), Constraint::Min(1), Constraint::Length(1)];
        let [head, tabs, body, foot] = Layout::vertical(areas).areas(frame.area());
        frame.render_widget(headline(overview), head);
        frame.render_widget(self.tabs(), tabs);
        match self.view {
            View::Overview => overview_in(frame, body, overview),
            View::Actors => self.list(frame, body, &overview["actors"], ACTORS),
            View::Models => {
                let devices = rows(&overview["pools"]["devices"]).len();
                let [above, below] = split(body, devices);
                table(frame, above, &overview["pools"]["devices"], DEVICES, 0);
                self.list(frame, below, &overview["pools"]["models"], MODELS);
            }
            View::Providers => self.list(frame, body, &overview["providers"], PROVIDERS),
            View::Requests => self.list(frame, body, &requests["data"], REQUESTS),
            View::Money => {
                let [above, below] = Layout::vertical([Constraint::Length(3), Constraint::Min(1)]).areas(body);
                frame.render_widget(money_lines(money), above);
                self.list(frame, below, &money["today"], MONEY);
            }
        }
        let keys = "1-6, Tab: views   arrows: scroll   q: quit";
        let foot_line = match &self.failed {
            Some(why) => Line::styled(format!("not heard: {why}"), Style::new().fg(Color::Red)),
            None => Line::styled(keys, Style::new().add_modifier(Modifier::DIM)),
        };
        frame.render_widget(foot_line, foot);
    }

    fn tabs(&self) -> Line<'static> {
        let spans = View::ALL.into_iter().zip(1..).flat_map(|(view, number)| {
            let style = if view == self.view { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
            [Span::styled(format!("{number} {}", view.name()), style), Span::raw("  ")]
        });
        spans.collect()
    }

    /// A list that can be scrolled: never beyond its last row.
    fn list(&mut self, frame: &mut Frame<'_>, area: Rect, list: &Value, columns: Columns) {
        self.first = self.first.min(rows(list).len().saturating_sub(1));
        table(frame, area, list, columns, self.first);
    }
}

fn rows(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

/// So many rows with their heading above, and the rest below.
fn split(area: Rect, rows: usize) -> [Rect; 2] {
    let above = u16::try_from(rows + 2).unwrap_or(u16::MAX).min(area.height / 2);
    Layout::vertical([Constraint::Length(above), Constraint::Min(1)]).areas(area)
}

fn color(verdict: &str) -> Color {
    match verdict {
        "ok" | "closed" | "warm" => Color::Green,
        "down" | "open" | "failed" => Color::Red,
        _ => Color::Yellow,
    }
}

fn headline(overview: &Value) -> Line<'static> {
    let verdict = overview["verdict"].as_str().unwrap_or("not known").to_owned();
    let value = |name: &str| cell(&overview[name]);
    let time = value("at").chars().take(19).collect::<String>().replace('T', " ");
    let (color, style) = (color(&verdict), Style::new().add_modifier(Modifier::BOLD));
    Line::from(vec![
        Span::styled(format!("farebox {}  ", value("version")), style),
        Span::styled(verdict, style.fg(color)),
        Span::raw(format!("  running {}  behind {}  {time}", value("running_requests"), value("behind"))),
    ])
}

fn overview_in(frame: &mut Frame<'_>, area: Rect, overview: &Value) {
    let troubles = &overview["troubles"];
    let heights = [
        Constraint::Length(u16::try_from(rows(troubles).len().min(4) + 1).unwrap_or(5).max(2)),
        Constraint::Length(u16::try_from(rows(&overview["kinds"]).len() + 1).unwrap_or(u16::MAX)),
        Constraint::Min(1),
    ];
    let [above, middle, below] = Layout::vertical(heights).areas(area);
    if rows(troubles).is_empty() {
        frame.render_widget(Line::styled("All is well.", Style::new().fg(Color::Green)), above);
    } else {
        table(frame, above, troubles, TROUBLES, 0);
    }
    table(frame, middle, &overview["kinds"], KINDS, 0);
    table(frame, below, &overview["executors"], EXECUTORS, 0);
}

fn money_lines(money: &Value) -> Paragraph<'static> {
    let value = |name: &str| cell(&money[name]);
    let audit = &money["last_audit"];
    let audited = match audit["found"]["ok"].as_bool() {
        Some(true) => format!("the last audit, at {}, found nothing", cell(&audit["at"])),
        Some(false) => format!("the last audit, at {}, found violations", cell(&audit["at"])),
        None => "nobody asked for an audit yet".to_owned(),
    };
    Paragraph::new(vec![
        Line::raw(format!(
            "{} accounts   to spend ${}   held ${}   debt ${} of {}",
            value("accounts"),
            value("available"),
            value("held"),
            value("debt"),
            value("debtors")
        )),
        Line::raw(format!("behind {}   captures that wait {}   {audited}", value("behind"), value("captures_waiting"))),
    ])
}

/// A table from its row `first` on. A column is as wide as its widest value; the last one gets what is left.
fn table(frame: &mut Frame<'_>, area: Rect, list: &Value, columns: Columns, first: usize) {
    let shown: Vec<Vec<String>> = rows(list)
        .iter()
        .skip(first)
        .take(area.height.into())
        .map(|row| columns.iter().map(|(_, path)| cell(at(row, path))).collect())
        .collect();
    let width = |place: usize| {
        let cells = shown.iter().map(|row| row[place].chars().count());
        let widest = cells.max().unwrap_or(0).max(columns[place].0.len());
        u16::try_from(widest.min(40)).unwrap_or(40)
    };
    let last = columns.len() - 1;
    let widths: Vec<Constraint> = (0..columns.len())
        .map(|place| if place == last { Constraint::Min(4) } else { Constraint::Length(width(place)) })
        .collect();
    let head = Row::new(columns.iter().map(|(heading, _)| *heading)).style(Style::new().add_modifier(Modifier::BOLD));
    let rows = rows(list).iter().skip(first).zip(shown).map(|(row, cells)| {
        let word = ["verdict", "circuit", "state"].iter().find_map(|name| row[*name].as_str());
        let style = word
            .filter(|word| color(word) != Color::Green)
            .map_or_else(Style::new, |word| Style::new().fg(color(word)));
        Row::new(cells).style(style)
    });
    frame.render_widget(Table::new(rows, widths).header(head).column_spacing(1), area);
}

#[cfg(test)]
mod tests {
    use ratatui::{Terminal, backend::TestBackend};
    use serde_json::json;

    use super::*;

    fn overview() -> Value {
        let kind = |name: &str| {
            json!({"kind": name, "live": 1, "mailbox_depth": 0, "handled": 1_234_567, "mean_wait_us": 12, "mean_busy_us": 3,
                   "panics": 0, "refused": 0, "lost": 0})
        };
        let names = [
            "account",
            "journal",
            "projector",
            "pool",
            "engine",
            "provider",
            "payment",
            "sweeper",
            "webhook",
            "supervisor",
        ];
        let actor = |number: usize| {
            json!({"kind": "engine", "name": format!("model-{number}"), "verdict": "ok", "mailbox_depth": 0, "current": null,
                   "heartbeat_ms": 900, "restarts": 0, "reasons": []})
        };
        json!({
            "version": "0.1.0", "verdict": "down", "running_requests": 7, "behind": 3, "at": "2026-11-30T01:02:03.004Z",
            "troubles": [{"what": "thread actors-0", "verdict": "down", "why": "it is blocked for 2.1 s"}],
            "kinds": names.map(kind),
            "actors": (0..60).map(actor).collect::<Vec<_>>(),
            "executors": [{"name": "requests-0", "busy_permille": 431, "late_us": 90, "blocked_ms": null}],
            "pools": {"devices": [{"name": "cpu", "classes": ["7B"], "used_bytes": 1, "memory_bytes": 2}], "models": []},
            "providers": [{"name": "openai", "circuit": "open", "why": "the last 20 calls failed"}],
        })
    }

    fn drawn(screen: &mut Screen, (width, height): (u16, u16), overview: &Value) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let requests = json!({"data": [{"stage": "calling", "model": "gpt-4o-mini", "cost": "0.01", "held": "0.02"}]});
        let money =
            json!({"accounts": 2, "available": "5.00", "held": "0.00", "debt": "0.00", "debtors": 0, "today": []});
        terminal.draw(|frame| screen.draw(frame, overview, &requests, &money)).unwrap();
        let buffer = terminal.backend().buffer();
        let line = |y: u16| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
        (0..height).map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn each_view_fits_a_small_terminal_and_says_what_matters() {
        let (mut screen, seen) = (Screen::default(), overview());
        let first = drawn(&mut screen, (80, 24), &seen);
        for said in
            ["farebox 0.1.0  down  running 7  behind 3", "blocked for 2.1 s", "supervisor", "requests-0", "q: quit"]
        {
            assert!(first.contains(said), "{said}:\n{first}");
        }
        for (key, said) in
            [('2', "model-0"), ('3', "cpu"), ('4', "the last 20 calls"), ('5', "gpt-4o-mini"), ('6', "to spend $5.00")]
        {
            assert!(screen.press(KeyCode::Char(key)));
            let shown = drawn(&mut screen, (80, 24), &seen);
            assert!(shown.contains(said) && shown.lines().count() == 24, "{key} {said}:\n{shown}");
        }
        assert!(!screen.press(KeyCode::Char('q')));
    }

    #[test]
    fn a_long_list_is_scrolled_to_its_end_and_no_further() {
        let (mut screen, seen) = (Screen::default(), overview());
        screen.press(KeyCode::Tab);
        for _ in 0..20 {
            screen.press(KeyCode::PageDown);
        }
        let shown = drawn(&mut screen, (80, 24), &seen);
        assert!(shown.contains("model-59") && !shown.contains("model-58"), "{shown}");
        screen.press(KeyCode::Up);
        assert!(drawn(&mut screen, (80, 24), &seen).contains("model-58"), "one key leads back");
        screen.press(KeyCode::BackTab);
        assert_eq!(screen.view, View::Overview);
    }

    #[test]
    fn an_unheard_server_and_the_smallest_terminal_are_no_trouble() {
        let mut screen = Screen { failed: Some("no farebox answers".into()), ..Screen::default() };
        assert!(drawn(&mut screen, (60, 10), &Value::Null).contains("not heard: no farebox answers"));
        drawn(&mut screen, (1, 1), &overview());
    }
}
