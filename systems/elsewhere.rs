//! Work for a thread that has nothing else to do: there are such where fewer cohorts step than there are threads.

use std::sync::{Arc, Mutex, PoisonError};

/// Work that is done elsewhere, and then its result.
pub(crate) struct Elsewhere<T>(Arc<Mutex<Option<T>>>);

impl<T: Send + 'static> Elsewhere<T> {
    /// Has some work done.
    pub fn start(work: impl FnOnce() -> T + Send + 'static) -> Self {
        let place = Arc::new(Mutex::new(None));
        let own = place.clone();
        rayon::spawn(move || {
            let result = work();
            *own.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        });
        Self(place)
    }

    /// The result, once it is there.
    pub fn done(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Waits for the result. Whoever waits does what there is to do.
    pub fn wait(&self) -> T {
        loop {
            if let Some(result) = self.done() {
                return result;
            }
            if rayon::yield_now() != Some(rayon::Yield::Executed) {
                std::thread::yield_now();
            }
        }
    }
}
