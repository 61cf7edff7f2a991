//! The most tokens that an image takes, by its model, quality and size, as OpenAI documents it: in tokens ("Cost and
//! latency", image generation guide), or as the price of one image on a model's page, which at the model's rate is so many
//! tokens. A price is rounded to a tenth of a cent, so half of one is added. A model of which neither is told is in no
//! table.

use crate::inference::ImageGeneration;

/// Tokens for each image that is shown before it is done ("Partial images", same guide).
pub const PARTIAL: u64 = 100;

/// The sizes of the tables.
const SIZES: [&str; 3] = ["1024x1024", "1024x1536", "1536x1024"];
/// Their qualities.
const QUALITIES: [&str; 3] = ["low", "medium", "high"];

/// The tokens of a model's images.
struct Table {
    models: &'static [&'static str],
    /// By quality, then by size.
    tokens: [[u64; 3]; 3],
    /// The size that is asked for where the client leaves it to the model, which might choose one that is in no table.
    size: Option<&'static str>,
}

const TABLES: [Table; 3] = [
    Table {
        models: &["gpt-image-1"],
        tokens: [[272, 408, 400], [1_056, 1_584, 1_568], [4_160, 6_240, 6_208]],
        size: None,
    },
    // $0.005, $0.006; $0.011, $0.015; $0.036, $0.052, at $8 for a million.
    Table {
        models: &["gpt-image-1-mini"],
        tokens: [[688, 813, 813], [1_438, 1_938, 1_938], [4_563, 6_563, 6_563]],
        size: None,
    },
    // $0.006, $0.005; $0.053, $0.041; $0.211, $0.165, at $30 for a million.
    Table {
        models: &["gpt-image-2", "gpt-image-2-2026-04-21"],
        tokens: [[217, 184, 184], [1_784, 1_384, 1_384], [7_050, 5_517, 5_517]],
        size: Some(SIZES[0]),
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

fn table(model: &str) -> Option<&'static Table> {
    TABLES.iter().find(|table| table.models.contains(&model))
}

fn is_left(value: Option<&str>) -> bool {
    value.is_none_or(|value| value == "auto")
}

/// The size to ask for in place of the client's, where that has no bound.
pub fn size(model: &str, images: &ImageGeneration) -> Option<&'static str> {
    table(model).and_then(|table| table.size).filter(|_| is_left(images.size.as_deref()))
}

/// The most tokens of one image. What the client leaves to the model is the dearest that it may choose.
///
/// # Errors
///
/// Nothing tells how many there may be.
pub fn most(model: &str, images: &ImageGeneration) -> Result<u64, NoBound> {
    let Some(table) = table(model) else {
        let message =
            "has no known bound of the tokens of an image: its entry in a price file may tell it (max_output)";
        return Err(NoBound { field: "model", message: message.into() });
    };
    let place = |field: &'static str, known: [&str; 3], value: Option<&str>| match value {
        value if is_left(value) => Ok(None),
        Some(value) if let Some(place) = known.iter().position(|known| *known == value) => Ok(Some(place)),
        _ => {
            let message = format!("has a known price for {}, and auto", known.join(", "));
            Err(NoBound { field, message })
        }
    };
    let quality = place("quality", QUALITIES, images.quality.as_deref())?;
    let size = place("size", SIZES, size(model, images).or(images.size.as_deref()))?;
    let rows = table.tokens.iter().enumerate().filter(|(row, _)| quality.is_none_or(|quality| quality == *row));
    let tokens = rows.flat_map(|(_, row)| row.iter().enumerate());
    Ok(tokens.filter(|(place, _)| size.is_none_or(|size| size == *place)).map(|(_, tokens)| *tokens).max().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(size: Option<&str>, quality: Option<&str>) -> ImageGeneration {
        ImageGeneration { size: size.map(Into::into), quality: quality.map(Into::into), ..ImageGeneration::default() }
    }

    #[test]
    fn what_is_left_to_the_model_is_the_dearest_that_it_may_choose() {
        let of = |model: &str, size, quality| most(model, &asked(size, quality)).map_err(|error| error.field);
        assert_eq!(of("gpt-image-1", Some("1024x1536"), Some("low")), Ok(408));
        assert_eq!(of("gpt-image-1", Some("auto"), Some("medium")), Ok(1_584));
        assert_eq!(of("gpt-image-1", None, None), Ok(6_240));
        assert_eq!(of("gpt-image-1", Some("1024x1024"), Some("auto")), Ok(4_160));
        assert_eq!(of("gpt-image-2", None, Some("high")), Ok(7_050), "it is asked for that size");
        assert_eq!(of("gpt-image-2", Some("2048x2048"), Some("high")), Err("size"));
        assert_eq!(of("gpt-image-2", None, Some("max")), Err("quality"));
        assert_eq!(of("gpt-image-2.6-flare", None, Some("low")), Err("model"));
        assert_eq!(size("gpt-image-2", &asked(Some("auto"), None)), Some("1024x1024"));
        assert_eq!(size("gpt-image-2", &asked(Some("1024x1536"), None)), None);
        assert_eq!(size("gpt-image-1", &asked(None, None)), None);
    }
}
