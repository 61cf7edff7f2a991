//! Reads GGUF files (versions 2 and 3): metadata, the tensor directory, and tensor bytes on demand. Nothing in the file
//! is trusted: every length is checked against the remaining bytes before anything is allocated. A malformed file is a
//! typed error, never a panic and never an allocation larger than the file. No model architecture is known here.

use std::path::PathBuf;

mod blocks;
mod directory;
mod kinds;
mod parts;
mod quant;
mod repack;
mod value;

pub use blocks::{Kind, dequantize};
pub use directory::{Gguf, Tensor};
pub use parts::{Place, split_name, whole_name};
pub use repack::{Packed, repack};
pub use value::Value;

/// Why a file can't be read as GGUF.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// The file could not be read.
    #[error("reading: {0}")]
    Io(#[from] std::io::Error),
    /// The file does not begin with `GGUF`.
    #[error("not a GGUF file: it begins with {0:02x?}")]
    Magic([u8; 4]),
    /// The version is neither 2 nor 3.
    #[error("GGUF version {0}; versions 2 and 3 are read")]
    Version(u32),
    /// The file claims more bytes than it has.
    #[error("the file is cut: {what} needs {needed} bytes, {left} are left")]
    Truncated {
        /// The part that was being read.
        what: String,
        /// How many bytes the part claims.
        needed: u64,
        /// How many bytes are left.
        left: u64,
    },
    /// The file contradicts the format.
    #[error("malformed: {0}")]
    Malformed(String),
    /// The tensor has a type that is not read.
    #[error("tensor {name} is {}; read are {}", kinds::name(*kind), kinds::read())]
    Kind {
        /// The tensor.
        name: String,
        /// The type's number.
        kind: u32,
    },
    /// The file was written in the other byte order.
    #[error("the file is big-endian; little-endian files are read")]
    BigEndian,
    /// The file is one part of a model in several files, and its name does not lead to the others.
    #[error(
        "{name} is part {part} of {count} of a model; the parts are found by names like NAME-{part:05}-of-{count:05}.gguf"
    )]
    Part {
        /// The file's name.
        name: String,
        /// The part's number, from 1.
        part: u64,
        /// The number of parts.
        count: u64,
    },
    /// A part of a model in several files can't be read.
    #[error("{path}: {source}")]
    InPart {
        /// The part's path.
        path: PathBuf,
        /// The reason.
        source: Box<GgufError>,
    },
    /// A weight is not a number, or is infinite.
    #[error("tensor {0} has weights that are not finite numbers")]
    NotFinite(String),
    /// A needed key or tensor is missing, or has another type.
    #[error("{0} is missing or has another type")]
    Missing(String),
}
