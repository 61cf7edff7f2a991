//! `farebox top`: what the operator's pages show, in a terminal, from the same answers of the running server. It asks once a
//! second; where the server does not answer, the last picture stays, and says so.

mod screen;

use std::{
    io::{IsTerminal as _, stdout},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use serde_json::Value;

use super::{
    call::Server,
    table::{Form, print_list, print_one},
};
use crate::config::Settings;
use screen::{Screen, View};

/// How often the server is asked.
const EVERY: Duration = Duration::from_secs(1);

/// `farebox top`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print one picture as text, and end.
    #[arg(long)]
    once: bool,
    /// Print one picture as JSON, and end.
    #[arg(long)]
    json: bool,
}

/// What the server said last.
#[derive(Debug, Default)]
struct Seen {
    overview: Value,
    requests: Value,
    money: Value,
}

impl Seen {
    /// Asks for what a view shows.
    fn ask(&mut self, server: &Server, view: View) -> Result<()> {
        self.overview = server.call("GET", "overview", None)?;
        match view {
            View::Requests => self.requests = server.call("GET", "requests", None)?,
            View::Money => self.money = server.call("GET", "money", None)?,
            View::Overview | View::Actors | View::Models | View::Providers => {}
        }
        Ok(())
    }
}

/// Runs `farebox top`. The exit status of `--once` is 1 where something is down.
pub(super) fn run(settings: &Settings, args: &Args) -> Result<i32> {
    let server = Server::of(settings)?;
    if args.once || args.json {
        return once(&server, args.json);
    }
    if !stdout().is_terminal() {
        bail!("`farebox top` needs a terminal; `farebox top --once` prints one picture.");
    }
    let mut seen = Seen::default();
    // A server that is not there is told before the screen is taken.
    seen.ask(&server, View::Overview)?;
    let mut terminal = ratatui::try_init().context("can't take the terminal")?;
    let watched = watch(&mut terminal, &server, seen);
    ratatui::restore();
    watched.map(|()| 0)
}

fn watch(terminal: &mut ratatui::DefaultTerminal, server: &Server, mut seen: Seen) -> Result<()> {
    let mut screen = Screen::default();
    let mut asked_at = Instant::now();
    loop {
        terminal.draw(|frame| screen.draw(frame, &seen.overview, &seen.requests, &seen.money))?;
        if event::poll(EVERY.saturating_sub(asked_at.elapsed()))? {
            let Event::Key(key) = event::read()? else { continue };
            if key.kind == KeyEventKind::Release {
                continue;
            }
            let is_break = key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
            if is_break || !screen.press(key.code) {
                return Ok(());
            }
            // What another view shows was not asked for yet.
            if asked_at.elapsed() < EVERY && !matches!(screen.view, View::Requests | View::Money) {
                continue;
            }
        }
        screen.failed = seen.ask(server, screen.view).err().map(|error| format!("{error:#}"));
        asked_at = Instant::now();
    }
}

/// Prints one picture. Returns 1 where something is down.
fn once(server: &Server, json: bool) -> Result<i32> {
    let mut seen = Seen::default();
    seen.ask(server, View::Requests)?;
    let overview = &seen.overview;
    if json {
        print_one(overview, Form::Json)?;
    } else {
        for (name, list, columns) in screen::LISTS {
            let rows = match name {
                &"requests" => seen.requests["data"].as_array(),
                _ => screen::list(overview, list).as_array(),
            };
            heading(name);
            print_list(rows.map_or(&[][..], Vec::as_slice), columns, Form::Text)?;
        }
    }
    Ok(i32::from(overview["verdict"] == "down"))
}

#[expect(clippy::print_stdout, reason = "the command's output")]
fn heading(name: &str) {
    println!("\n{}", name.to_uppercase());
}
