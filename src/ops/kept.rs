//! What is brought to a device once, and stays there: tables that depend on sizes alone, so that a step moves nothing but its sequences.

use super::heads::angles;
use candle_core::{DType, Device, DeviceLocation, Result, Tensor};
use std::collections::HashMap;
use std::sync::{Mutex, OnceLock};

/// Rotary positions: tokens, the width of a head, the bits of the time scale.
pub(crate) type Rotary = (usize, usize, u64);

/// What can be kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Constant {
    /// Cosines of rotary positions `[T, dh/2]`.
    Cosines(Rotary, DType),
    /// Their sines.
    Sines(Rotary, DType),
    /// Both side by side, f32 `[T, dh/2, 2]`.
    #[cfg(any(feature = "cuda", test))]
    Turns(Rotary),
    /// Which tokens come later, u8 `[T, T]`.
    Later(usize),
    /// The first whole numbers, u32 `[N]`.
    Numbers(usize),
    /// Which heads have values, u32 `[K, H]`, of those that have none.
    #[cfg(any(feature = "cuda", test))]
    Heard(Vec<bool>),
}

static KEPT: OnceLock<Mutex<HashMap<(DeviceLocation, Constant), Tensor>>> = OnceLock::new();

/// A constant on a device.
pub(crate) fn kept(constant: Constant, device: &Device) -> Result<Tensor> {
    let Ok(mut kept) = KEPT.get_or_init(Mutex::default).lock() else { candle_core::bail!("the constants on devices are lost") };
    let key = (device.location(), constant);
    if let Some(tensor) = kept.get(&key) {
        return Ok(tensor.clone());
    }
    let tensor = made(&key.1, device)?;
    kept.insert(key, tensor.clone());
    Ok(tensor)
}

fn made(constant: &Constant, device: &Device) -> Result<Tensor> {
    let table = |&(tokens, width, time): &Rotary, dtype: DType, wave: fn(f64) -> f64| {
        let numbers: Vec<f64> = angles(tokens, width, f64::from_bits(time)).map(wave).collect();
        Tensor::from_vec(numbers, (tokens, width / 2), &Device::Cpu)?.to_dtype(dtype)?.to_device(device)
    };
    match constant {
        Constant::Cosines(rotary, dtype) => table(rotary, *dtype, f64::cos),
        Constant::Sines(rotary, dtype) => table(rotary, *dtype, f64::sin),
        #[cfg(any(feature = "cuda", test))]
        Constant::Turns(rotary) => Tensor::stack(&[table(rotary, DType::F32, f64::cos)?, table(rotary, DType::F32, f64::sin)?], 2),
        Constant::Later(tokens) => {
            let later: Vec<u8> = (0..*tokens).flat_map(|t| (0..*tokens).map(move |s| u8::from(s > t))).collect();
            Tensor::from_vec(later, (*tokens, *tokens), device)
        }
        Constant::Numbers(count) => Tensor::arange(0, *count as u32, device),
        #[cfg(any(feature = "cuda", test))]
        Constant::Heard(silenced) => {
            let heard: Vec<u32> = silenced.iter().map(|&silent| u32::from(!silent)).collect();
            Tensor::from_vec(heard, silenced.len(), device)
        }
    }
}
