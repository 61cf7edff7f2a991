//! How an owner begins a shard: it compares its log with the tables' place in it, and serves once the tables have the whole
//! log. A log that somebody has changed, or that does not belong to the tables, is refused.

use actors::cluster::lease::Held;
use billing::{Timestamp, command::Command};
use ledger::{
    log::{
        Head, Row, Shard,
        body::{self, Began, Body, Genesis},
        chain,
    },
    project::Logged,
};
use uuid::Uuid;

use crate::{
    check::{CHAIN, Checked, PROJECTED, ensure},
    log::Log,
    mutants::Mutant,
    tables::{NotProjected, logged},
    world::World,
};

/// What an owner that begins a shard does next.
enum Next {
    /// The log has its first row, and the tables have no place yet.
    Begin(Head),
    /// The tables lack these rows.
    Project(Vec<Logged>),
    Serve(Head),
}

/// What is to be done, by the log and the tables' place.
///
/// # Errors
///
/// The log was changed, or the tables were made from another one.
fn next(log: &Log, place: Option<Head>, most: usize, mutant: Option<Mutant>) -> Result<Next, String> {
    let head = log.head().ok_or("the log is gone")?;
    let place = match place {
        None if head.seq == 0 => return Ok(Next::Begin(head)),
        None => return Err("the tables were not made from this log".to_owned()),
        Some(place) => place,
    };
    if place.seq > head.seq {
        return Err("the log is older than its tables".to_owned());
    }
    if log.row(place.seq).is_none_or(|row| row.hash != place.hash) {
        return Err("the tables were made from another log".to_owned());
    }
    // A mutant leaves what is missing to be done later.
    if place == head || mutant == Some(Mutant::ServesBehind) {
        return Ok(Next::Serve(head));
    }
    let (mut done, mut rows) = (place, Vec::new());
    for row in log.after(place.seq, most) {
        if mutant != Some(Mutant::ChainUnchecked) {
            done = chain::follow(done, &row).map_err(|broken| broken.to_string())?;
        }
        rows.push(read(&row)?);
    }
    Ok(Next::Project(rows))
}

fn read(row: &Row) -> Result<Logged, String> {
    match body::decode(&row.body) {
        Ok(Body::Transitions(transitions)) => Ok(logged(row, transitions)),
        Ok(Body::Genesis(_) | Body::Prices(_) | Body::Imported(_)) => Ok(logged(row, Vec::new())),
        Err(error) => Err(error.to_string()),
    }
}

impl World {
    /// Begins the log of a shard whose accounts existed before it.
    fn begin_log(&mut self, shard: Shard, epoch: i64, at: Timestamp) {
        let genesis = Genesis { log_id: Uuid::from_u128(1), began: Began::AfterTables, schema: 1 };
        let row = chain::genesis(shard, epoch, at, body::encode_genesis(&genesis));
        // Without an error the next step finds the row; a newer owner begins the log otherwise.
        let _ = self.disk.append(&row);
    }

    /// An owner that begins a shard takes its next step.
    pub(crate) fn a_start_goes_on(&mut self) -> Checked<bool> {
        let awake = self.owners.iter().filter(|owner| !owner.is_paused);
        let starting = awake.flat_map(|owner| owner.starting().map(move |held| (owner.id, held)));
        let starting: Vec<(u64, Held)> = starting.collect();
        let able = self.random.pick(&starting).filter(|_| !self.is_down());
        let Some((id, Held { shard, epoch })) = able else { return Ok(false) };
        if self.disk.log(shard).head().is_none() {
            let now = self.now_of(id);
            self.begin_log(shard, epoch, now);
            return Ok(true);
        }
        if !self.is_resting && self.random.percent(10) {
            return self.a_changed_log_is_refused(id, shard);
        }
        let most = usize::try_from(self.random.between(1, 5)).unwrap_or(1);
        let place = self.disk.tables.places.get(&shard).copied();
        match next(self.disk.log(shard), place, most, self.mutant) {
            Ok(next) => self.takes_its_step(id, shard, next),
            Err(why) => ensure(false, CHAIN, || format!("owner {id} refuses the log of {shard:?}: {why}"))?,
        }
        Ok(true)
    }

    fn takes_its_step(&mut self, id: u64, shard: Shard, next: Next) {
        match next {
            Next::Begin(head) => drop(self.disk.tables.places.insert(shard, head)),
            Next::Serve(head) => self.serves(id, shard, head),
            Next::Project(rows) => {
                let manner = self.some_manner();
                let projected = self.disk.tables.project(&rows, manner, self.mutant);
                self.say(|| {
                    format!("owner {id} brings {} rows of {shard:?} into the tables: {projected:?}", rows.len())
                });
                self.stats.caught_up += rows.len() as u64;
                match projected {
                    Ok(()) if self.mutant == Some(Mutant::PlaceApart) => self.disk.tables.moves(&rows, |shard| shard),
                    // A transaction of the former owner came between: its place is looked up again.
                    Ok(()) | Err(NotProjected::Elsewhere) => {}
                    Err(refused @ NotProjected::Refused(..)) => self.disk.breaks(PROJECTED, format!("{refused:?}")),
                }
            }
        }
    }

    /// An owner has begun a shard. It takes up what its former owner has left.
    fn serves(&mut self, id: u64, shard: Shard, head: Head) {
        let Some(owner) = self.owner(id) else { return };
        owner.serves(shard, head);
        self.say(|| format!("owner {id} serves {shard:?} from row {} on", head.seq));
        let mut unfinished = self.disk.tables.unfinished();
        unfinished.retain(|account| self.disk.shard_of(*account) == shard);
        for account in unfinished {
            self.post(id, account, Command::Sweep);
        }
        self.takes_up_payments(id, shard);
    }

    /// Somebody has changed the log that the tables do not have yet. The owner must notice, and an operator brings the
    /// log back. A mutant believes what it reads.
    fn a_changed_log_is_refused(&mut self, id: u64, shard: Shard) -> Checked<bool> {
        let place = self.disk.tables.places.get(&shard).copied();
        let (saved, after) = (self.disk.log(shard).clone(), place.map_or(0, |place| place.seq));
        let mut log = saved.clone();
        let Some(how) = log.is_tampered_with(after, &mut self.random) else { return Ok(false) };
        self.say(|| format!("a row of the log of {shard:?} is {how}"));
        self.stats.tampered += 1;
        let (mut at, mutant) = (place, self.mutant.filter(|mutant| *mutant != Mutant::ServesBehind));
        // The whole start, without writing.
        let found = loop {
            match next(&log, at, 3, mutant) {
                Err(why) => break Some(why),
                Ok(Next::Project(rows)) => {
                    if self.mutant == Some(Mutant::ChainUnchecked) {
                        *self.disk.log_mut(shard) = log;
                        self.takes_its_step(id, shard, Next::Project(rows));
                        *self.disk.log_mut(shard) = saved;
                        break None;
                    }
                    at = rows.last().map(Logged::head);
                }
                Ok(Next::Begin(_) | Next::Serve(_)) => break None,
            }
        };
        let is_noticed = found.is_some() || self.mutant == Some(Mutant::ChainUnchecked);
        ensure(is_noticed, CHAIN, || format!("a row was {how}, and owner {id} did not notice"))?;
        Ok(true)
    }
}
