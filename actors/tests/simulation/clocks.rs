//! Time: the time that passes, the clocks, and everything that waits for them.

use actors::payment::pursuit::SAME_KEY_MS;
use billing::{
    Timestamp,
    time::{DAY_MS, HOUR_MS},
};

use crate::{
    account::{Actor, moment},
    clients::Stage,
    owner::Owner,
    pursuits::Chase,
    rows::Rows,
    world::World,
};

impl World {
    /// At rest: lets time pass until something that waits can continue.
    pub(crate) fn time_passes(&mut self) -> bool {
        let now = moment(self.time, self.elapsed).elapsed;
        let owners = self.owners.iter();
        let alarms = owners.clone().flat_map(|owner| owner.actors.values().filter_map(Actor::next_alarm));
        let alarms = alarms.map(|at| i64::try_from(at.saturating_sub(now).as_millis()).unwrap_or(i64::MAX));
        let starts = owners.clone().filter_map(Owner::payments_start).map(|at| at.ms_since(self.elapsed));
        let waits = owners.flat_map(|owner| {
            let until = owner.pursuits.values().filter_map(Chase::waits_until);
            until.map(|at| at.ms_since(self.time.plus_ms(owner.ahead_ms)))
        });
        let tasks = self.tasks.values().filter_map(|task| Some((task.owner, task.waits_until?)));
        let tasks = tasks.filter(|(id, at)| *at > self.now_of(*id));
        let waits = waits.chain(tasks.map(|(id, at)| at.ms_since(self.time) + self.shown().ms_since(self.now_of(id))));
        let settling = self.requests.values().filter_map(|request| match request.stage {
            Stage::Waiting(until) => Some(until.ms_since(self.elapsed)),
            _ => None,
        });
        let Some(by) = alarms.chain(starts).chain(waits).chain(settling).min() else { return false };
        let by = by.max(0);
        (self.time, self.elapsed) = (self.time.plus_ms(by), self.elapsed.plus_ms(by));
        true
    }

    /// Lets time pass, or sets clocks.
    pub(crate) fn clocks_go_on(&mut self) -> bool {
        // Late orders get more attention: they arrive within minutes or never.
        let is_close = !self.cards.late.is_empty() && self.random.percent(80);
        let step = match self.random.below(100) {
            _ if is_close => self.random.between(1, 20_000),
            0..50 => self.random.between(1, 5_000),
            50..75 => self.random.between(1, 40) * 60_000,
            75..85 => self.random.between(1, 30) * HOUR_MS,
            85..91 => self.random.between(1, 9) * DAY_MS,
            91..93 => self.random.between(20, 40) * DAY_MS,
            93..97 => self.until_a_key_is_nearly_forgotten(),
            _ => return self.clocks_are_set(),
        };
        self.time = self.time.plus_ms(step);
        self.elapsed = self.elapsed.plus_ms(step);
        self.say(|| format!("{} s pass", step / 1_000));
        true
    }

    /// The time until the processor may forget the key of a pending charge; a minute if there is none.
    fn until_a_key_is_nearly_forgotten(&mut self) -> i64 {
        let pending = self.disk.truth.values().flat_map(Rows::pending);
        let pending: Vec<Timestamp> = pending.map(|it| it.created_at).collect();
        let begun = self.random.pick(&pending).unwrap_or(self.time);
        let left = self.random.between(0, 20_000);
        begun.plus_ms(SAME_KEY_MS - left).ms_since(self.time).max(1_000)
    }

    pub(crate) fn clocks_are_set(&mut self) -> bool {
        let most = if self.has_wild_clock { 40 * DAY_MS } else { 120_000 };
        let skew = -self.random.below(most);
        self.latest = self.shown();
        self.time = self.time.plus_ms(skew - self.skew_ms);
        let by = (skew - self.skew_ms) / 1_000;
        self.say(|| format!("clocks are set by {by} s"));
        self.skew_ms = skew;
        true
    }
}
