//! What operators' topics tell, as frames: the parts of `GET /admin/v1/overview` and `GET /admin/v1/money`, looked at once a
//! second while somebody listens. The first frame of a topic has its picture whole; those after it say what has changed, as a
//! JSON merge patch (RFC 7396). In a patch null stands for what is gone, so a picture has no nulls; and lists of things with
//! names are objects here, so that a patch names the one that changed. Ages, which change with every look, are left out.

use std::{collections::VecDeque, time::Duration};

use futures::{FutureExt as _, future::LocalBoxFuture};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep_until};

use super::{
    outgoing::Outgoing,
    topics::{Topic, Topics},
};
use crate::http::{
    admin::overview::{picture, treasury},
    error::ApiError,
    state::Shared,
    views::Time,
};

/// The shortest time between two looks.
const BETWEEN: Duration = Duration::from_secs(1);

/// The fields that say how old something is.
const AGES: [&str; 4] = ["heartbeat_ms", "last_message_ms", "last_refused_ms", "unused_ms"];

/// The lists whose things have names, and the fields that name them.
const NAMED: [(&str, &[&str]); 9] = [
    ("actors", &["kind", "name"]),
    ("kinds", &["kind"]),
    ("messages", &["kind", "message"]),
    ("depths", &["messages"]),
    ("executors", &["name"]),
    ("devices", &["name"]),
    ("models", &["id"]),
    ("providers", &["name"]),
    ("today", &["provider", "model"]),
];

/// The pictures of one look, by their topics.
type Looked = Vec<(Topic, Value)>;

/// The topics of one operator.
pub(super) struct Pictures {
    state: Shared,
    topics: Topics,
    /// What was told of each topic.
    told: Vec<(Topic, Value)>,
    /// When to look next.
    due: Instant,
    looking: Option<LocalBoxFuture<'static, Looked>>,
    queue: VecDeque<(Topic, String)>,
}

impl Pictures {
    /// No topic yet.
    pub(super) fn new(state: &Shared) -> Self {
        Self {
            state: state.clone(),
            topics: Topics::default(),
            told: Vec::new(),
            due: Instant::now(),
            looking: None,
            queue: VecDeque::new(),
        }
    }

    /// Subscribes to topics.
    ///
    /// # Errors
    ///
    /// One of them is an account's: then nothing changes.
    pub(super) fn subscribe(&mut self, topics: &[Topic]) -> Result<(), ApiError> {
        if let Some(topic) = topics.iter().find(|topic| !topic.is_operators()) {
            return Err(topic.refused_to_operator());
        }
        self.topics = topics.iter().fold(self.topics, |all, topic| all.with(*topic));
        Ok(())
    }

    /// Unsubscribes from topics.
    pub(super) fn unsubscribe(&mut self, topics: &[Topic]) {
        self.topics = topics.iter().fold(self.topics, |all, topic| all.without(*topic));
        let left = self.topics;
        self.queue.retain(|(topic, _)| left.has(*topic));
        self.told.retain(|(topic, _)| left.has(*topic));
    }

    /// The next frame. A reader that is behind is told later, and then of all that has changed until then. Dropping the future
    /// while it waits loses nothing.
    pub(super) async fn next(&mut self, outgoing: &Outgoing) -> String {
        loop {
            if let Some((_, frame)) = self.queue.pop_front() {
                return frame;
            }
            if self.topics.is_empty() {
                std::future::pending::<()>().await;
            }
            if self.looking.is_none() {
                sleep_until(self.due).await;
                outgoing.has_room().await;
            }
            let (state, topics) = (self.state.clone(), self.topics);
            let looked = self.looking.get_or_insert_with(|| look(state, topics).boxed_local()).await;
            self.looking = None;
            self.due = Instant::now() + BETWEEN;
            for (topic, now) in looked {
                self.tell(topic, now);
            }
        }
    }

    /// Tells what of a picture is new.
    fn tell(&mut self, topic: Topic, now: Value) {
        if !self.topics.has(topic) {
            return;
        }
        let known = self.told.iter_mut().find(|(told, _)| *told == topic);
        let (field, said) = if let Some((_, before)) = known {
            let Some(change) = patch(before, &now) else { return };
            *before = now;
            ("patch", change)
        } else {
            self.told.push((topic, now.clone()));
            ("whole", now)
        };
        let mut frame = json!({"type": topic.kind(), "at": Time::from(self.state.service.now()), field: said});
        if let Some(cluster) = &self.state.cluster {
            frame["node"] = json!(cluster.me().0);
        }
        self.queue.push_back((topic, frame.to_string()));
    }
}

/// Looks at what is subscribed to. Money can't be seen while the ledger can't be read.
async fn look(state: Shared, topics: Topics) -> Looked {
    let mut looked = Looked::new();
    if [Topic::Actors, Topic::Pools, Topic::Providers].into_iter().any(|topic| topics.has(topic)) {
        let mut all = shown(&picture(&state));
        all.remove("at");
        all.remove("node");
        let mut pools = all.remove("pools").unwrap_or_default();
        if let (Some(pools), Some(minute)) = (pools.as_object_mut(), all.remove("open_minute")) {
            pools.insert("minute".to_owned(), minute);
        }
        let providers = all.remove("providers").unwrap_or_default();
        looked.extend([
            (Topic::Actors, Value::Object(all)),
            (Topic::Pools, pools),
            (Topic::Providers, json!({"providers": providers})),
        ]);
    }
    if topics.has(Topic::Money)
        && let Ok(treasury) = treasury(&state).await
    {
        let mut money = shown(&treasury);
        // That it was looked at again is no news.
        money.remove("at");
        looked.push((Topic::Money, Value::Object(money)));
    }
    looked
}

