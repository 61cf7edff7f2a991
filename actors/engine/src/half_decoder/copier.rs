//! Copies parts of a device's memory within it. ONNX Runtime has no call for that, so a model of one operator is run.
//! `Tensor::copy_into` does the same between whole tensors, and never returns where the source is a part of one.

use half::f16;
use ort::session::{IoBinding, RunOptions, Session};
use ort::value::TensorRefMut;

use crate::decoder::bind_view;
use crate::device::{Device, Fallback};
use crate::network::NetworkError;
use crate::onnx;
use crate::runtime::Runtime;

/// A session that copies.
pub(super) struct Copier {
    binding: IoBinding,
    options: RunOptions,
    session: Session,
}

impl Copier {
    pub(super) fn new(runtime: &Runtime, device: Device) -> Result<Self, NetworkError> {
        let mut builder = device.builder(runtime, 1, Fallback::Refused, false, None)?;
        let model = onnx::copying().map_err(|error| NetworkError::Runtime(error.to_string()))?;
        let session = builder.commit_from_memory(&model)?;
        Ok(Self { binding: session.create_binding()?, options: RunOptions::new()?, session })
    }

    /// Copies numbers from one part to another of the same form, and waits until they are there.
    pub(super) fn copy(&mut self, from: &TensorRefMut<'_, f16>, to: TensorRefMut<'_, f16>) -> Result<(), NetworkError> {
        bind_view(&mut self.binding, "from", from)?;
        self.binding.bind_output("to", to)?;
        self.session.run_binding_with_options(&self.binding, &self.options)?;
        Ok(self.binding.synchronize_outputs()?)
    }
}
