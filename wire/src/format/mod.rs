//! API formats, one folder each: what clients and providers write, read to the neutral words of
//! [`inference`](crate::inference) and written from them.

pub mod openai;
