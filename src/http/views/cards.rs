//! Saved cards.

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Time;
use crate::service::cards;

/// A saved card.
#[derive(Debug, Serialize, ToSchema)]
pub struct SavedCard {
    id: Uuid,
    /// Which processor knows it.
    processor: String,
    brand: String,
    last4: String,
    exp_month: i64,
    exp_year: i64,
    /// Whether purchases that name no card are charged to it.
    default: bool,
    created_at: Time,
}

impl From<cards::SavedCard> for SavedCard {
    fn from(saved: cards::SavedCard) -> Self {
        let cards::SavedCard { id, processor, card, is_default, created_at } = saved;
        Self {
            id,
            processor,
            brand: card.brand,
            last4: card.last4,
            exp_month: card.exp_month,
            exp_year: card.exp_year,
            default: is_default,
            created_at: created_at.into(),
        }
    }
}

/// All saved cards.
#[derive(Debug, Serialize, ToSchema)]
pub struct SavedCards {
    data: Vec<SavedCard>,
}

impl From<Vec<cards::SavedCard>> for SavedCards {
    fn from(saved: Vec<cards::SavedCard>) -> Self {
        Self { data: saved.into_iter().map(SavedCard::from).collect() }
    }
}

/// What came of saving a card: the card, or a setup that its owner finishes at Stripe.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Saved {
    /// It is saved.
    Card(SavedCard),
    /// It was begun.
    Begun {
        /// Stripe's setup.
        setup_intent: SetupIntent,
    },
}

/// A setup at Stripe.
#[derive(Debug, Serialize, ToSchema)]
pub struct SetupIntent {
    /// Stripe's name for it.
    id: String,
    /// What the owner's browser proves itself with.
    client_secret: String,
}

impl From<cards::Saved> for Saved {
    fn from(saved: cards::Saved) -> Self {
        match saved {
            cards::Saved::Card(card) => Self::Card(card.into()),
            cards::Saved::Begun { reference: id, client_secret } => {
                Self::Begun { setup_intent: SetupIntent { id, client_secret } }
            }
        }
    }
}

/// A saved card that was removed.
#[derive(Debug, Serialize, ToSchema)]
pub struct RemovedCard {
    /// Its id.
    pub id: Uuid,
    /// That it is.
    pub removed: bool,
}
