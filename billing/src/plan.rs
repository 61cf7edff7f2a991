//! Plans (design, chapter 2.2).

use serde::{Deserialize, Serialize};

use crate::nanos::Nanos;

/// The plan of an account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Plan {
    /// $1 every 28 days.
    #[default]
    Free,
    /// $3 a cycle for $5 of credits.
    Payg,
}

impl Plan {
    /// The credits of one cycle.
    pub const fn credits(self) -> Nanos {
        match self {
            Self::Free => Nanos::dollars(1),
            Self::Payg => Nanos::dollars(5),
        }
    }

    /// The plan's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Payg => "payg",
        }
    }

    /// Finds a plan by its name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Free, Self::Payg].into_iter().find(|plan| plan.name() == name)
    }
}
