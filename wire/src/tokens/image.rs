//! The most prompt tokens of an image, by the model's family. Images are neither decoded nor fetched here. Source:
//! "Images and vision", section "Calculating costs", OpenAI API documentation. An image counts there as a base and a
//! number of 512-pixel tiles after scaling (2,048 x 768 at most: 8), or as 32-pixel patches, 1,536 at most, times a
//! factor.

use crate::inference::Image;

/// The most tiles of an image.
const TILES: u64 = 8;

/// How a family counts an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    /// A base, which is the whole count at low detail, and a number for each tile.
    Tiles { base: u64, each: u64 },
    /// The most tokens: 1,536 patches times the factor, rounded up.
    Patches(u64),
}

/// Families by the beginning of their models' names; the first match counts.
const FAMILIES: [(&str, Family); 16] = [
    // "Vision", Anthropic API documentation: the newest models read a picture in its full size.
    ("claude", Family::Patches(4_784)),
    ("gpt-4o-mini", DEAREST),
    ("gpt-4o", Family::Tiles { base: 85, each: 170 }),
    ("chatgpt-4o", Family::Tiles { base: 85, each: 170 }),
    ("gpt-4-turbo", Family::Tiles { base: 85, each: 170 }),
    ("gpt-4.1-mini", Family::Patches(2_489)),
    ("gpt-4.1-nano", Family::Patches(3_779)),
    ("gpt-4.1", Family::Tiles { base: 85, each: 170 }),
    ("gpt-4.5", Family::Tiles { base: 85, each: 170 }),
    ("o4-mini", Family::Patches(2_642)),
    ("o1", Family::Tiles { base: 75, each: 150 }),
    ("o3", Family::Tiles { base: 75, each: 150 }),
    ("gpt-5-mini", Family::Patches(2_489)),
    ("gpt-5-nano", Family::Patches(3_779)),
    ("gpt-5-chat", Family::Tiles { base: 70, each: 140 }),
    ("gpt-5-20", Family::Tiles { base: 70, each: 140 }),
];

/// The family assumed for an unknown model.
const DEAREST: Family = Family::Tiles { base: 2_833, each: 5_667 };

fn family(model: &str) -> Family {
    if model == "gpt-5" {
        return Family::Tiles { base: 70, each: 140 };
    }
    FAMILIES.iter().find(|(begin, _)| model.starts_with(begin)).map_or(DEAREST, |(_, family)| *family)
}

/// The most tokens of an image.
pub(super) fn most_tokens(model: &str, image: &Image) -> u64 {
    let is_low = image.detail.as_deref() == Some("low");
    match family(model) {
        Family::Tiles { base, .. } if is_low => base,
        Family::Tiles { base, each } => base + TILES * each,
        Family::Patches(most) => most,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::Media;

    #[test]
    fn an_image_is_bounded_by_its_models_family() {
        let part = |detail: &str| Image { media: Media::Url("https://x/y.png".into()), detail: Some(detail.into()) };
        for (model, high, low) in [
            ("gpt-4o", 1_445, 85),
            ("gpt-4o-2024-11-20", 1_445, 85),
            ("gpt-4.1", 1_445, 85),
            ("gpt-4o-mini", 48_169, 2_833),
            ("o3", 1_275, 75),
            ("o4-mini", 2_642, 2_642),
            ("gpt-4.1-mini", 2_489, 2_489),
            ("gpt-4.1-nano-2025-04-14", 3_779, 3_779),
            ("gpt-5", 1_190, 70),
            ("gpt-5-2025-08-07", 1_190, 70),
            ("gpt-5-mini", 2_489, 2_489),
            ("gpt-5-nano", 3_779, 3_779),
            ("gpt-5.9", 48_169, 2_833),
            ("a-model-of-tomorrow", 48_169, 2_833),
        ] {
            assert_eq!(most_tokens(model, &part("high")), high, "{model}");
            assert_eq!(most_tokens(model, &part("auto")), high, "{model}");
            assert_eq!(most_tokens(model, &part("low")), low, "{model}");
        }
    }
}
