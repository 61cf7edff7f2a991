//! Counts of what has happened, so that a simulation that never gets anywhere does not pass.

use billing::{
    entry::{Ending, LineKind},
    payment::{PaymentStatus, Purpose},
};

use crate::rows::Rows;

/// Counts of one seed, or of many.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stats {
    pub(crate) steps: u64,
    pub(crate) admitted: u64,
    pub(crate) settled: u64,
    pub(crate) recovered: u64,
    pub(crate) payments: u64,
    pub(crate) automatic: u64,
    pub(crate) cycles: u64,
    pub(crate) debts: u64,
    pub(crate) expired_holds: u64,
    pub(crate) reversed: u64,
    pub(crate) restored: u64,
    pub(crate) refunded: u64,
    pub(crate) refunded_late: u64,
    pub(crate) repeated_webhooks: u64,
    pub(crate) takeovers: u64,
    pub(crate) crashes: u64,
    pub(crate) fenced: u64,
    pub(crate) lost: u64,
    pub(crate) refused: u64,
    pub(crate) acts: u64,
    pub(crate) acts_again: u64,
    pub(crate) keys_changed: u64,
    pub(crate) keys_moved: u64,
    pub(crate) key_stops: u64,
    pub(crate) waited: u64,
    pub(crate) parked: u64,
    pub(crate) resumed: u64,
    pub(crate) restarts: u64,
    pub(crate) owners_asked: u64,
    pub(crate) looked_up: u64,
    pub(crate) projections: u64,
    pub(crate) late_projections: u64,
    pub(crate) too_late: u64,
    pub(crate) caught_up: u64,
    pub(crate) journals: u64,
    pub(crate) tampered: u64,
    pub(crate) left: u64,
    pub(crate) succeeded: u64,
    pub(crate) asked_again: u64,
    pub(crate) frozen: u64,
    pub(crate) asked_elsewhere: u64,
    pub(crate) handed_over: u64,
    pub(crate) lapsed: u64,
    pub(crate) left_nodes: u64,
    pub(crate) outages: u64,
    pub(crate) clocks_set: u64,
}

impl Stats {
    /// The counts with their names.
    pub(crate) const fn named(&self) -> [(&'static str, u64); 46] {
        [
            ("steps", self.steps),
            ("admitted", self.admitted),
            ("settled", self.settled),
            ("recovered or written off", self.recovered),
            ("payments that succeeded", self.payments),
            ("automatic payments", self.automatic),
            ("cycles of the plan", self.cycles),
            ("debts", self.debts),
            ("holds of expired grants", self.expired_holds),
            ("disputed", self.reversed),
            ("refunds that failed, disputes that were won", self.restored),
            ("refunds that were answered", self.refunded),
            ("refunded late", self.refunded_late),
            ("repeated webhooks", self.repeated_webhooks),
            ("shards that were begun", self.takeovers),
            ("crashes", self.crashes),
            ("fenced batches", self.fenced),
            ("appends of unknown outcome", self.lost),
            ("batches with refused parts", self.refused),
            ("keyed acts", self.acts),
            ("keyed acts asked again", self.acts_again),
            ("changes of keys", self.keys_changed),
            ("changes of keys that came too late", self.keys_moved),
            ("requests at their key's limit", self.key_stops),
            ("requests let in from the line", self.waited),
            ("requests that were parked", self.parked),
            ("requests that went on", self.resumed),
            ("payment actors that died", self.restarts),
            ("charges that waited for their owner", self.owners_asked),
            ("charges that were only looked up", self.looked_up),
            ("transactions of projectors", self.projections),
            ("projections that nobody waited for", self.late_projections),
            ("projections that came too late", self.too_late),
            ("rows projected at a start", self.caught_up),
            ("journals that died", self.journals),
            ("changed logs", self.tampered),
            ("accounts that left to another node", self.left),
            ("accounts whose place another life took", self.succeeded),
            ("questions that were asked again", self.asked_again),
            ("freezes", self.frozen),
            ("questions to other nodes", self.asked_elsewhere),
            ("shards that were handed over", self.handed_over),
            ("leases that were not renewed in time", self.lapsed),
            ("nodes that were told to leave", self.left_nodes),
            ("outages of the database", self.outages),
            ("times that the database's clock was set", self.clocks_set),
        ]
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.admitted += other.admitted;
        self.settled += other.settled;
        self.recovered += other.recovered;
        self.payments += other.payments;
        self.automatic += other.automatic;
        self.cycles += other.cycles;
        self.debts += other.debts;
        self.expired_holds += other.expired_holds;
        self.reversed += other.reversed;
        self.restored += other.restored;
        self.refunded += other.refunded;
        self.refunded_late += other.refunded_late;
        self.repeated_webhooks += other.repeated_webhooks;
        self.takeovers += other.takeovers;
        self.crashes += other.crashes;
        self.fenced += other.fenced;
        self.lost += other.lost;
        self.refused += other.refused;
        self.acts += other.acts;
        self.acts_again += other.acts_again;
        self.keys_changed += other.keys_changed;
        self.keys_moved += other.keys_moved;
        self.key_stops += other.key_stops;
        self.waited += other.waited;
        self.parked += other.parked;
        self.resumed += other.resumed;
        self.restarts += other.restarts;
        self.owners_asked += other.owners_asked;
        self.looked_up += other.looked_up;
        self.projections += other.projections;
        self.late_projections += other.late_projections;
        self.too_late += other.too_late;
        self.caught_up += other.caught_up;
        self.journals += other.journals;
        self.tampered += other.tampered;
        self.left += other.left;
        self.succeeded += other.succeeded;
        self.asked_again += other.asked_again;
        self.frozen += other.frozen;
        self.asked_elsewhere += other.asked_elsewhere;
        self.handed_over += other.handed_over;
        self.lapsed += other.lapsed;
        self.left_nodes += other.left_nodes;
        self.outages += other.outages;
        self.clocks_set += other.clocks_set;
    }
}

/// Counts what has happened to an account, by its rows.
pub(crate) fn count(stats: &mut Stats, rows: &Rows) {
    let number = |count: usize| count as u64;
    stats.recovered +=
        number(rows.usage.iter().filter(|it| matches!(it.ending, Ending::Recovered | Ending::WrittenOff)).count());
    let paid = |is: fn(Purpose) -> bool| {
        number(rows.payments.values().filter(|it| it.status == PaymentStatus::Succeeded && is(it.purpose)).count())
    };
    stats.payments += paid(|_| true);
    stats.automatic += paid(Purpose::is_automatic);
    stats.cycles += paid(|it| it == Purpose::Subscription);
    let lines = || rows.journal.iter().map(|row| &row.line);
    stats.debts += number(lines().filter(|line| line.kind == LineKind::DebtIncurred).count());
    stats.expired_holds +=
        number(lines().filter(|line| line.request_id.is_some() && line.expired.is_positive()).count());
}
