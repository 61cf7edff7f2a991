//! The most tokens that an image takes, by its model, quality and size, as OpenAI tells it ("Cost and latency", image
//! generation guide): in a table of tokens; as the price of one image on a model's page, which at the model's rate is so
//! many tokens; or by the guide's calculator, whose rule holds for every size. A price is rounded to a tenth of a cent, so
//! half of one is added. A model of which none is told is not here.

use crate::inference::ImageGeneration;

/// Tokens for each image that is shown before it is done ("Partial images", same guide).
pub const PARTIAL: u64 = 100;
/// The most tokens of an image that is read: 65 and 129 for each of at most four tiles, and 6,240 where it is read at high
/// fidelity ("Images and vision"). That is told of one model. Of later ones nothing is; what they bill is less.
pub const READ: u64 = 65 + 4 * 129 + 6_240;

/// The qualities, from the cheapest on.
const QUALITIES: [&str; 5] = ["low", "medium", "high", "xhigh", "max"];
/// The sizes of the tables.
const SIZES: [&str; 3] = ["1024x1024", "1024x1536", "1536x1024"];
/// The longest edge of an image.
const LONGEST: u64 = 3_840;

/// The tokens of a model's images, by quality.
enum Tokens {
    /// By size.
    Table([[u64; 3]; 3]),
    /// Patches along the longer edge, for each of which the tokens grow with the pixels of all.
    Patches(&'static [u64]),
}

/// The models whose images take so many tokens.
struct Rule {
    models: &'static [&'static str],
    tokens: Tokens,
}

const RULES: [Rule; 4] = [
    Rule {
        models: &["gpt-image-1"],
        tokens: Tokens::Table([[272, 408, 400], [1_056, 1_584, 1_568], [4_160, 6_240, 6_208]]),
    },
    // $0.005, $0.006; $0.011, $0.015; $0.036, $0.052, at $8 for a million.
    Rule {
        models: &["gpt-image-1-mini"],
        tokens: Tokens::Table([[688, 813, 813], [1_438, 1_938, 1_938], [4_563, 6_563, 6_563]]),
    },
    Rule { models: &["gpt-image-2", "gpt-image-2-2026-04-21"], tokens: Tokens::Patches(&[16, 48, 96]) },
    Rule {
        models: &[
            "gpt-image-2.5-flare",
            "gpt-image-2.5-flare-2026-09-08",
            "gpt-image-2.5-sunburst",
            "gpt-image-2.5-sunburst-2026-09-08",
        ],
        tokens: Tokens::Patches(&[16, 24, 48, 64, 96]),
    },
];

/// Why an image has no bound: the field that the bound depends on, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoBound {
    /// The field.
    pub field: &'static str,
    /// What is wrong.
    pub message: String,
}

fn tokens(model: &str) -> Option<&'static Tokens> {
    RULES.iter().find(|rule| rule.models.contains(&model)).map(|rule| &rule.tokens)
}

fn is_left(value: Option<&str>) -> bool {
    value.is_none_or(|value| value == "auto")
}

/// The size to ask for where the client leaves it to a model that may choose any.
pub fn size(model: &str, images: &ImageGeneration) -> Option<&'static str> {
    let chooses = matches!(tokens(model), Some(Tokens::Patches(_)));
    (chooses && is_left(images.size.as_deref())).then_some(SIZES[0])
}

/// The most tokens of one image. What the client leaves to the model is the dearest that it may choose.
///
/// # Errors
///
/// Nothing tells how many there may be.
pub fn most(model: &str, images: &ImageGeneration) -> Result<u64, NoBound> {
    let Some(tokens) = tokens(model) else {
        let message =
            "has no known bound of the tokens of an image: its entry in a price file may tell it (max_output)";
        return Err(NoBound { field: "model", message: message.into() });
    };
    let size = size(model, images).or(images.size.as_deref());
    let each = match tokens {
        Tokens::Table(table) => {
            let size = place("size", &SIZES, size)?;
            let of_size = |row: &[u64; 3]| size.map_or(row.iter().copied().max(), |size| row.get(size).copied());
            table.iter().map(|row| of_size(row).unwrap_or(0)).collect()
        }
        Tokens::Patches(qualities) => {
            let (wide, high) = size.and_then(edges).ok_or_else(|| {
                let message = format!("must be WIDTHxHEIGHT of at most {LONGEST} pixels each, or auto");
                NoBound { field: "size", message }
            })?;
            qualities.iter().map(|quality| by_patches(*quality, wide, high)).collect::<Vec<_>>()
        }
    };
    let quality = place("quality", &QUALITIES[..each.len()], images.quality.as_deref())?;
    let dearest = each.iter().copied().max();
    Ok(quality.map_or(dearest, |quality| each.get(quality).copied()).unwrap_or(0))
}

