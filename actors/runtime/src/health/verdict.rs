//! How an actor fares, in one word and with reasons: a pure rule over the facts known of it. It reads no clock: all
//! times are passed in.

use std::time::Duration;

use billing::Timestamp;
use serde::Serialize;

use super::ExitReason;

/// How an actor fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The actor works.
    Ok,
    /// The actor works, with trouble that an operator should look at.
    Degraded,
    /// The actor does not work.
    Down,
}

impl Verdict {
    /// The verdict's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Down => "down",
        }
    }
}

/// How often an actor gives a sign of life, in milliseconds.
pub const BEAT_MS: i64 = 1_000;
/// A sign of life is late after this long, in milliseconds.
pub(super) const LATE_MS: i64 = 10_000;
/// An actor without a sign of life for this long is stuck, in milliseconds.
pub(super) const STUCK_MS: i64 = 30_000;
/// How long a restart counts as trouble, in milliseconds.
pub(super) const LATELY_MS: i64 = 10 * 60_000;

/// A restart of an actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Restart {
    /// When the new life began.
    #[serde(serialize_with = "super::rfc_3339")]
    pub at: Timestamp,
    /// How the life before ended.
    pub reason: ExitReason,
}

/// The trouble that an actor, or its supervisor, reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    /// How bad the trouble is.
    pub verdict: Verdict,
    /// The trouble in words.
    pub why: String,
    /// Since when there is trouble.
    pub since: Timestamp,
}

/// The trouble of a part of an actor, as it is reported: a provider's model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The part's name.
    pub name: String,
    /// How the part fares.
    pub verdict: Verdict,
    /// The trouble in words.
    pub why: String,
    /// How long ago it was given up; `None` where it was not.
    pub since_ago: Option<Duration>,
    /// In how long it is tried again, where it was.
    pub tried_in: Option<Duration>,
}

/// The trouble of a part of an actor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SeenPart {
    /// The part's name.
    pub name: String,
    /// How the part fares.
    pub verdict: Verdict,
    /// The trouble in words.
    pub why: String,
    /// Since when.
    #[serde(serialize_with = "super::rfc_3339")]
    pub since: Timestamp,
    /// From when on it is tried again; `None` where it was not given up.
    #[serde(serialize_with = "super::maybe_rfc_3339")]
    pub tried_at: Option<Timestamp>,
}

impl SeenPart {
    /// A part as it is reported now, where it was seen so before.
    pub(super) fn of(part: Part, before: Option<&Self>, now: Timestamp) -> Self {
        let ms = |span: Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        let Part { name, verdict, why, since_ago, tried_in } = part;
        let known = before.filter(|before| before.verdict == verdict).map(|before| before.since);
        let since = known.unwrap_or_else(|| now.plus_ms(-since_ago.map_or(0, ms)));
        Self { name, verdict, why, since, tried_at: tried_in.map(|wait| now.plus_ms(ms(wait))) }
    }
}

/// What is known of an actor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// Since when the current life runs; `None` where the actor is not alive.
    pub alive_since: Option<Timestamp>,
    /// How the last life ended, where no other began since.
    pub ended: Option<(Timestamp, ExitReason)>,
    /// The last sign of life; `None` where the actor gives none.
    pub beat_at: Option<Timestamp>,
    /// The reported trouble.
    pub trouble: Option<Trouble>,
    /// Since when there is no trouble, where there was some.
    pub well_since: Option<Timestamp>,
    /// The latest restarts, oldest first.
    pub restarts: Vec<Restart>,
}

/// The result of the rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The worst verdict found.
    pub verdict: Verdict,
    /// Since when the verdict holds.
    pub since: Timestamp,
    /// All reasons found, the worst first; empty where all is well.
    pub reasons: Vec<String>,
}

/// Judges an actor.
pub(super) fn judge(facts: &Facts, now: Timestamp) -> Judged {
    let mut found: Vec<(Verdict, Timestamp, String)> = Vec::new();
    if let Some((at, reason)) = facts.ended {
        found.push((Verdict::Down, at, format!("it {} and is not back yet", reason.words())));
    }
    if let (Some(_), Some(beat_at)) = (facts.alive_since, facts.beat_at) {
        let silent = now.ms_since(beat_at);
        let words = || format!("no sign of life for {} s", silent / 1_000);
        if silent > STUCK_MS {
            found.push((Verdict::Down, beat_at.plus_ms(STUCK_MS), words()));
        } else if silent > LATE_MS {
            found.push((Verdict::Degraded, beat_at.plus_ms(LATE_MS), words()));
        }
    }
    if let Some(Trouble { verdict, why, since }) = &facts.trouble {
        found.push((*verdict, *since, why.clone()));
    }
    let lately: Vec<&Restart> = facts.restarts.iter().filter(|it| now.ms_since(it.at) < LATELY_MS).collect();
    if let (Some(first), Some(last)) = (lately.first(), lately.last()) {
        let (minutes, why) = (LATELY_MS / 60_000, last.reason.words());
        let words = match lately.len() {
            1 => format!("restarted once in {minutes} minutes, because it {why}"),
            times => format!("restarted {times} times in {minutes} minutes, the last time because it {why}"),
        };
        found.push((Verdict::Degraded, first.at, words));
    }
    // The worst first; of equal verdicts the oldest.
    found.sort_by_key(|(verdict, since, _)| (std::cmp::Reverse(*verdict), *since));
    let reasons = found.iter().map(|(.., why)| why.clone()).collect();
    match found.first() {
        Some((verdict, since, _)) if *verdict != Verdict::Ok => Judged { verdict: *verdict, since: *since, reasons },
        _ => Judged { verdict: Verdict::Ok, since: well_since(facts, now), reasons },
    }
}

