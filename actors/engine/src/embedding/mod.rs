//! Models that turn texts into vectors: an encoder, and a rule that makes one vector of its states. Folders are in the
//! layout of Sentence Transformers ("Custom models", Sentence Transformers documentation), with the encoder as ONNX.
//!
//! [`import`] takes a folder over, [`folder`] reads how vectors are made, [`tokenizer`] makes tokens of texts, [`encoder`] runs batches, [`worker`] is its queue and thread, and [`pooling`]
//! makes the vectors.

pub mod encoder;
pub mod folder;
pub mod import;
pub mod pooling;
pub mod tokenizer;
pub mod worker;
