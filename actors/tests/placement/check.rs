//! What must be true of a story, by the world's own count.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use actors::pool::placement::{Device, InstanceId, JobId, Kind, Wanted};

pub(crate) type Checked = Result<(), String>;

pub(crate) fn check(holds: bool, what: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(what()) }
}

/// A life of a model, as it is.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    pub(crate) model: Arc<str>,
    pub(crate) import: u64,
    pub(crate) device: usize,
    /// The bytes that it takes, whatever was said.
    pub(crate) bytes: u64,
    pub(crate) state: LifeState,
    pub(crate) running: Vec<JobId>,
    pub(crate) used_at: Duration,
    /// Whether somebody asked that it goes.
    pub(crate) is_to_go: bool,
    /// Whether it ended by itself.
    pub(crate) has_died: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LifeState {
    /// It loads until then.
    Loading(Duration),
    Ready,
    /// It ends then.
    Ending(Duration),
}

/// A request, as its client sees it.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) model: Arc<str>,
    pub(crate) import: u64,
    pub(crate) since: Duration,
    pub(crate) on: Option<InstanceId>,
}

/// The lives and requests.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    pub(crate) lives: BTreeMap<InstanceId, Life>,
    pub(crate) asked: BTreeMap<JobId, Asked>,
    pub(crate) pinned: Vec<Arc<str>>,
    pub(crate) drained: Vec<Arc<str>>,
}

/// Counts of what has happened, so that a story that never gets anywhere does not pass.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stats {
    pub(crate) requests: u64,
    pub(crate) ran: u64,
    pub(crate) waited: u64,
    pub(crate) loads: u64,
    pub(crate) failed: u64,
    pub(crate) panicked: u64,
    pub(crate) evicted: u64,
    pub(crate) left: u64,
    pub(crate) no_room: u64,
    pub(crate) loading_long: u64,
    pub(crate) left_alone: u64,
    pub(crate) never_fits: u64,
    pub(crate) full: u64,
    pub(crate) drained: u64,
    pub(crate) imported_anew: u64,
    pub(crate) lost: u64,
    pub(crate) pools_died: u64,
}

/// Whether a model has a form for processors only.
pub(crate) fn needs_cpu(model: &str) -> bool {
    model.ends_with(['0', '3'])
}

impl Truth {
    pub(crate) fn used(&self, device: usize) -> u64 {
        self.lives.values().filter(|life| life.device == device).map(|life| life.bytes).sum()
    }

    /// A load begins where there is room, on a device of its class.
    pub(crate) fn may_load(&self, devices: &[Device], device: usize, model: &Wanted, bytes: u64) -> Checked {
        let on = &devices[device];
        check(on.classes.contains(&model.class), || format!("{} is loaded on {}", model.id, on.kind))?;
        check(on.kind == Kind::Cpu || !model.needs_cpu, || format!("{} has no form for {}", model.id, on.kind))?;
        let used = self.used(device) + bytes;
        check(used <= on.memory, || format!("{} has {used} bytes of {}", on.kind, on.memory))?;
        let again = self.lives.values().find(|life| {
            life.model == model.id
                && life.import == model.import.0
                && !matches!(life.state, LifeState::Ending(_))
                && !life.is_to_go
        });
        check(again.is_none(), || format!("{} is loaded twice", model.id))
    }

    /// An engine is ended where nothing runs on it, it is not kept, and of several the one that was unused longest.
    pub(crate) fn may_unload(&self, id: InstanceId, is_idle_over: bool) -> Checked {
        let Some(life) = self.lives.get(&id) else { return Err(format!("{id:?} is unloaded and is no more")) };
        check(life.state == LifeState::Ready, || format!("{} is unloaded while it is {:?}", life.model, life.state))?;
        check(life.running.is_empty(), || format!("{} is unloaded while it runs {:?}", life.model, life.running))?;
        if life.is_to_go || is_idle_over {
            return Ok(());
        }
        check(!self.pinned.contains(&life.model), || format!("{} is unloaded and pinned", life.model))?;
        let older = self.lives.iter().find(|(other, it)| {
            let may = it.state == LifeState::Ready && it.running.is_empty() && !self.pinned.contains(&it.model);
            **other != id && it.device == life.device && may && it.used_at < life.used_at
        });
        check(older.is_none(), || format!("{} goes, and {:?} was unused longer", life.model, older))
    }

    /// A request runs on an engine that is loaded, of its model's import, that takes work.
    pub(crate) fn may_run(&self, job: JobId, id: InstanceId) -> Checked {
        let Some(asked) = self.asked.get(&job) else { return Err(format!("{job:?} runs and has ended")) };
        check(asked.on.is_none(), || format!("{job:?} runs twice"))?;
        let Some(life) = self.lives.get(&id) else { return Err(format!("{job:?} runs on {id:?}, which is no more")) };
        check(life.state == LifeState::Ready, || format!("{job:?} runs on {} in {:?}", life.model, life.state))?;
        check(life.model == asked.model && life.import == asked.import, || {
            format!(
                "{job:?} for {} of import {} runs on {} of import {}",
                asked.model, asked.import, life.model, life.import
            )
        })
    }
}
