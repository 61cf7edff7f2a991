//! Saved cards. Card numbers are never stored: only the processor's references, and the fields that people recognise. An
//! account has at most one default card at each processor.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{ids::AccountId, resource::Resource, time::Timestamp};

/// The most saved cards of one account.
pub const MOST_METHODS: usize = 10;

/// A saved card, with the fields that people recognise and the processor's ids.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Card {
    /// The processor's id of the card's owner.
    pub customer: String,
    /// The processor's id of the card.
    pub reference: String,
    /// The card's brand, such as `visa`.
    pub brand: String,
    /// The last four digits of the card's number.
    pub last4: String,
    /// The month of expiry, from 1.
    pub exp_month: i64,
    /// The year of expiry.
    pub exp_year: i64,
}

/// A card that an account has saved.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PaymentMethod {
    /// The card's id in the ledger.
    pub id: Uuid,
    /// The account.
    pub account_id: AccountId,
    /// The processor that knows the card.
    pub processor: String,
    /// The card.
    pub card: Card,
    /// Whether the card is charged for purchases that name none.
    pub is_default: bool,
    /// When it was saved.
    pub created_at: Timestamp,
    /// When the card was removed.
    pub removed_at: Option<Timestamp>,
}

/// How to save a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaveAs {
    /// As the default, in place of any other.
    Default,
    /// As another card; it becomes the default only if there is none.
    OneMore,
}

/// As many cards are saved as there can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{MOST_METHODS} cards are saved, which is the most")]
pub struct TooManyCards;

/// Saves a card beside the account's `saved` ones, or keeps the one that was saved before. Returns the card as it is
/// afterwards, and what changes.
///
/// # Errors
///
/// The card is new, and the account has as many as there can be.
pub fn save(
    saved: &[PaymentMethod],
    new: &PaymentMethod,
    save_as: SaveAs,
) -> Result<(PaymentMethod, Vec<Resource>), TooManyCards> {
    let of_processor = || saved.iter().filter(|card| card.processor == new.processor);
    let known = of_processor().find(|card| card.card.reference == new.card.reference);
    if known.is_none() && saved.len() >= MOST_METHODS {
        return Err(TooManyCards);
    }
    let has_default = of_processor().any(|card| card.is_default);
    let mut kept = known.unwrap_or(new).clone();
    kept.is_default |= save_as == SaveAs::Default || !has_default;
    let changes = replace_default(saved, &kept);
    Ok((kept, changes))
}

/// Makes a saved card the default. Returns the card as it is afterwards, and what changes; `None` if it is not saved.
pub fn choose_default(saved: &[PaymentMethod], id: Uuid) -> Option<(PaymentMethod, Vec<Resource>)> {
    let chosen = PaymentMethod { is_default: true, ..saved.iter().find(|card| card.id == id)?.clone() };
    let changes = replace_default(saved, &chosen);
    Some((chosen, changes))
}

/// Removes a saved card. Returns the card as it is afterwards; `None` if it is not saved. No other card becomes the default.
pub fn remove(saved: &[PaymentMethod], id: Uuid, now: Timestamp) -> Option<PaymentMethod> {
    let found = saved.iter().find(|card| card.id == id)?.clone();
    Some(PaymentMethod { is_default: false, removed_at: Some(now), ..found })
}

/// The changes by which a card is as it should be, and no other card is the default beside it.
fn replace_default(saved: &[PaymentMethod], card: &PaymentMethod) -> Vec<Resource> {
    let is_replaced = |other: &&PaymentMethod| {
        card.is_default && other.is_default && other.id != card.id && other.processor == card.processor
    };
    let replaced = saved.iter().filter(is_replaced).map(|other| PaymentMethod { is_default: false, ..other.clone() });
    let changed = (!saved.contains(card)).then(|| card.clone());
    replaced.chain(changed).map(Resource::Card).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(number: u128, is_default: bool) -> PaymentMethod {
        PaymentMethod {
            id: Uuid::from_u128(number),
            account_id: AccountId(Uuid::from_u128(1)),
            processor: "stripe".into(),
            card: Card {
                customer: "cus_1".into(),
                reference: format!("pm_{number}"),
                brand: "visa".into(),
                last4: "4242".into(),
                exp_month: 1,
                exp_year: 2030,
            },
            is_default,
            created_at: Timestamp(0),
            removed_at: None,
        }
    }

    fn apply(saved: &mut Vec<PaymentMethod>, changes: Vec<Resource>) {
        for change in changes {
            let Resource::Card(card) = change else { panic!("{change:?}") };
            saved.retain(|known| known.id != card.id);
            if card.removed_at.is_none() {
                saved.push(card);
            }
        }
    }

    #[test]
    fn the_first_card_becomes_the_default_and_another_one_only_if_that_is_asked() {
        let mut saved = Vec::new();
        let (kept, changes) = save(&saved, &card(1, false), SaveAs::OneMore).unwrap();
        assert!(kept.is_default);
        apply(&mut saved, changes);
        let (kept, changes) = save(&saved, &card(2, false), SaveAs::OneMore).unwrap();
        assert!(!kept.is_default && changes.len() == 1);
        apply(&mut saved, changes);
        let (kept, changes) = save(&saved, &card(3, false), SaveAs::Default).unwrap();
        assert!(kept.is_default && changes.len() == 2);
        apply(&mut saved, changes);
        assert_eq!(saved.iter().filter(|card| card.is_default).count(), 1);
        let (_, changes) = choose_default(&saved, Uuid::from_u128(2)).unwrap();
        apply(&mut saved, changes);
        assert_eq!(saved.iter().find(|card| card.is_default), Some(&card(2, true)));
        assert!(choose_default(&saved, Uuid::from_u128(9)).is_none());
        let removed = remove(&saved, Uuid::from_u128(2), Timestamp(5)).unwrap();
        assert_eq!(removed, PaymentMethod { removed_at: Some(Timestamp(5)), ..card(2, false) });
    }

    #[test]
    fn a_card_is_saved_once_and_a_processors_default_is_its_own() {
        let saved = [card(1, true)];
        let again = PaymentMethod { id: Uuid::from_u128(7), ..card(1, false) };
        assert_eq!(save(&saved, &again, SaveAs::Default), Ok((card(1, true), Vec::new())));
        let elsewhere = PaymentMethod { processor: "sandbox".into(), ..card(1, false) };
        let elsewhere = PaymentMethod { id: Uuid::from_u128(8), ..elsewhere };
        let (kept, changes) = save(&saved, &elsewhere, SaveAs::Default).unwrap();
        assert_eq!((kept.is_default, changes.len()), (true, 1), "the other processor's default stays");
    }

    #[test]
    fn an_account_has_a_bounded_number_of_cards() {
        let saved: Vec<_> = (0..10).map(|number| card(number, number == 0)).collect();
        assert_eq!(save(&saved, &card(11, false), SaveAs::OneMore), Err(TooManyCards));
        assert!(save(&saved, &card(3, false), SaveAs::Default).is_ok(), "it is saved already");
    }
}
