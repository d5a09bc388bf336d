//! Each operation by itself, forward and backward, at the sizes of the base experiment and of twelve layers with MLPs.
//!
//! `cargo bench -p optogen-tests --bench ops`

use candle_core::{Device, Tensor, Var};
use criterion::{Criterion, criterion_group, criterion_main};
use optogen::ops::{self, Adam, Heads, Plus};
use rand_distr::{Distribution, StandardNormal};

fn random(shape: &[usize]) -> Var {
    let mut random = optogen::seeds::stream(0, "benchmark", shape.iter().product::<usize>() as u64);
    let numbers: Vec<f32> = (0..shape.iter().product()).map(|_| StandardNormal.sample(&mut random)).collect();
    Var::from_vec(numbers, shape, &Device::Cpu).expect("numbers make a tensor")
}

fn both_ways(criterion: &mut Criterion, name: &str, op: impl Fn() -> candle_core::Result<Tensor>) {
    criterion.bench_function(&format!("{name}, forward"), |bencher| bencher.iter(|| op().expect("the operation works")));
    let with_backward = || op()?.sum_all()?.backward();
    criterion.bench_function(&format!("{name}, both ways"), |bencher| bencher.iter(|| with_backward().expect("its gradient too")));
}

fn operations(criterion: &mut Criterion) {
    // SAFETY: nothing has been started yet.
    unsafe { optogen_systems::keep_operations_whole() };
    for (size, tokens) in [("5 tokens", 5), ("17 tokens", 17)] {
        let x = random(&[1, 32, tokens, 64]);
        let (gain, bias) = (random(&[1, 64]), random(&[1, 64]));
        both_ways(criterion, &format!("layer norm, {size}"), || ops::layer_norm(&x, &gain, &bias));
        let weight = random(&[1, 192, 64]);
        both_ways(criterion, &format!("linear 64 to 192, {size}"), || ops::linear(&x, &weight, Plus::Nothing));
        let qkv = random(&[1, 32, tokens, 192]);
        let heads = Heads { count: 8, rotary: Some(10_000.0), causal: true };
        both_ways(criterion, &format!("attention, {size}"), || ops::attention(&qkv, heads, false, None));
        let hidden = random(&[1, 32, tokens, 256]);
        both_ways(criterion, &format!("gelu, {size}"), || ops::gelu(&hidden));
    }
    for classes in [5, 12_800] {
        let logits = random(&[1, 32, classes]);
        let targets = Tensor::zeros((1, 32), candle_core::DType::U32, &Device::Cpu).expect("zeros make a tensor");
        both_ways(criterion, &format!("cross-entropy, {classes} classes"), || ops::cross_entropy(&logits, &targets));
    }
    let [parameter, first, second, gradient] = [0; 4].map(|_| random(&[1, 64, 512]));
    let with = Adam { rates: &[1e-5], scales: &[1.0], correction: ops::correction(1) };
    criterion.bench_function("adam, 64 × 512", |bencher| {
        bencher.iter(|| ops::adam(&parameter, &first, &second, &gradient, with).expect("a step of Adam"));
    });
}

criterion_group!(benches, operations);
criterion_main!(benches);
