//! The fused operations on a GPU: the kernels of `kernels.cu`, compiled when the first of them is needed, and the operations that are made of them.
//!
//! They are for f32, in which models train; other numbers go the composed way. Nothing here waits for the GPU. Tests run the same kernels, launched
//! by the same code, on the CPU, and hold them to its own operations.

mod attention;
mod cross_entropy;
mod descent;
#[cfg(feature = "cuda")]
mod gpu;
#[cfg(test)]
mod host;
mod layer_norm;
mod linear;
#[cfg(test)]
mod tests;
mod tokens;

pub(crate) use attention::attention;
#[cfg(feature = "cuda")]
pub(crate) use cross_entropy::FEW_CLASSES;
pub(crate) use cross_entropy::cross_entropy;
pub(crate) use descent::{Descent, adam, descend, norms};
pub(crate) use layer_norm::layer_norm;
pub(crate) use linear::{gelu, linear};
pub(crate) use tokens::tokens;

use candle_core::op::BackpropOp;
use candle_core::{CpuStorage, CudaStorage, CustomOp1, CustomOp2, CustomOp3, Device, Layout, Result, Shape, Storage, Tensor, bail};
use std::sync::Mutex;

/// Threads that share a block; only how items are spread over the GPU depends on it.
const BLOCK: usize = 256;

/// Whether the kernels can run on the CPU; says so if not.
#[cfg(test)]
pub(crate) fn can_be_tested() -> bool {
    host::is_there()
}

/// Whether the kernels are for such a tensor.
#[cfg(feature = "cuda")]
pub(crate) fn takes(x: &Tensor) -> bool {
    x.device().is_cuda() && x.dtype() == candle_core::DType::F32
}

/// What a kernel is given, behind its outputs.
#[derive(Clone, Copy)]
enum Argument<'a> {
    /// A contiguous tensor of f32 or u32.
    Tensor(&'a Tensor),
    /// None, where a kernel can do without.
    Nothing,
    /// A size.
    Size(usize),
    /// A number.
    Number(f64),
}

impl<'a> Argument<'a> {
    fn maybe(tensor: Option<&'a Tensor>) -> Self {
        tensor.map_or(Argument::Nothing, Argument::Tensor)
    }

    /// The argument as it lies in memory; in its first four bytes, if it has no more.
    fn word(self) -> Result<u64> {
        Ok(match self {
            Argument::Tensor(tensor) => address(tensor)?,
            Argument::Nothing => 0,
            Argument::Size(size) => size_word(size)?,
            Argument::Number(number) => (number as f32).to_bits().into(),
        })
    }
}

fn size_word(size: usize) -> Result<u64> {
    match u32::try_from(size) {
        Ok(size) => Ok(size.into()),
        Err(_) => bail!("{size} items are too many for one kernel; use smaller cohorts or batches"),
    }
}

/// Where a tensor's first number lies, on its device.
fn address(tensor: &Tensor) -> Result<u64> {
    let (storage, layout) = tensor.storage_and_layout();
    let Some((start, _)) = layout.contiguous_offsets() else { bail!("a kernel was given a tensor that is not contiguous") };
    // Numbers of both types take four bytes.
    let first = match &*storage {
        #[cfg(feature = "cuda")]
        Storage::Cuda(storage) => gpu::address(storage)?,
        Storage::Cpu(CpuStorage::F32(numbers)) => numbers.as_ptr() as u64,
        Storage::Cpu(CpuStorage::U32(numbers)) => numbers.as_ptr() as u64,
        _ => bail!("a kernel was given a tensor of another device or type"),
    };
    Ok(first + 4 * start as u64)
}

/// Starts a kernel for so many items; gives its outputs of f32, `sizes` numbers long.
fn launch<const N: usize>(kernel: &'static str, items: usize, on: &Device, sizes: [usize; N], given: &[Argument]) -> Result<[Storage; N]> {
    let mut words = vec![size_word(items)?; 1 + N];
    for argument in given {
        words.push(argument.word()?);
    }
    match on {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => gpu::launch(kernel, items.div_ceil(BLOCK), device, sizes, words),
        #[cfg(test)]
        Device::Cpu => host::launch(kernel, items.div_ceil(BLOCK), sizes, words),
        _ => bail!("there are no kernels for {:?}", on.location()),
    }
}

/// A tensor without a graph behind it.
fn tensor(storage: Storage, shape: impl Into<Shape>) -> Tensor {
    Tensor::from_storage(storage, shape, BackpropOp::none(), false)
}

/// The gradients of inputs, of which some need none, from the inputs and the output's gradient, contiguous.
type Backward = dyn Fn(&[&Tensor], &Tensor) -> Result<Vec<Option<Tensor>>> + Send + Sync;

/// An output that is there already, as an operation of candle's graph.
struct Computed {
    name: &'static str,
    output: Mutex<Option<(Storage, Shape)>>,
    backward: Box<Backward>,
}

/// Makes an output of one to three inputs part of the graph.
fn attach(
    name: &'static str,
    inputs: &[&Tensor],
    output: Storage,
    shape: impl Into<Shape>,
    backward: impl Fn(&[&Tensor], &Tensor) -> Result<Vec<Option<Tensor>>> + Send + Sync + 'static,
) -> Result<Tensor> {
    let computed = Computed { name, output: Mutex::new(Some((output, shape.into()))), backward: Box::new(backward) };
    match inputs {
        [a] => a.apply_op1(computed),
        [a, b] => a.apply_op2(b, computed),
        [a, b, c] => a.apply_op3(b, c, computed),
        _ => bail!("{name} has {} inputs; one to three can be attached", inputs.len()),
    }
}

impl Computed {
    fn output(&self) -> Result<(Storage, Shape)> {
        let output = self.output.lock().ok().and_then(|mut output| output.take());
        output.ok_or_else(|| candle_core::Error::Msg(format!("{} was applied twice", self.name)))
    }

    fn on_cpu(&self) -> Result<(CpuStorage, Shape)> {
        match self.output()? {
            (Storage::Cpu(storage), shape) => Ok((storage, shape)),
            _ => bail!("{} was computed on another device", self.name),
        }
    }

    fn on_gpu(&self) -> Result<(CudaStorage, Shape)> {
        match self.output()? {
            (Storage::Cuda(storage), shape) => Ok((storage, shape)),
            _ => bail!("{} was computed on another device", self.name),
        }
    }

    fn gradients<const N: usize>(&self, inputs: [&Tensor; N], grad: &Tensor) -> Result<[Option<Tensor>; N]> {
        let gradients = (self.backward)(&inputs, &grad.contiguous()?)?;
        gradients.try_into().map_err(|_| candle_core::Error::Msg(format!("{} has {N} inputs and another number of gradients", self.name)))
    }
}

impl CustomOp1 for Computed {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.on_cpu()
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        self.on_gpu()
    }

    fn bwd(&self, a: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let [a] = self.gradients([a], grad)?;
        Ok(a)
    }
}

impl CustomOp2 for Computed {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.on_cpu()
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        self.on_gpu()
    }

    fn bwd(&self, a: &Tensor, b: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok(self.gradients([a, b], grad)?.into())
    }
}

impl CustomOp3 for Computed {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.on_cpu()
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.on_gpu()
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        c: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        Ok(self.gradients([a, b, c], grad)?.into())
    }
}
