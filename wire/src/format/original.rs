//! The originals of a provider's pieces, for clients of its own format. A provider may say several pieces in one event or
//! answer: the first of them carries it.

use crate::{
    fields::Fields,
    inference::{Delta, Format, Raw},
};

/// Gives the pieces of one event or answer their original.
pub(super) fn put<'d>(pieces: impl IntoIterator<Item = &'d mut Delta>, format: Format, fields: Fields) {
    let mut raw = Raw::Own(format, fields);
    for piece in pieces {
        piece.raw = std::mem::replace(&mut raw, Raw::Before(format));
    }
}