/// The place of a value among those that are known; `None` where it is left to the model.
fn place(field: &'static str, known: &[&str], value: Option<&str>) -> Result<Option<usize>, NoBound> {
    let Some(value) = value.filter(|value| !is_left(Some(value))) else { return Ok(None) };
    let place = known.iter().position(|known| *known == value);
    let message = || format!("has a known price for {}, and auto", known.join(", "));
    place.map(Some).ok_or_else(|| NoBound { field, message: message() })
}

/// Width and height, in pixels.
fn edges(size: &str) -> Option<(u64, u64)> {
    let (wide, high) = size.split_once('x')?;
    let edge = |text: &str| text.parse().ok().filter(|edge| (1..=LONGEST).contains(edge));
    Some((edge(wide)?, edge(high)?))
}

/// The calculator's rule: as many patches along the shorter edge as fit beside those along the longer one, and for each of
/// them half a token and a quarter of one for each million pixels.
fn by_patches(along: u64, wide: u64, high: u64) -> u64 {
    let (long, short) = (wide.max(high), wide.min(high));
    let across = (2 * along * short + long) / (2 * long);
    (along * across * (2_000_000 + wide * high)).div_ceil(4_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(size: Option<&str>, quality: Option<&str>) -> ImageGeneration {
        ImageGeneration { size: size.map(Into::into), quality: quality.map(Into::into), ..ImageGeneration::default() }
    }

    fn of(model: &str, size: Option<&str>, quality: Option<&str>) -> Result<u64, &'static str> {
        most(model, &asked(size, quality)).map_err(|error| error.field)
    }

    #[test]
    fn what_is_left_to_the_model_is_the_dearest_that_it_may_choose() {
        assert_eq!(of("gpt-image-1", Some("1024x1536"), Some("low")), Ok(408));
        assert_eq!(of("gpt-image-1", Some("auto"), Some("medium")), Ok(1_584));
        assert_eq!(of("gpt-image-1", None, None), Ok(6_240));
        assert_eq!(of("gpt-image-1", Some("1024x1024"), Some("auto")), Ok(4_160));
        assert_eq!(of("gpt-image-1", Some("2048x2048"), Some("low")), Err("size"));
        assert_eq!(of("gpt-image-2", None, Some("high")), Ok(7_024), "it is asked for that size");
        assert_eq!(of("gpt-image-2", None, Some("max")), Err("quality"));
        assert_eq!(of("gpt-image-2", Some("4096x1024"), None), Err("size"));
        assert_eq!(of("gpt-image-2", Some("big"), None), Err("size"));
        assert_eq!(of("gpt-image-2.5-flare", None, None), Ok(7_024));
        assert_eq!(of("gpt-image-2.6-flare", None, Some("low")), Err("model"));
        assert_eq!(size("gpt-image-2", &asked(Some("auto"), None)), Some("1024x1024"));
        assert_eq!(size("gpt-image-2", &asked(Some("1024x1536"), None)), None);
        assert_eq!(size("gpt-image-1", &asked(None, None)), None);
    }

    /// Readings of the calculator, and of usage that was billed.
    #[test]
    fn every_size_takes_the_tokens_that_the_calculator_tells() {
        for (size, tokens) in [
            ("1024x1024", 7_024),
            ("1536x1024", 5_488),
            ("1024x1536", 5_488),
            ("1024x640", 3_824),
            ("3072x1024", 3_952),
            ("2560x1440", 7_370),
            ("3840x1280", 5_311),
            ("2048x2048", 14_272),
            ("3840x2160", 13_342),
        ] {
            assert_eq!(of("gpt-image-2", Some(size), Some("high")), Ok(tokens), "{size}");
        }
        assert_eq!(of("gpt-image-2", Some("1024x1024"), Some("low")), Ok(196));
        for (size, quality, tokens) in [
            ("1024x1024", "low", 196),
            ("1024x1024", "medium", 439),
            ("1024x1024", "high", 1_756),
            ("1024x1024", "xhigh", 3_122),
            ("1024x1024", "max", 7_024),
            ("1536x1024", "high", 1_372),
            ("2048x2048", "high", 3_568),
            ("2880x2880", "high", 5_930),
            ("3840x2160", "high", 3_336),
        ] {
            assert_eq!(of("gpt-image-2.5-sunburst", Some(size), Some(quality)), Ok(tokens), "{size} {quality}");
        }
    }
}
