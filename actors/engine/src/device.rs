//! Where a model runs, and what ONNX Runtime is asked for there. A device that can't be used is explained in one sentence
//! for operators.

use std::path::Path;

use ort::ep::{self, ArenaExtendStrategy, ExecutionProvider};
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::Session;
use ort::session::builder::SessionBuilder;

use super::network::NetworkError;
use super::onnx;
use super::runtime::Runtime;

/// A device that runs models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Device {
    /// The processor, which computes in 32-bit floats.
    #[default]
    Cpu,
    /// The NVIDIA card with this number, where language models run in half precision.
    Cuda(u16),
}

/// What becomes of operators that a device has no kernel for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// The processor computes them, with copies to and fro.
    Cpu,
    /// The model is refused.
    Refused,
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(card) => write!(f, "cuda:{card}"),
        }
    }
}

impl std::str::FromStr for Device {
    type Err = String;

    /// `cpu`, or `cuda:N` with the card's number.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "cpu" => Ok(Self::Cpu),
            Some(("cuda", number)) => {
                number.parse().map(Self::Cuda).map_err(|_| format!("`{number}` is no number of a card"))
            }
            _ => Err(format!("`{text}` is no device: `cpu`, or `cuda:0` with the card's number")),
        }
    }
}

impl Device {
    /// A builder of sessions on this device, that use so many of the processor's threads. `records` allows steps to be
    /// recorded as CUDA graphs. On a card a session takes no more than `memory` bytes for what it computes; CUDA's own
    /// libraries take some hundred MB more.
    pub(crate) fn builder(
        self,
        runtime: &Runtime,
        threads: usize,
        fallback: Fallback,
        records: bool,
        memory: Option<usize>,
    ) -> Result<SessionBuilder, NetworkError> {
        let builder = Session::builder(runtime.environment())?;
        let builder = builder.with_intra_threads(threads.max(1))?.with_inter_threads(1)?;
        let Self::Cuda(card) = self else { return Ok(builder) };
        let mut cuda = ep::CUDA::default()
            .with_device_id(card.into())
            // The default doubles the arena each time, and many models share a card.
            .with_arena_extend_strategy(ArenaExtendStrategy::SameAsRequested)
            .with_tf32(false)
            .with_cuda_graph(records);
        if let Some(memory) = memory {
            cuda = cuda.with_memory_limit(memory);
        }
        let builder = builder.with_execution_providers([cuda.build().error_on_failure()])?;
        // Weights stay out of the arena, so that this shrinks to nothing.
        let builder = builder.with_config_entry("session.use_device_allocator_for_initializers", "1")?;
        match fallback {
            Fallback::Cpu => Ok(builder),
            Fallback::Refused => Ok(builder.with_disable_cpu_fallback()?),
        }
    }

    /// The memory in which this device's sessions keep their values.
    pub(crate) fn memory_info(self) -> Result<MemoryInfo<'static>, NetworkError> {
        let (device, card, memory) = match self {
            Self::Cpu => (AllocationDevice::CPU, 0, MemoryType::CPUOutput),
            Self::Cuda(card) => (AllocationDevice::CUDA, card.into(), MemoryType::Default),
        };
        Ok(MemoryInfo::new(device, card, AllocatorType::Device, memory)?)
    }

    /// Whether sessions open on this device: the library has its provider, and driver and card answer.
    ///
    /// # Errors
    ///
    /// The reason why not, as a sentence for operators.
    pub fn probe(self, runtime: &Runtime, library: &Path) -> Result<(), String> {
        if self == Self::Cpu {
            return Ok(());
        }
        if !ep::CUDA::is_available().unwrap_or(false) {
            return Err(format!(
                "{} is a library for processors only; CUDA needs that of the package onnxruntime-gpu, with \
                 libonnxruntime_providers_shared.so and libonnxruntime_providers_cuda.so beside it",
                library.display()
            ));
        }
        // The driver and the card are asked when a session opens.
        let opened = self.builder(runtime, 1, Fallback::Cpu, false, None).and_then(|mut builder| {
            let model = onnx::smallest().map_err(|error| NetworkError::Runtime(error.to_string()))?;
            Ok(builder.commit_from_memory(&model)?)
        });
        opened.map(drop).map_err(|error| explained(&error.to_string()))
    }
}

/// A sentence for operators about an error of CUDA's provider.
pub fn explained(error: &str) -> String {
    let missing = error.split_whitespace().map(|word| word.trim_end_matches([':', ','])).find(|word| {
        let is_library = word.starts_with("lib") && word.contains(".so");
        // The provider's own name comes first: another library that it needs is what is missing.
        is_library && !word.starts_with("libonnxruntime")
    });
    let failure = error.split("CUDA failure ").nth(1).map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    match (missing, failure.flatten()) {
        (Some("libcuda.so.1"), _) => {
            "NVIDIA's driver is not installed, or not visible here: libcuda.so.1 can't be opened".to_owned()
        }
        (Some(library), _) if error.contains("cannot open shared object file") => {
            format!("{library} can't be opened: install CUDA 13 and cuDNN 9, and name their folders in LD_LIBRARY_PATH")
        }
        (_, Some("35")) => "NVIDIA's driver is too old for CUDA 13: update it to 580 or newer".to_owned(),
        (_, Some("100")) => "there is no NVIDIA card, or none is visible here".to_owned(),
        (_, Some("101")) => "there is no NVIDIA card of this number".to_owned(),
        (_, Some("2")) => "the card has no free memory left".to_owned(),
        _ => format!("CUDA can't be used: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_as_they_are_written() {
        for text in ["cpu", "cuda:0", "cuda:7"] {
            assert_eq!(text.parse::<Device>().unwrap().to_string(), text);
        }
        for wrong in ["cuda", "cuda:", "cuda:-1", "cuda:70000", "gpu:0", ""] {
            assert!(wrong.parse::<Device>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn errors_of_the_provider_become_sentences() {
        let loading = "Failed to load library libonnxruntime_providers_cuda.so with error: ";
        for (error, expected) in [
            (format!("{loading}libcuda.so.1: cannot open shared object file: No such file"), "driver is not installed"),
            (
                format!("{loading}libcublasLt.so.13: cannot open shared object file"),
                "libcublasLt.so.13 can't be opened",
            ),
            ("CUDA failure 35: CUDA driver version is insufficient ; GPU=0".to_owned(), "too old"),
            ("CUDA failure 100: no CUDA-capable device is detected".to_owned(), "no NVIDIA card"),
            ("CUDA failure 101: invalid device ordinal".to_owned(), "of this number"),
            ("CUDA failure 2: out of memory".to_owned(), "no free memory"),
            ("something else".to_owned(), "CUDA can't be used: something else"),
        ] {
            assert!(explained(&error).contains(expected), "{error}: {}", explained(&error));
        }
    }
}
