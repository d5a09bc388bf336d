//! The kernels on a GPU: compiled by NVRTC once a process, loaded once a device.

use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DevicePtr, LaunchConfig, PushKernelArg};
use candle_core::cuda_backend::cudarc::nvrtc::{CompileOptions, compile_ptx_with_opts};
use candle_core::cuda_backend::{CudaStorageSlice, WrapErr};
use candle_core::{CudaDevice, CudaStorage, Error, Result, Storage, bail};
use std::sync::OnceLock;

static COMPILED: OnceLock<std::result::Result<String, String>> = OnceLock::new();

/// The kernels for any GPU, which its driver makes its own code of. Products are not fused into sums, as on the CPU.
fn compiled() -> Result<&'static str> {
    let compile = || {
        let options = CompileOptions { fmad: Some(false), name: Some("kernels.cu".into()), ..Default::default() };
        let compiled = compile_ptx_with_opts(include_str!("kernels.cu"), options);
        compiled.map(|ptx| ptx.to_src()).map_err(|error| format!("the kernels do not compile: {error:?}"))
    };
    COMPILED.get_or_init(compile).as_deref().map_err(|message| Error::Msg(message.clone()))
}

/// Where a storage's first number lies.
pub(super) fn address(storage: &CudaStorage) -> Result<u64> {
    // What is written and what is read is in the order of the stream, so nothing is to be told at the end of this borrow.
    let stream = storage.device.cuda_stream();
    match &storage.slice {
        CudaStorageSlice::F32(numbers) => Ok(numbers.device_ptr(&stream).0),
        CudaStorageSlice::U32(numbers) => Ok(numbers.device_ptr(&stream).0),
        _ => bail!("a kernel was given a tensor that is neither of F32 nor of U32"),
    }
}

/// Starts a kernel; `words` are its arguments, with places for the outputs behind the first.
pub(super) fn launch<const N: usize>(
    kernel: &'static str,
    blocks: usize,
    device: &CudaDevice,
    sizes: [usize; N],
    mut words: Vec<u64>,
) -> Result<[Storage; N]> {
    let mut outputs: Vec<CudaSlice<f32>> = Vec::with_capacity(N);
    for (size, word) in sizes.into_iter().zip(&mut words[1..]) {
        // SAFETY: every kernel writes all of its outputs, which tests show.
        let output = unsafe { device.alloc::<f32>(size)? };
        *word = output.device_ptr(&device.cuda_stream()).0;
        outputs.push(output);
    }
    let function = device.get_or_load_custom_func(kernel, "optogen", compiled()?)?;
    let mut builder = function.builder();
    for word in &words {
        builder.arg(word);
    }
    let shape = LaunchConfig { grid_dim: (blocks as u32, 1, 1), block_dim: (super::BLOCK as u32, 1, 1), shared_mem_bytes: 0 };
    // SAFETY: tests run every kernel with the arguments that the operations give it, and find nothing written or read beyond the tensors. Those are
    // alive: their memory is given back in the order of the stream.
    unsafe { builder.launch(shape) }.w()?;
    let storages: Vec<Storage> =
        outputs.into_iter().map(|output| Storage::Cuda(CudaStorage::wrap_cuda_slice(output, device.clone()))).collect();
    storages.try_into().map_err(|_| Error::Msg("a kernel has lost an output".into()))
}

#[cfg(test)]
mod tests {
    /// That takes the compiler, not a GPU.
    #[test]
    fn the_kernels_compile() {
        let compiled = super::compiled().unwrap();
        for name in include_str!("kernels.cu").lines().filter_map(|line| line.strip_prefix("KERNEL ")?.split('(').next()) {
            assert!(compiled.contains(&format!(".visible .entry {name}(")), "{name}");
        }
    }
}