/// Since when all is well.
fn well_since(facts: &Facts, now: Timestamp) -> Timestamp {
    let forgotten = facts.restarts.last().map(|last| last.at.plus_ms(LATELY_MS));
    let since = [facts.alive_since, facts.well_since, forgotten].into_iter().flatten().max();
    since.unwrap_or(now).min(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000_000);

    fn ago(ms: i64) -> Timestamp {
        NOW.plus_ms(-ms)
    }

    fn well() -> Facts {
        Facts { alive_since: Some(ago(3_600_000)), beat_at: Some(ago(500)), ..Facts::default() }
    }

    #[test]
    fn an_actor_that_lives_and_says_so_is_well_since_it_began() {
        let judged = judge(&well(), NOW);
        assert_eq!(judged, Judged { verdict: Verdict::Ok, since: ago(3_600_000), reasons: Vec::new() });
        let after_trouble = Facts { well_since: Some(ago(60_000)), ..well() };
        assert_eq!(judge(&after_trouble, NOW).since, ago(60_000));
        let silent_by_nature = Facts { beat_at: None, ..well() };
        assert_eq!(judge(&silent_by_nature, NOW).verdict, Verdict::Ok);
    }

    #[test]
    fn silence_is_late_and_then_down() {
        for (ms, verdict, since) in [
            (LATE_MS, Verdict::Ok, ago(3_600_000)),
            (LATE_MS + 1, Verdict::Degraded, ago(1)),
            (STUCK_MS, Verdict::Degraded, ago(STUCK_MS - LATE_MS)),
            (STUCK_MS + 5, Verdict::Down, ago(5)),
        ] {
            let judged = judge(&Facts { beat_at: Some(ago(ms)), ..well() }, NOW);
            assert_eq!((judged.verdict, judged.since), (verdict, since), "{ms}");
        }
    }

    #[test]
    fn an_end_is_down_until_the_next_life_and_a_restart_is_trouble_for_a_while() {
        let ended = Facts { alive_since: None, ended: Some((ago(700), ExitReason::Panicked)), ..well() };
        let judged = judge(&ended, NOW);
        assert_eq!((judged.verdict, judged.since), (Verdict::Down, ago(700)));
        assert_eq!(judged.reasons, ["it panicked and is not back yet"]);
        let restart = |ms| Restart { at: ago(ms), reason: ExitReason::Failed };
        let back =
            Facts { alive_since: Some(ago(60_000)), restarts: vec![restart(120_000), restart(60_000)], ..well() };
        let judged = judge(&back, NOW);
        assert_eq!((judged.verdict, judged.since), (Verdict::Degraded, ago(120_000)));
        assert!(judged.reasons[0].starts_with("restarted 2 times"), "{judged:?}");
        let long_ago = Facts { restarts: vec![restart(LATELY_MS + 7)], ..well() };
        let judged = judge(&long_ago, NOW);
        assert_eq!((judged.verdict, judged.since), (Verdict::Ok, ago(7)));
    }

    #[test]
    fn the_worst_of_several_troubles_is_the_verdict_and_all_are_told() {
        let trouble = |verdict| Some(Trouble { verdict, why: "it keeps failing".into(), since: ago(9_000) });
        let late = Facts { beat_at: Some(ago(LATE_MS + 100)), trouble: trouble(Verdict::Down), ..well() };
        let judged = judge(&late, NOW);
        assert_eq!((judged.verdict, judged.since), (Verdict::Down, ago(9_000)));
        assert_eq!(judged.reasons, ["it keeps failing", "no sign of life for 10 s"]);
        let noted = judge(&Facts { trouble: trouble(Verdict::Ok), ..well() }, NOW);
        assert_eq!((noted.verdict, noted.reasons.len()), (Verdict::Ok, 1), "a word, and no trouble");
    }
}
