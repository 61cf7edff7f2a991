//! The metrics of actors in `/metrics`, besides the recorded ones: the work of each kind, and the state of each named
//! actor. They are written here, because some are counters with fractions, and because an actor that is gone must have
//! no line.

use std::fmt::Write as _;

use runtime::health::{Health, Observed, Seen};

/// A family of samples: its name, its Prometheus type, its description, and its value.
type Family<T> = (&'static str, &'static str, &'static str, fn(&T) -> String);

/// The families of each kind of actor.
const KINDS: [Family<Observed>; 8] = [
    ("actors_live", "gauge", "Actors of the kind that live.", |seen| seen.live.to_string()),
    ("farebox_actor_mailbox_messages", "gauge", "Messages that wait.", |seen| seen.mailbox_depth.to_string()),
    ("farebox_actor_messages_total", "counter", "Messages handled.", |seen| seen.handled.to_string()),
    (
        "farebox_actor_refused_messages_total",
        "counter",
        "Messages that were not posted, as the mailbox was full.",
        |seen| seen.refused.to_string(),
    ),
    ("farebox_actor_lost_messages_total", "counter", "Messages whose actor ended before it handled them.", |seen| {
        seen.lost.to_string()
    }),
    ("farebox_actor_waited_seconds_total", "counter", "Time that messages waited, together.", |seen| {
        seconds(seen.waited_us)
    }),
    ("farebox_actor_busy_seconds_total", "counter", "Time that messages took, together.", |seen| seconds(seen.busy_us)),
    (
        "farebox_actor_last_message_seconds",
        "gauge",
        "Time since a message was last handled; -1 before the first.",
        |seen| seen.last_message_ms.map_or_else(|| "-1".to_owned(), thousandths),
    ),
];

/// The families of each named actor.
const NAMES: [Family<Seen>; 4] = [
    ("farebox_actor_verdict", "gauge", "How the actor fares: 0 ok, 1 degraded, 2 down.", |seen| {
        (seen.verdict as u8).to_string()
    }),
    ("farebox_actor_up", "gauge", "Whether the actor works, in trouble or not: 0 when it is down.", |seen| {
        u8::from(seen.verdict != runtime::health::Verdict::Down).to_string()
    }),
    ("farebox_actor_named_restarts_total", "counter", "Lives that began after one that ended unasked.", |seen| {
        seen.restarts.to_string()
    }),
    (
        "farebox_actor_last_heartbeat_seconds",
        "gauge",
        "Time since its last sign of life; -1 where it gives none.",
        |seen| {
            let ms = seen.heartbeat_ms.and_then(|ms| u128::try_from(ms).ok());
            ms.map_or_else(|| "-1".to_owned(), thousandths)
        },
    ),
];

fn seconds(us: u64) -> String {
    format!("{}.{:06}", us / 1_000_000, us % 1_000_000)
}

fn thousandths(ms: u128) -> String {
    format!("{}.{:03}", ms / 1_000, ms % 1_000)
}

/// A label's value (Prometheus' "Exposition formats": text).
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// All samples, in Prometheus' text format.
pub fn text(health: &Health) -> String {
    let mut text = String::new();
    let (observed, seen) = (health.observe(), health.seen());
    // Writing to a text can't fail.
    for (name, kind, help, value) in KINDS {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for seen in &observed {
            let _ = writeln!(text, "{name}{{kind=\"{}\"}} {}", seen.kind.name(), value(seen));
        }
    }
    let name = "farebox_actor_restarts_total";
    let _ = writeln!(text, "# HELP {name} Lives that ended unasked, by how.\n# TYPE {name} counter");
    for Observed { kind, panics, failures, .. } in &observed {
        let kind = kind.name();
        let _ = writeln!(text, "{name}{{kind=\"{kind}\",reason=\"panicked\"}} {panics}");
        let _ = writeln!(text, "{name}{{kind=\"{kind}\",reason=\"failed\"}} {failures}");
    }
    for (name, kind, help, value) in NAMES {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for seen in &seen {
            let of = seen.observed.kind.name();
            let _ = writeln!(text, "{name}{{kind=\"{of}\",name=\"{}\"}} {}", escaped(&seen.name), value(seen));
        }
    }
    let name = "farebox_provider_model_verdict";
    let help = "How a provider's model in trouble fares: 1 degraded, 2 not called for a while.";
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
    for seen in &seen {
        for part in &seen.parts {
            let (provider, model) = (escaped(&seen.name), escaped(&part.name));
            let _ = writeln!(text, "{name}{{provider=\"{provider}\",model=\"{model}\"}} {}", part.verdict as u8);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::health::{Kind, Part, Verdict};

    #[test]
    fn each_named_actor_is_told_with_its_verdict_and_labels_are_escaped() {
        let health = Health::default();
        health.trouble(Kind::Engine, "a\"b\\c\nd", Some((Verdict::Down, "it could not be loaded".into())));
        let part = Part {
            name: "gpt\"4".into(),
            verdict: Verdict::Down,
            why: "it fails".into(),
            since_ago: None,
            tried_in: None,
        };
        health.parts(Kind::Provider, "openai", vec![part]);
        let text = text(&health);
        let of_model = r#"farebox_provider_model_verdict{provider="openai",model="gpt\"4"} 2"#;
        assert!(text.lines().any(|found| found == of_model), "{text}");
        let line = r#"farebox_actor_verdict{kind="engine",name="a\"b\\c\nd"} 2"#;
        assert!(text.lines().any(|found| found == line), "{text}");
        assert!(text.contains("farebox_actor_messages_total{kind=\"account\"} 0\n"), "{text}");
        assert!(
            text.contains("farebox_actor_last_heartbeat_seconds{kind=\"account\",name=\"account\"} -1\n"),
            "{text}"
        );
    }
}
