//! What to compute on.

use candle_core::Device;
use candle_core::utils::cuda_is_available as built_for_gpus;
use optogen::gpu::gpu;
use optogen::{Error, Result, say};

/// The device of `--device`: `auto` (the first GPU, where this program was built for GPUs and there is one), `cpu` or `cuda:N`.
///
/// # Errors
/// It is none of these, or the GPU is not there.
pub fn device(name: &str) -> Result<Device> {
    match name {
        "cpu" => Ok(Device::Cpu),
        "auto" if !built_for_gpus() => Ok(Device::Cpu),
        "auto" => Ok(gpu(0).unwrap_or_else(|error| {
            say::note(format!("no GPU, so everything is computed on the CPU: {}", plain(&error)));
            Device::Cpu
        })),
        _ => {
            let number = name.strip_prefix("cuda:").or((name == "cuda").then_some("0"));
            let number: Option<usize> = number.and_then(|number| number.parse().ok());
            let number = number.ok_or_else(|| Error::Invalid(format!("--device {name}: neither auto nor cpu nor cuda:N")))?;
            if !built_for_gpus() {
                let message =
                    "this program was built for the CPU alone; `make cuda` builds target/cuda/release/optogen, which computes on GPUs";
                return Err(Error::Invalid(format!("--device {name}: {message}")));
            }
            gpu(number).map_err(|error| Error::Invalid(format!("--device {name}: there is no such GPU: {}", plain(&error))))
        }
    }
}

/// An error without the backtrace that candle may add.
fn plain(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// What stands in the run's row.
pub fn describe(device: &Device) -> String {
    match device.location() {
        candle_core::DeviceLocation::Cpu => "cpu".into(),
        candle_core::DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        candle_core::DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id}"),
    }
}
