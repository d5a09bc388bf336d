//! The way to a GPU.

use candle_core::{Device, Result};

/// A GPU with one stream of its own: whatever thread starts something there, it comes after what was started before.
///
/// # Errors
/// This program was built without GPUs, or there is no such one.
pub fn gpu(number: usize) -> Result<Device> {
    let device = Device::new_cuda_with_stream(number)?;
    #[cfg(feature = "cuda")]
    // SAFETY: nothing was made on the device yet, and all that will be is used in the order of that one stream, so nobody waits for an event.
    unsafe {
        device.as_cuda_device()?.disable_event_tracking();
    }
    Ok(device)
}
