//! What to compute on.

use candle_core::Device;
use optogen::{Error, Result};

/// The device of `--device`: `auto` (the first GPU, where this program was built for GPUs and there is one), `cpu` or `cuda:N`.
///
/// # Errors
/// It is none of these, or the GPU is not there.
pub fn device(name: &str) -> Result<Device> {
    match name {
        "cpu" => Ok(Device::Cpu),
        "auto" => Ok(Device::cuda_if_available(0)?),
        _ => {
            let number = name.strip_prefix("cuda:").or((name == "cuda").then_some("0"));
            let number: Option<usize> = number.and_then(|number| number.parse().ok());
            let number = number.ok_or_else(|| Error::Invalid(format!("--device {name}: neither auto nor cpu nor cuda:N")))?;
            if !candle_core::utils::cuda_is_available() {
                let message = "this program was built for the CPU alone; use --device cpu";
                return Err(Error::Invalid(format!("--device {name}: {message}")));
            }
            Device::new_cuda(number).map_err(|error| Error::Invalid(format!("--device {name}: there is no such GPU: {error}")))
        }
    }
}

/// What stands in the run's row.
pub fn describe(device: &Device) -> String {
    match device.location() {
        candle_core::DeviceLocation::Cpu => "cpu".into(),
        candle_core::DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        candle_core::DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id}"),
    }
}
