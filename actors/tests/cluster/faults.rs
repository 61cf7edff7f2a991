//! What goes wrong in a story.

use actors::cluster::lease::Held;
use runtime::node::NodeId;

use crate::{
    check::Checked,
    world::{Event, Mutant, Weather, World},
};

/// The most nodes at once.
const NODES: usize = 5;

impl World {
    fn some_node(&mut self) -> Option<NodeId> {
        let nodes: Vec<NodeId> = self.nodes.keys().copied().collect();
        self.random.pick(&nodes)
    }

    /// Something goes wrong.
    pub(crate) fn fault(&mut self) -> Checked {
        match self.random.below(100) {
            0..22 if self.nodes.len() < NODES => self.start(),
            22..32 => self.kill(),
            32..42 => return self.leave(),
            42..57 => self.pause(),
            57..70 => self.cut(),
            70..76 => {
                let lasts = self.random.between(500, 25_000).unsigned_abs();
                self.down_until = self.now + lasts;
                self.stats.outages += 1;
                self.changes();
                self.tell(|| format!("the database is away for {lasts} ms"));
            }
            76..84 => self.step(),
            84..90 => return self.intrude(),
            _ => {
                let (loses, late) = (self.random.between(0, 40), self.random.between(0, 50));
                let late_ms = self.random.pick(&[200, 2_000, 15_000]).unwrap_or(0);
                self.weather =
                    if self.random.percent(50) { Weather::default() } else { Weather { loses, late, late_ms } };
                self.changes();
                let weather = self.weather;
                self.tell(|| format!("{weather:?}"));
            }
        }
        Ok(())
    }

    pub(crate) fn kill(&mut self) {
        if let Some(id) = self.some_node() {
            self.nodes.remove(&id);
            self.stats.killed += 1;
            self.changes();
            self.tell(|| format!("node {} is killed", id.0.as_u128()));
        }
    }

    pub(crate) fn leave(&mut self) -> Checked {
        let Some(id) = self.some_node() else { return Ok(()) };
        let Some(node) = self.nodes.get_mut(&id).filter(|node| !node.is_leaving && node.paused_until.is_none()) else {
            return Ok(());
        };
        node.is_leaving = true;
        self.stats.left += 1;
        self.changes();
        self.tell(|| format!("node {} is told to leave", id.0.as_u128()));
        self.input(id, |node, now, commands| node.leases.leave(now, commands))
    }

    fn pause(&mut self) {
        let lasts = self.random.pick(&[300, 4_000, 9_000, 12_000, 30_000]).unwrap_or(0);
        let lasts = (lasts + self.random.below(1_000)).unsigned_abs();
        let now = self.now;
        if let Some(id) = self.some_node()
            && let Some(node) = self.nodes.get_mut(&id)
            && node.paused_until.is_none()
        {
            node.paused_until = Some(now + lasts);
            self.push(lasts, Event::Resume(id));
            self.stats.paused += 1;
            self.changes();
            self.tell(|| format!("node {} is stopped for {lasts} ms", id.0.as_u128()));
        }
    }

    fn cut(&mut self) {
        let lasts = self.random.between(200, 25_000).unsigned_abs();
        if let Some(id) = self.some_node()
            && let Some(node) = self.nodes.get_mut(&id)
            && !node.is_cut
        {
            node.is_cut = true;
            self.push(lasts, Event::Mend(id));
            self.stats.cut += 1;
            self.changes();
            self.tell(|| format!("node {} reaches no database for {lasts} ms", id.0.as_u128()));
        }
    }

    /// Somebody else appends to the log of a shard that a node uses, with the same lease: the node's next append finds that.
    fn intrude(&mut self) -> Checked {
        let Some(id) = self.some_node() else { return Ok(()) };
        let node = self.nodes.get(&id).filter(|node| node.paused_until.is_none());
        let used = node.and_then(|node| node.begun.iter().next()).map(|(shard, epoch)| (*shard, *epoch));
        let Some((shard, epoch)) = used else { return Ok(()) };
        self.intruded.insert((shard, epoch));
        self.changes();
        self.tell(|| format!("somebody appends to the log of {shard:?}, of node {}", id.0.as_u128()));
        if self.is(Mutant::IntrusionUnheard) {
            return Ok(());
        }
        self.input(id, |node, now, commands| node.leases.intruded(Held { shard, epoch }, now, commands))
    }

    /// Clocks are set: a node's, which says nothing, and the database's.
    fn step(&mut self) {
        let by = self.random.pick(&[-3_600_000, -30_000, -50, 50, 8_000, 3_600_000]).unwrap_or(0);
        if let Some(id) = self.some_node()
            && let Some(node) = self.nodes.get_mut(&id)
        {
            node.wall_ms += by;
        }
        self.database.step(by);
        self.stats.steps += 1;
        self.changes();
        self.tell(|| format!("the database's clock is set by {by} ms"));
    }
}
