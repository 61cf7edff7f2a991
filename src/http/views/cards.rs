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
    /// The card processor's name.
    processor: String,
    brand: String,
    last4: String,
    exp_month: i64,
    exp_year: i64,
    /// Whether purchases that name no card are charged to this card.
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

/// The result of saving a card: the card, or a setup that the card's owner finishes at Stripe.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Saved {
    /// The saved card.
    Card(SavedCard),
    /// A begun setup.
    Begun {
        /// Stripe's setup.
        setup_intent: SetupIntent,
    },
}

/// A setup at Stripe.
#[derive(Debug, Serialize, ToSchema)]
pub struct SetupIntent {
    /// Stripe's id of the setup.
    id: String,
    /// The secret with which the owner's browser finishes the setup.
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

/// A removed card.
#[derive(Debug, Serialize, ToSchema)]
pub struct RemovedCard {
    /// The card's id.
    pub id: Uuid,
    /// Always true.
    pub removed: bool,
}
