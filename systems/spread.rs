//! Spreads work over threads: models are small and many, so each is one piece of work, and threads are spent on models.

use rayon::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};

static THREADS: AtomicUsize = AtomicUsize::new(1);

/// Spreads the work of systems over so many threads, the caller's included. Only the first call that asks for more than one counts.
pub fn use_threads(threads: usize) {
    // The caller is one of them: nobody waits for the others without working.
    let pool =
        || rayon::ThreadPoolBuilder::new().num_threads(threads).thread_name(|_| "optogen".into()).use_current_thread().build_global();
    if threads > 1 && pool().is_ok() {
        THREADS.store(threads, Ordering::Relaxed);
    }
}

/// How many threads the work is spread over.
pub(crate) fn threads() -> usize {
    THREADS.load(Ordering::Relaxed)
}

/// Does some work on each of a query's items, on as many threads as are used.
pub fn spread<I: Send>(items: impl Iterator<Item = I>, work: impl Fn(I) + Send + Sync) {
    let mut items: Vec<I> = items.collect();
    if items.len() < 2 || threads() < 2 {
        items.drain(..).for_each(work);
    } else {
        items.into_par_iter().with_max_len(1).for_each(work);
    }
}

/// What some work makes of each of a list's items, in the order of the list, on as many threads as are used.
pub fn each<I: Send, R: Send>(items: Vec<I>, work: impl Fn(I) -> R + Send + Sync) -> Vec<R> {
    match items.len() < 2 || threads() < 2 {
        true => items.into_iter().map(work).collect(),
        false => items.into_par_iter().with_max_len(1).map(work).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_worked_on_once() {
        use_threads(2);
        let mut numbers = vec![0; 100];
        spread(numbers.iter_mut().enumerate(), |(index, number)| *number += index);
        assert_eq!(numbers, (0..100).collect::<Vec<_>>());
        assert_eq!(each(numbers, |number| 2 * number), (0..100).map(|number| 2 * number).collect::<Vec<_>>());
    }
}
