//! The names of GGUF's tensor types, for messages about types that are not read.

use super::Kind;

/// Names by number; the names of withdrawn numbers are empty.
const NAMES: [&str; 41] = [
    "F32",
    "F16",
    "Q4_0",
    "Q4_1",
    "",
    "",
    "Q5_0",
    "Q5_1",
    "Q8_0",
    "Q8_1",
    "Q2_K",
    "Q3_K",
    "Q4_K",
    "Q5_K",
    "Q6_K",
    "Q8_K",
    "IQ2_XXS",
    "IQ2_XS",
    "IQ3_XXS",
    "IQ1_S",
    "IQ4_NL",
    "IQ3_S",
    "IQ2_S",
    "IQ4_XS",
    "I8",
    "I16",
    "I32",
    "I64",
    "F64",
    "IQ1_M",
    "BF16",
    "Q4_0_4_4",
    "Q4_0_4_8",
    "Q4_0_8_8",
    "TQ1_0",
    "TQ2_0",
    "IQ4_NL_4_4",
    "IQ4_NL_4_8",
    "IQ4_NL_8_8",
    "MXFP4",
    "NVFP4",
];

/// The name of a type.
pub(super) fn name(number: u32) -> String {
    let known = usize::try_from(number).ok().and_then(|number| NAMES.get(number)).filter(|name| !name.is_empty());
    known.map_or_else(|| format!("of the unknown type {number}"), |name| (*name).to_owned())
}

/// The names of the types that are read.
pub(super) fn read() -> String {
    Kind::ALL.map(|kind| name(kind.number())).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_type_that_is_read() {
        let page = include_str!("../../../../docs/open-models.md");
        assert!(page.contains(&format!("in {},", read())), "docs/open-models.md must have: in {},", read());
    }

    #[test]
    fn every_type_that_is_read_and_many_that_are_not_have_their_names() {
        assert_eq!(read(), "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K");
        assert_eq!((name(6), name(10), name(39)), ("Q5_0".to_owned(), "Q2_K".to_owned(), "MXFP4".to_owned()));
        assert_eq!((name(4), name(99)), ("of the unknown type 4".to_owned(), "of the unknown type 99".to_owned()));
    }
}
