//! Loops over many numbers in the widest vectors that the CPU has.

/// Does `work` as compiled for vectors of sixteen, where the CPU has them, else for those of eight that the program is compiled for.
///
/// What is to be in wide vectors has to be inlined into `work`. The numbers are the same: nothing is added up in another order, nothing rounded
/// elsewhere.
pub(crate) fn in_widest_vectors<R>(work: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx512f") && std::is_x86_feature_detected!("avx512dq") {
        // SAFETY: the CPU has what the function is compiled for.
        return unsafe { in_sixteens(work) };
    }
    work()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq")]
fn in_sixteens<R>(work: impl FnOnce() -> R) -> R {
    work()
}
