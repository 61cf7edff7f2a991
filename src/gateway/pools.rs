//! Open models in memory, as users and operators see and change them: how a model stands here, and what operators do to it.

use actors::pool::{
    ModelSeen,
    placement::{Acted, DevicePicture, NotActed},
};
use wire::inference::Failure;

use super::{Gateway, serve::ServeError, speeds::Pace};
use crate::catalogue::{Model, OpenModel};

pub use actors::pool::{
    Progress,
    placement::{Basis, Expected, ModelPicture, Standing, gib},
};

/// How an open model stands here.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// The model.
    pub seen: ModelSeen,
    /// The device's name, where it is in memory.
    pub device: Option<String>,
    /// How fast it answers.
    pub pace: Pace,
    /// The place in line that the next request would have; 0 where it would run at once.
    pub place: usize,
}

impl Status {
    /// Requests that wait, for the model or behind others.
    pub const fn waiting(&self) -> usize {
        self.seen.model.waiting + self.seen.queued
    }
}

/// What operators see.
#[derive(Debug, Clone, PartialEq)]
pub struct All {
    /// The devices.
    pub devices: Vec<DevicePicture>,
    /// The models.
    pub models: Vec<Status>,
}

/// An operator's act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Load it, and take it back into service.
    Load,
    /// Take it out once what runs has ended.
    Unload,
    /// Load it anew, and take the life that there is out once what runs has ended.
    Reload,
    /// Load it, and keep it.
    Pin,
    /// Let it be taken out again.
    Unpin,
    /// Take it out of service, once what runs has ended.
    Drain,
}

impl Act {
    /// The act's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Unload => "unload",
            Self::Reload => "reload",
            Self::Pin => "pin",
            Self::Unpin => "unpin",
            Self::Drain => "drain",
        }
    }
}

/// Why an operator's act was not done.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NotDone {
    /// The name means no open model.
    #[error(transparent)]
    NoModel(#[from] ServeError),
    /// The model can't be loaded.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// The act contradicts how things stand.
    #[error("{0}")]
    Conflict(String),
}

impl Gateway {
    /// How an open model stands.
    pub fn status(&self, model: &OpenModel) -> Status {
        let seen = self.pools.seen(&self.sizes.wanted(model));
        self.status_of(seen, &self.pools.devices())
    }

    /// Whether an open model is in memory, or why not.
    pub fn standing(&self, model: &OpenModel) -> Standing {
        self.pools.seen(&self.sizes.wanted(model)).model.standing
    }

    fn status_of(&self, seen: ModelSeen, devices: &[DevicePicture]) -> Status {
        let device = seen.model.device.and_then(|place| devices.get(place)).map(|device| device.name.clone());
        let pace = self.speeds.pace(&seen.model.id);
        let waiting = seen.model.waiting + seen.queued;
        let is_free = seen.model.standing == Standing::Warm && seen.begun < self.sizes.sequences() && waiting == 0;
        Status { device, pace, place: if is_free { 0 } else { waiting + 1 }, seen }
    }

    /// All devices, and all models that are in memory or were asked for.
    pub fn pools_seen(&self) -> All {
        let (devices, models) = self.pools.all();
        let models = models.into_iter().map(|seen| self.status_of(seen, &devices)).collect();
        All { devices, models }
    }

    /// Why open models make no progress; `None` where all do that have work.
    pub fn stalled(&self) -> Option<String> {
        self.pools.stalled()
    }

    /// Does to a model what an operator asks for. That it is pinned lasts until it is unpinned; all else as long as the
    /// process.
    ///
    /// # Errors
    ///
    /// There is no such open model, it can't be loaded, the act contradicts how things stand, or what must last can't be
    /// written.
    pub async fn operate(&self, act: Act, name: &str) -> Result<Acted, NotDone> {
        let acted = self.act(act, name).await?;
        let remembered = match act {
            Act::Pin => self.pins.add(name),
            Act::Unpin => self.pins.remove(name),
            Act::Load | Act::Unload | Act::Reload | Act::Drain => Ok(()),
        };
        remembered.map_err(|error| {
            tracing::error!(model = name, act = act.name(), %error, "a pin can't be remembered");
            let until = if act == Act::Pin {
                "it is unpinned when the server ends"
            } else {
                "it is pinned again when the server starts"
            };
            NotDone::Failed(Failure::Unavailable(format!(
                "{name}: this was done, and could not be written down: {until}."
            )))
        })?;
        Ok(acted)
    }

    async fn act(&self, act: Act, name: &str) -> Result<Acted, NotDone> {
        let acted = match act {
            Act::Load => self.pools.load(self.loadable(name).await?),
            Act::Pin => self.pools.pin(self.loadable(name).await?),
            Act::Drain => self.pools.drain(&self.sizes.wanted(&*self.open(name).await?)),
            // Also of one whose folder is gone.
            Act::Unload => self.of_known(name, self.pools.unload(name)).await?,
            Act::Reload => self.of_known(name, self.pools.reload(name)).await?,
            Act::Unpin => {
                if !self.pools.unpin(name) {
                    self.open(name).await?;
                }
                Ok(Acted::Loaded)
            }
        };
        let acted = acted.map_err(|error| match error {
            NotActed::NeverFits { needs, most } => NotDone::Conflict(format!(
                "{name} needs {} of memory, and the largest device of its class has {}.",
                gib(needs),
                gib(most)
            )),
            NotActed::Pinned => NotDone::Conflict(format!("{name} is pinned; unpin it first.")),
            NotActed::NoRoomBesidePinned => {
                NotDone::Conflict(format!("Beside the models that are pinned there is no room for {name}."))
            }
            NotActed::Unknown => NotDone::Conflict(format!("{name} is not known here.")),
        })?;
        Ok(acted)
    }

    /// What became of an act on what is in memory: a model that was never asked for is cold.
    async fn of_known(
        &self,
        name: &str,
        acted: Result<Acted, NotActed>,
    ) -> Result<Result<Acted, NotActed>, ServeError> {
        match acted {
            Err(NotActed::Unknown) => self.open(name).await.map(|_| Ok(Acted::Cold)),
            acted => Ok(acted),
        }
    }

    async fn open(&self, name: &str) -> Result<std::sync::Arc<OpenModel>, ServeError> {
        match self.models.find(name).await?.0 {
            Model::Open(model) => Ok(model),
            Model::Closed(model) => {
                let message = format!("{} runs at {}, and is never in memory here", model.id, model.provider);
                Err(ServeError::Invalid { field: "model".into(), message })
            }
        }
    }

    async fn loadable(&self, name: &str) -> Result<actors::pool::ModelFolder, NotDone> {
        let model = self.open(name).await?;
        let preparer = self.tokenizer_cache.preparer(&model).await?;
        Ok(self.sizes.folder(&model, preparer))
    }

    /// Loads and pins what the settings name, and pins what operators have pinned, at the start. What can't be is logged: the
    /// others go on.
    pub async fn preload(&self, load: &[String], pin: &[String]) {
        let pinned = self.pins.names();
        let pins = pin.iter().chain(&pinned).map(|name| (Act::Pin, name));
        for (act, name) in pins.chain(load.iter().map(|name| (Act::Load, name))) {
            if let Err(error) = self.act(act, name).await {
                tracing::error!(model = name, act = act.name(), %error, "a model is not loaded that is at every start");
            }
        }
    }
}
