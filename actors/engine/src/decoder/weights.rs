//! The weights of a model that is run by two sessions, mapped once from its data file: both read the same memory, and what
//! ONNX Runtime makes of them for its kernels is made once. It knows weights by name and place, and no model.

use std::ffi::CString;
use std::fs::File;
use std::path::Path;

use memmap2::Mmap;
use ort::AsPointer;
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::builder::{PrepackedWeights, SessionBuilder};
use ort::value::{Shape, TensorRefMut};

use crate::network::NetworkError;
use crate::onnx::{Weight, WeightElement};

/// A tensor over mapped memory. It is only read.
#[derive(Debug)]
enum View {
    Float(TensorRefMut<'static, f32>),
    Byte(TensorRefMut<'static, u8>),
}

/// The weights. They must outlive the sessions that use them.
#[derive(Debug)]
pub(super) struct Weights {
    /// With the weights' names. They point into the map, and are dropped before it is.
    views: Vec<(CString, View)>,
    packed: PrepackedWeights,
    map: Mmap,
}

impl Weights {
    /// Maps a data file.
    ///
    /// # Errors
    ///
    /// The file can't be mapped, or is shorter than its weights.
    pub(super) fn map(file: &Path, weights: &[Weight]) -> Result<Self, NetworkError> {
        let failed = |error: std::io::Error| NetworkError::Form(format!("{}: {error}", file.display()));
        let map = map(&File::open(file).map_err(failed)?).map_err(failed)?;
        let view = |weight: &Weight| {
            let bytes = map.get(weight.bytes.clone());
            let bytes =
                bytes.ok_or_else(|| NetworkError::Form(format!("{} ends before {}", file.display(), weight.name)))?;
            let name = CString::new(weight.name.as_str()).map_err(|error| NetworkError::Form(error.to_string()))?;
            Ok((name, view(bytes, weight)?))
        };
        let views = weights.iter().map(view).collect::<Result<_, NetworkError>>()?;
        Ok(Self { views, packed: PrepackedWeights::new(), map })
    }

    /// A session that takes its weights from here.
    ///
    /// # Errors
    ///
    /// ONNX Runtime refuses a weight.
    #[expect(unsafe_code, reason = "ort has no safe function that gives a session a weight in memory of another's")]
    pub(super) fn give(&self, builder: SessionBuilder) -> Result<SessionBuilder, NetworkError> {
        let mut builder = builder.with_prepacked_weights(&self.packed)?;
        for (name, view) in &self.views {
            let value = match view {
                View::Float(view) => view.ptr(),
                View::Byte(view) => view.ptr(),
            };
            // SAFETY: builder, name and value are valid for the call. Value and memory are `self`'s, which outlives the
            // session, as said above.
            let added = unsafe {
                ort::Error::result_from_status((ort::api().AddInitializer)(builder.ptr_mut(), name.as_ptr(), value))
            };
            added?;
        }
        Ok(builder)
    }

    /// Lets the system take the memory back of what was only needed to load the sessions. What is needed still is read
    /// again from the file by itself.
    #[cfg(unix)]
    #[expect(unsafe_code, reason = "a private map would lose what was written to it; this one is never written to")]
    pub(super) fn forget_pages(&self) {
        // SAFETY: the map is of a file, and only read: its pages come back as they were.
        let advised = unsafe { self.map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
        if let Err(error) = advised {
            tracing::debug!(%error, "the pages of a model's file stay in memory");
        }
    }

    /// The system takes the memory back where it needs it.
    #[cfg(not(unix))]
    pub(super) fn forget_pages(&self) {
        let _ = &self.map;
    }
}

/// Maps a file.
#[expect(unsafe_code, reason = "a map is memory that others may change by writing to its file")]
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: an import never writes to a folder again, and puts a new one in its place; the map keeps the old file. ONNX
    // Runtime maps the files of its models alike.
    unsafe { Mmap::map(file) }
}

/// A weight's bytes as a tensor.
#[expect(unsafe_code, reason = "ort's safe views borrow, and a session's weights must live as long as it does")]
fn view(bytes: &[u8], weight: &Weight) -> Result<View, NetworkError> {
    let place = MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::Default)?;
    let (data, shape) = (bytes.as_ptr().cast_mut().cast(), Shape::new(weight.dims.iter().copied()));
    // SAFETY: the bytes are as many as the shape says, which is checked where the model is read; they are mapped as long
    // as the view lives. Nobody writes to them: a session does not change its weights.
    match weight.element {
        WeightElement::Float if bytes.as_ptr().align_offset(align_of::<f32>()) != 0 => {
            Err(NetworkError::Form(format!("{} is not aligned", weight.name)))
        }
        WeightElement::Float => Ok(View::Float(unsafe { TensorRefMut::from_raw(place, data, shape) }?)),
        WeightElement::Byte => Ok(View::Byte(unsafe { TensorRefMut::from_raw(place, data, shape) }?)),
    }
}
