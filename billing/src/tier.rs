//! The unlock table: the models and permits that the dollars purchased in the last 28 days allow (design, chapter 2.3).

use crate::{
    class::{SizeClass, Units},
    nanos::Nanos,
    payment::SMALLEST,
};
use serde::{Deserialize, Serialize};

/// One cent.
const CENT: i64 = 10_000_000;

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tier {
    /// The least amount purchased for this tier.
    pub purchased: Nanos,
    /// The largest class of open models.
    pub largest: SizeClass,
    /// Permits, in 7B-equivalent units.
    pub units: Units,
}

const fn row(dollars: i64, largest: SizeClass, units: u32) -> Tier {
    Tier { purchased: Nanos::dollars(dollars), largest, units: Units::whole(units) }
}

/// All tiers, lowest first.
pub const TIERS: [Tier; 8] = [
    row(0, SizeClass::B7, 1),
    row(3, SizeClass::B7, 4),
    row(10, SizeClass::B35, 4),
    row(25, SizeClass::B70, 10),
    row(50, SizeClass::B120, 20),
    row(100, SizeClass::B120, 40),
    row(500, SizeClass::B120, 200),
    row(1_000, SizeClass::B120, 400),
];

impl Tier {
    /// The tier reached by an amount purchased.
    pub fn reached_by(purchased: Nanos) -> Self {
        TIERS.into_iter().rev().find(|tier| tier.purchased <= purchased).unwrap_or(TIERS[0])
    }

    /// The tier's row in the table, from 1 for the lowest.
    pub fn rank(self) -> u32 {
        TIERS.iter().map(|tier| u32::from(tier.purchased <= self.purchased)).sum::<u32>().max(1)
    }

    /// What must be bought to reach the tier from an amount purchased: as much as is missing, in whole cents, and no less than can
    /// be bought.
    pub fn to_buy(self, purchased: Nanos) -> Nanos {
        let cents = (self.purchased - purchased).get().saturating_add(CENT - 1).div_euclid(CENT);
        Nanos::new(cents.saturating_mul(CENT)).max(SMALLEST)
    }

    /// The lowest tier that unlocks a class.
    pub fn that_unlocks(class: SizeClass) -> Self {
        TIERS.into_iter().find(|tier| tier.largest >= class).unwrap_or(TIERS[TIERS.len() - 1])
    }

    /// The classes that the tier unlocks, smallest first.
    pub fn unlocked(self) -> impl Iterator<Item = SizeClass> {
        SizeClass::ALL.into_iter().filter(move |class| *class <= self.largest)
    }

    /// The next tier with more units; `None` at the top.
    pub fn next_with_more_units(self) -> Option<Self> {
        TIERS.into_iter().find(|tier| tier.purchased > self.purchased && tier.units > self.units)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purchases_reach_tiers() {
        assert_eq!(Tier::reached_by(Nanos::ZERO), TIERS[0]);
        assert_eq!(Tier::reached_by(Nanos::new(2_999_999_999)), TIERS[0]);
        assert_eq!(Tier::reached_by(Nanos::dollars(3)), TIERS[1]);
        assert_eq!(Tier::reached_by(Nanos::dollars(5_000)), TIERS[7]);
        assert_eq!(Tier::reached_by(Nanos::dollars(-5)), TIERS[0]);
        assert_eq!(TIERS.map(Tier::rank), [1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn what_reaches_a_tier_can_be_bought() {
        let dollars = |cents: i64| Nanos::new(cents * CENT);
        for (purchased, buy) in [(0, 1_000), (950, 100), (899, 101), (900, 100), (999, 100), (-500, 1_500)] {
            assert_eq!(TIERS[2].to_buy(dollars(purchased)), dollars(buy), "{purchased}");
        }
        assert_eq!(TIERS[2].to_buy(Nanos::new(1)), Nanos::dollars(10), "whole cents");
        assert_eq!(TIERS[2].to_buy(dollars(300) + Nanos::new(1)), Nanos::dollars(7));
        for tier in TIERS {
            for purchased in [Nanos::ZERO, dollars(949), dollars(2_450), Nanos::new(7)] {
                assert!(purchased + tier.to_buy(purchased) >= tier.purchased);
            }
        }
    }

    #[test]
    fn a_locked_class_names_its_price() {
        assert_eq!(Tier::that_unlocks(SizeClass::B15).purchased, Nanos::dollars(10));
        assert_eq!(Tier::that_unlocks(SizeClass::B120).purchased, Nanos::dollars(50));
        assert_eq!(TIERS[1].next_with_more_units().map(|tier| tier.purchased), Some(Nanos::dollars(25)));
        assert_eq!(TIERS[7].next_with_more_units(), None);
    }
}
