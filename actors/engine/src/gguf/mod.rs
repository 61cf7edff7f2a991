//! Reads GGUF files (versions 2 and 3): metadata, the tensor directory, and tensor bytes on demand. It trusts nothing in
//! the file: every length is checked against the bytes that are left before anything is allocated, so a malformed file is a
//! typed error, never a panic and never an allocation larger than the file. It knows no model architecture.

mod blocks;
mod directory;
mod kinds;
mod quant;
mod repack;
mod value;

pub use blocks::{Kind, dequantize};
pub use directory::{Gguf, Tensor};
pub use repack::{Packed, repack};
pub use value::Value;

/// Why a file is not a GGUF file this reader takes.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// The file could not be read.
    #[error("reading: {0}")]
    Io(#[from] std::io::Error),
    /// It does not begin with `GGUF`.
    #[error("not a GGUF file: it begins with {0:02x?}")]
    Magic([u8; 4]),
    /// A version other than 2 or 3.
    #[error("GGUF version {0}; versions 2 and 3 are read")]
    Version(u32),
    /// It ends, or claims to go on, beyond its end.
    #[error("the file is cut: {what} needs {needed} bytes, {left} are left")]
    Truncated {
        /// What was being read.
        what: String,
        /// How many bytes it claims.
        needed: u64,
        /// How many there are.
        left: u64,
    },
    /// Something that contradicts the format.
    #[error("malformed: {0}")]
    Malformed(String),
    /// A tensor type that is not read.
    #[error("tensor {name} is {}; read are {}", kinds::name(*kind), kinds::read())]
    Kind {
        /// The tensor.
        name: String,
        /// The type's number.
        kind: u32,
    },
    /// Written on a machine of the other byte order.
    #[error("the file is big-endian; little-endian files are read")]
    BigEndian,
    /// One of several files that are a model together.
    #[error("the file is part {part} of {count} of a model; join the parts to one file first")]
    Part {
        /// Which, from 1.
        part: u64,
        /// Of how many.
        count: u64,
    },
    /// A weight that is not a number, or is infinite.
    #[error("tensor {0} has weights that are not finite numbers")]
    NotFinite(String),
    /// A key or tensor that is needed and not there, or has another type.
    #[error("{0} is missing or has another type")]
    Missing(String),
}