/// An answer as a picture.
fn shown(answer: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(answer) {
        Ok(Value::Object(mut fields)) => {
            simplify(&mut fields);
            fields
        }
        Ok(_) | Err(_) => Map::new(),
    }
}

/// Leaves out nulls and ages, and names the things of lists.
fn simplify(fields: &mut Map<String, Value>) {
    fields.retain(|name, value| !value.is_null() && !AGES.contains(&name.as_str()));
    for (name, value) in fields {
        let by = NAMED.iter().find(|(list, _)| list == name).map(|(_, by)| *by);
        if let (Some(by), Value::Array(things)) = (by, &mut *value)
            && things.iter().all(|thing| by.iter().all(|field| thing.get(*field).is_some()))
        {
            *value = Value::Object(named(std::mem::take(things), by));
        }
        match value {
            Value::Object(fields) => simplify(fields),
            Value::Array(things) => things.iter_mut().filter_map(Value::as_object_mut).for_each(simplify),
            _ => {}
        }
    }
}

/// The things of a list by their names. Those of one name are told apart by a number.
fn named(things: Vec<Value>, by: &[&str]) -> Map<String, Value> {
    let mut all = Map::new();
    for thing in things {
        let mut words: Vec<String> = Vec::new();
        for field in by {
            let word = match thing.get(*field) {
                Some(Value::String(word)) => word.clone(),
                other => other.map(Value::to_string).unwrap_or_default(),
            };
            // The only one of its kind has the kind's name.
            if words.last() != Some(&word) {
                words.push(word);
            }
        }
        let name = words.join(" ");
        let free = (2..).map(|number| format!("{name} {number}"));
        let free = std::iter::once(name.clone()).chain(free).find(|name| !all.contains_key(name));
        all.insert(free.unwrap_or(name), thing);
    }
    all
}

/// What makes one value of another, as a merge patch; `None` where they are the same.
fn patch(before: &Value, now: &Value) -> Option<Value> {
    let (Value::Object(old), Value::Object(new)) = (before, now) else {
        return (before != now).then(|| now.clone());
    };
    let mut changes = Map::new();
    for (name, value) in new {
        let change = match old.get(name) {
            Some(old) => patch(old, value),
            None => Some(value.clone()),
        };
        if let Some(change) = change {
            changes.insert(name.clone(), change);
        }
    }
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        changes.insert(name.clone(), Value::Null);
    }
    (!changes.is_empty()).then_some(Value::Object(changes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7396, chapter 2.
    fn merged(target: Value, patch: &Value) -> Value {
        let Value::Object(changes) = patch else { return patch.clone() };
        let mut fields = if let Value::Object(fields) = target { fields } else { Map::new() };
        for (name, change) in changes {
            if change.is_null() {
                fields.remove(name);
            } else {
                let before = fields.remove(name).unwrap_or_default();
                fields.insert(name.clone(), merged(before, change));
            }
        }
        Value::Object(fields)
    }

    #[test]
    fn a_patch_makes_the_new_picture_of_the_old_one_and_says_no_more() {
        let pictures = [
            json!({}),
            json!({"a": 1, "b": {"c": [1, 2], "d": "x"}}),
            json!({"a": 1, "b": {"c": [1, 3], "d": "x"}}),
            json!({"b": {"d": "x", "e": {"f": 1}}}),
            json!({"b": 7}),
        ];
        for before in &pictures {
            for now in &pictures {
                let change = patch(before, now);
                assert_eq!(change.is_none(), before == now);
                assert_eq!(change.map_or_else(|| before.clone(), |change| merged(before.clone(), &change)), *now);
            }
        }
        assert_eq!(patch(&pictures[1], &pictures[2]), Some(json!({"b": {"c": [1, 3]}})));
    }

    #[test]
    fn a_picture_has_names_for_lists_and_neither_nulls_nor_ages() {
        let answer = json!({
            "verdict": "ok",
            "actors": [
                {"kind": "sweeper", "name": "sweeper", "heartbeat_ms": 5, "current": null},
                {"kind": "provider", "name": "openai", "last_restarts": [{"at": "x", "why": null}]},
            ],
            "devices": [{"name": "cpu"}, {"name": "cpu"}],
            "troubles": [],
        });
        let expected = json!({
            "verdict": "ok",
            "actors": {
                "sweeper": {"kind": "sweeper", "name": "sweeper"},
                "provider openai": {"kind": "provider", "name": "openai", "last_restarts": [{"at": "x"}]},
            },
            "devices": {"cpu": {"name": "cpu"}, "cpu 2": {"name": "cpu"}},
            "troubles": [],
        });
        assert_eq!(Value::Object(shown(&answer)), expected);
    }
}
