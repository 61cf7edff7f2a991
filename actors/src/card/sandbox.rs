//! The built-in processor with test cards: no money moves. Cards are named as Stripe names its test payment methods
//! (Stripe documentation, "Test card numbers").

use super::Outcome;

/// Test cards and what they do.
const CARDS: [(&str, Option<&str>); 6] = [
    ("pm_card_visa", None),
    ("pm_card_mastercard", None),
    ("pm_card_visa_chargeDeclined", Some("card_declined")),
    ("pm_card_visa_chargeDeclinedInsufficientFunds", Some("insufficient_funds")),
    ("pm_card_visa_chargeDeclinedLostCard", Some("lost_card")),
    ("pm_card_chargeDeclinedExpiredCard", Some("expired_card")),
];

/// Whether there is such a card.
pub fn knows(method: &str) -> bool {
    CARDS.iter().any(|(card, _)| *card == method)
}

/// The cards there are.
pub fn cards() -> impl Iterator<Item = &'static str> {
    CARDS.iter().map(|(card, _)| *card)
}

/// Charges a card. Depends on nothing but the card, so that repeating a charge repeats its outcome.
pub fn charge(method: &str) -> Outcome {
    match CARDS.iter().find(|(card, _)| *card == method) {
        Some((_, None)) => Outcome::Succeeded,
        Some((_, Some(code))) => Outcome::Declined((*code).to_owned()),
        None => Outcome::Declined("no_such_card".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_do_what_their_names_say() {
        assert_eq!(charge("pm_card_visa"), Outcome::Succeeded);
        assert_eq!(charge("pm_card_visa_chargeDeclined"), Outcome::Declined("card_declined".into()));
        assert!(!knows("pm_card_of_gold"));
        assert_eq!(charge("pm_card_of_gold"), Outcome::Declined("no_such_card".into()));
    }
}
