//! Size classes of open models: the memory they need, the class by which a second of inference is priced (`price`), and
//! the weight of their permits (design, chapter 2.4).

use serde::{Deserialize, Serialize};

/// Permits are counted in half units, so that the weight 1.5 is whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Units(pub u32);

impl Units {
    /// Whole units.
    pub const fn whole(units: u32) -> Self {
        Self(units * 2)
    }
}

impl std::fmt::Display for Units {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_multiple_of(2) { write!(f, "{}", self.0 / 2) } else { write!(f, "{}.5", self.0 / 2) }
    }
}

/// A size class, smallest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SizeClass {
    /// Below 8 billion parameters.
    #[serde(rename = "7B")]
    B7,
    /// Below 16 billion.
    #[serde(rename = "15B")]
    B15,
    /// Below 36 billion.
    #[serde(rename = "35B")]
    B35,
    /// Below 73 billion.
    #[serde(rename = "70B")]
    B70,
    /// Up to 125 billion.
    #[serde(rename = "120B")]
    B120,
}

/// Whether permits weigh by the class table or 1 each (`limits.concurrency`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Weighting {
    /// By the table.
    #[default]
    Weighted,
    /// Every class weighs 1.
    Flat,
}

impl SizeClass {
    /// All classes, smallest first.
    pub const ALL: [Self; 5] = [Self::B7, Self::B15, Self::B35, Self::B70, Self::B120];

    /// The class of a model by its number of parameters; `None` above 125 billion.
    pub const fn of_parameters(parameters: u64) -> Option<Self> {
        const BILLION: u64 = 1_000_000_000;
        match parameters {
            n if n < 8 * BILLION => Some(Self::B7),
            n if n < 16 * BILLION => Some(Self::B15),
            n if n < 36 * BILLION => Some(Self::B35),
            n if n < 73 * BILLION => Some(Self::B70),
            n if n <= 125 * BILLION => Some(Self::B120),
            _ => None,
        }
    }

    /// The video memory of the class in GB.
    pub const fn vram_gb(self) -> u32 {
        match self {
            Self::B7 => 16,
            Self::B15 => 24,
            Self::B35 => 32,
            Self::B70 => 48,
            Self::B120 => 80,
        }
    }

    /// The weight of a permit.
    pub const fn weight(self, weighting: Weighting) -> Units {
        match (weighting, self) {
            (Weighting::Flat, _) | (Weighting::Weighted, Self::B7) => Units(2),
            (Weighting::Weighted, Self::B15) => Units(3),
            (Weighting::Weighted, Self::B35) => Units(4),
            (Weighting::Weighted, Self::B70) => Units(6),
            (Weighting::Weighted, Self::B120) => Units(10),
        }
    }

    /// The class's name: `7B`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::B7 => "7B",
            Self::B15 => "15B",
            Self::B35 => "35B",
            Self::B70 => "70B",
            Self::B120 => "120B",
        }
    }

    /// Finds a class by its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_the_contracts() {
        assert_eq!(
            SizeClass::ALL.map(|class| class.weight(Weighting::Weighted).to_string()),
            ["1", "1.5", "2", "3", "5"]
        );
    }

    #[test]
    fn parameters_decide_the_class() {
        let class = |billions: u64| SizeClass::of_parameters(billions * 1_000_000_000);
        assert_eq!(class(0), Some(SizeClass::B7));
        assert_eq!(class(8), Some(SizeClass::B15));
        assert_eq!(class(36), Some(SizeClass::B70));
        assert_eq!(class(125), Some(SizeClass::B120));
        assert_eq!(SizeClass::of_parameters(125_000_000_001), None);
        assert!(SizeClass::ALL.iter().all(|class| SizeClass::from_name(class.name()) == Some(*class)));
    }
}
