//! The start of an owner: it compares the log with the tables' place, and serves once the tables have the whole log. A
//! log that somebody has changed, or that does not belong to the tables, is refused.

use billing::Timestamp;
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
    journal::Journal,
    log::Log,
    mutants::Mutant,
    owner::Stage,
    tables::{NotProjected, logged},
    world::World,
};

/// What an owner that starts does next.
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
    if place == head {
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
    /// Begins the log of accounts that existed before it.
    pub(crate) fn begin_log(&mut self, epoch: i64, at: Timestamp) {
        let genesis = Genesis { log_id: Uuid::from_u128(1), began: Began::AfterTables, schema: 1 };
        let row = chain::genesis(Shard::FIRST, epoch, at, body::encode_genesis(&genesis));
        // Without an error the next step finds the row; a newer owner begins the log otherwise.
        let _ = self.disk.append(&row);
    }

    /// An owner that starts takes its next step.
    pub(crate) fn a_start_goes_on(&mut self) -> Checked<bool> {
        let starting = self.owners.iter().filter(|owner| !owner.is_paused && !owner.is_serving());
        let starting: Vec<u64> = starting.map(|owner| owner.id).collect();
        let Some(id) = self.random.pick(&starting) else { return Ok(false) };
        if self.disk.log.head().is_none() {
            let (epoch, now) = (self.disk.epoch, self.now_of(id));
            self.begin_log(epoch, now);
            return Ok(true);
        }
        if !self.is_resting && self.random.percent(10) {
            return self.a_changed_log_is_refused(id);
        }
        let most = usize::try_from(self.random.between(1, 5)).unwrap_or(1);
        match next(&self.disk.log, self.disk.tables.place, most, self.mutant) {
            Ok(next) => self.takes_its_step(id, next),
            Err(why) => ensure(false, CHAIN, || format!("owner {id} refuses the log: {why}"))?,
        }
        Ok(true)
    }

    fn takes_its_step(&mut self, id: u64, next: Next) {
        match next {
            Next::Begin(head) => self.disk.tables.place = Some(head),
            Next::Serve(head) => self.serves(id, head),
            Next::Project(rows) => {
                let manner = self.some_manner();
                let projected = self.disk.tables.project(&rows, manner, self.mutant);
                self.say(|| format!("owner {id} brings {} rows into the tables: {projected:?}", rows.len()));
                self.stats.caught_up += rows.len() as u64;
                match projected {
                    Ok(()) if self.mutant == Some(Mutant::PlaceApart) => {
                        self.disk.tables.place = rows.last().map(|row| Head { seq: row.seq, hash: row.hash });
                    }
                    // A transaction of the former owner came between: its place is looked up again.
                    Ok(()) | Err(NotProjected::Elsewhere) => {}
                    Err(refused @ NotProjected::Refused(..)) => self.disk.breaks(PROJECTED, format!("{refused:?}")),
                }
            }
        }
    }

    fn serves(&mut self, id: u64, head: Head) {
        let mutant = self.mutant;
        let Some(owner) = self.owner(id) else { return };
        owner.stage = Stage::Serving;
        owner.journal = Journal::new(head, owner.epoch, mutant);
        owner.progress.appended(head.seq);
        owner.progress.projected(head.seq);
        self.say(|| format!("owner {id} serves from row {} on", head.seq));
    }

    /// Somebody has changed the log that the tables do not have yet. The owner must notice, and an operator brings the
    /// log back. A mutant believes what it reads.
    fn a_changed_log_is_refused(&mut self, id: u64) -> Checked<bool> {
        let place = self.disk.tables.place;
        let (saved, after) = (self.disk.log.clone(), place.map_or(0, |place| place.seq));
        let Some(how) = self.disk.log.is_tampered_with(after, &mut self.random) else { return Ok(false) };
        self.say(|| format!("a row of the log is {how}"));
        self.stats.tampered += 1;
        let mut at = place;
        // The whole start, without writing.
        let found = loop {
            match next(&self.disk.log, at, 3, self.mutant) {
                Err(why) => break Some(why),
                Ok(Next::Project(rows)) => {
                    if self.mutant == Some(Mutant::ChainUnchecked) {
                        self.takes_its_step(id, Next::Project(rows));
                        break None;
                    }
                    at = rows.last().map(|row| Head { seq: row.seq, hash: row.hash });
                }
                Ok(Next::Begin(_) | Next::Serve(_)) => break None,
            }
        };
        self.disk.log = saved;
        let is_noticed = found.is_some() || self.mutant == Some(Mutant::ChainUnchecked);
        ensure(is_noticed, CHAIN, || format!("a row was {how}, and owner {id} did not notice"))?;
        Ok(true)
    }
}
