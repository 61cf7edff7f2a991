//! Saved cards, as people and processors know them. No number of a card is kept anywhere.

/// What a person knows a card by, and what its processor does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// The processor's name for its owner.
    pub customer: String,
    /// The processor's name for it.
    pub reference: String,
    /// Such as `visa`.
    pub brand: String,
    /// The end of its number.
    pub last4: String,
    /// The last month it is good, from 1.
    pub exp_month: i64,
    /// The year of that month.
    pub exp_year: i64,
}
