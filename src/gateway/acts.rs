//! What operators do to what runs models: an open model is loaded, kept, drained; a provider is paused and called again; an actor
//! is restarted. None fails a request: what runs goes on, and what comes meanwhile is told when to come again.

use actors::provider::ProviderHandle;
use billing::{class::SizeClass, ids::AccountId};
use runtime::health::{Kind, NotReplaced};

use super::{
    Gateway,
    pools::{self, NotDone},
    serve::ServeError,
};
use actors::pool::placement::Acted;

/// An act, and on what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// On an open model.
    Model(pools::Act, String),
    /// A provider is called no more.
    Pause(String),
    /// A provider is called again.
    Resume(String),
    /// An actor is restarted, by its kind and its name.
    Restart(Kind, String),
}

impl Act {
    /// The restart of an actor that is named by its kind, and by its name where there are several; without it, of all. `None`
    /// where there is no such kind.
    pub fn restart(actor: &str) -> Option<Self> {
        let (kind, name) = actor.split_once(' ').unwrap_or((actor, actor));
        let kind = Kind::ALL.into_iter().find(|known| known.name() == kind)?;
        Some(Self::Restart(kind, name.trim().to_owned()))
    }

    /// The act's name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Model(act, _) => act.name(),
            Self::Pause(_) => "pause",
            Self::Resume(_) => "resume",
            Self::Restart(..) => "restart",
        }
    }

    /// What it is done to, in words.
    pub fn subject(&self) -> String {
        match self {
            Self::Model(_, name) => format!("model {name}"),
            Self::Pause(name) | Self::Resume(name) => format!("provider {name}"),
            Self::Restart(kind, name) if kind.name() == name => name.clone(),
            Self::Restart(kind, name) => format!("{} {name}", kind.name()),
        }
    }
}

/// What came of an act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// On an open model.
    Model(Acted),
    /// A provider's calls run on, so many of them.
    Paused(usize),
    /// It is called again.
    Resumed,
    /// A new life has taken its place.
    Restarted,
}

impl Gateway {
    /// Does what an operator asks for.
    ///
    /// # Errors
    ///
    /// There is no such model, provider or actor, or the act contradicts how things stand.
    pub async fn carry_out(&self, act: &Act, reason: &str) -> Result<Done, NotDone> {
        let done = self.carry_out_now(act, reason).await;
        let failed = done.as_ref().err().map(ToString::to_string);
        tracing::info!(act = act.name(), subject = act.subject(), reason, failed, "an operator's act");
        done
    }

    async fn carry_out_now(&self, act: &Act, reason: &str) -> Result<Done, NotDone> {
        match act {
            Act::Model(act, name) => self.operate(*act, name).await.map(Done::Model),
            Act::Pause(name) => {
                let provider = self.provider(name)?;
                provider.pause(reason.to_owned());
                Ok(Done::Paused(provider.running()))
            }
            Act::Resume(name) => {
                self.provider(name)?.resume();
                Ok(Done::Resumed)
            }
            Act::Restart(kind, name) => self.restart(*kind, name).await.map(|()| Done::Restarted),
        }
    }

    /// Restarts an actor, or, where there are several and none is named, all of its kind.
    async fn restart(&self, kind: Kind, name: &str) -> Result<(), NotDone> {
        let is_all = name == kind.name();
        match kind {
            Kind::Account => self.restart_account(name).await,
            Kind::Provider if is_all => self.providers.keys().try_for_each(|name| self.replace(Kind::Provider, name)),
            Kind::Pool => {
                let is_meant = |class: &SizeClass| is_all || class.name() == name;
                if !SizeClass::ALL.iter().any(is_meant) {
                    let classes = SizeClass::ALL.map(SizeClass::name).join(", ");
                    return Err(no_actor(format!("there is no pool {name}; there are {classes}")));
                }
                let models: Vec<_> =
                    SizeClass::ALL.into_iter().filter(is_meant).flat_map(|it| self.pools.in_memory(it)).collect();
                if models.is_empty() {
                    return Err(NotDone::Conflict("It has no model in memory, and nothing to restart.".to_owned()));
                }
                for model in models {
                    self.operate(pools::Act::Reload, &model).await?;
                }
                Ok(())
            }
            Kind::Engine if is_all => Err(no_actor("must be engine and its model's name".to_owned())),
            Kind::Engine => match self.operate(pools::Act::Reload, name).await? {
                Acted::Cold => Err(NotDone::Conflict(format!("{name} is not in memory, and has no engine."))),
                _ => Ok(()),
            },
            Kind::Journal
            | Kind::Payment
            | Kind::Projector
            | Kind::Provider
            | Kind::Supervisor
            | Kind::Sweeper
            | Kind::Webhook => self.replace(kind, name),
        }
    }

    fn replace(&self, kind: Kind, name: &str) -> Result<(), NotDone> {
        let subject = || Act::Restart(kind, name.to_owned()).subject();
        self.accounts.health().replace(kind, name).map_err(|error| {
            NotDone::Conflict(match error {
                NotReplaced::Unknown => {
                    format!("{} can't be restarted while it works: {}.", subject(), why_not(kind))
                }
                NotReplaced::Dead => format!("{} is being started again already.", subject()),
            })
        })
    }

    async fn restart_account(&self, id: &str) -> Result<(), NotDone> {
        let id = id.parse().map(AccountId).map_err(|_| no_actor("must be account and its id".to_owned()))?;
        let restarted = self.accounts.restart(id).await;
        restarted.map_err(|why| NotDone::Conflict(format!("Not restarted: {why}.")))
    }

    fn provider(&self, name: &str) -> Result<&ProviderHandle, NotDone> {
        self.providers.get(name).ok_or_else(|| {
            let message = format!("there is no provider {name} here");
            NotDone::NoModel(ServeError::Invalid { field: "name".into(), message })
        })
    }
}

/// What is named is no actor.
fn no_actor(message: String) -> NotDone {
    NotDone::NoModel(ServeError::Invalid { field: "actor".into(), message })
}

/// Why an actor of a kind is not restarted while it works.
const fn why_not(kind: Kind) -> &'static str {
    match kind {
        Kind::Account | Kind::Provider | Kind::Pool | Kind::Engine => "there is none of this name here",
        Kind::Journal => {
            "it is the only writer of the log, and requests wait for what it writes; where it dies it comes back by itself"
        }
        Kind::Supervisor => "it has no work of its own but to start others",
        Kind::Payment | Kind::Projector | Kind::Sweeper | Kind::Webhook => {
            "there is one, which has the name of its kind"
        }
    }
}
