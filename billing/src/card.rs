//! Saved cards. Card numbers are never stored.

/// A saved card, with the fields that people recognise and the processor's ids.
#[derive(Debug, Clone, PartialEq, Eq)]
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
