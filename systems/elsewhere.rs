//! Work for a thread that has nothing else to do: there are such where fewer cohorts step than there are threads.

use optogen::Result;
use std::sync::{Arc, Mutex, PoisonError};

/// Work that is done elsewhere, and then its result.
pub(crate) struct Elsewhere<T>(Arc<Mutex<Option<T>>>);

impl<T: Send + 'static> Elsewhere<T> {
    /// Has some work done.
    pub fn start(work: impl FnOnce() -> T + Send + 'static) -> Self {
        let place = Arc::new(Mutex::new(None));
        let own = place.clone();
        rayon::spawn(move || {
            Self::put(&own, work());
        });
        Self(place)
    }

    fn put(place: &Mutex<Option<T>>, result: T) {
        *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
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

impl Elsewhere<Result<()>> {
    /// Has something written, on a thread of its own: it waits for the disk most of the time, and would keep others from theirs.
    pub fn write(work: impl FnOnce() -> Result<()> + Send + 'static) -> Self {
        let place = Arc::new(Mutex::new(None));
        let write = Arc::new(Mutex::new(Some(work)));
        let (own, there) = (place.clone(), write.clone());
        // Where the system gives no further thread, it is written here.
        if std::thread::Builder::new().name("optogen-writes".into()).spawn(move || Self::write_to(&own, &there)).is_err() {
            Self::write_to(&place, &write);
        }
        Self(place)
    }

    fn write_to<W: FnOnce() -> Result<()>>(place: &Mutex<Option<Result<()>>>, work: &Mutex<Option<W>>) {
        let work = work.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(work) = work {
            Self::put(place, work());
        }
    }
}

/// Something that is written elsewhere, if anything is.
#[derive(Default)]
pub(crate) struct Task(Option<Elsewhere<Result<()>>>);

impl Task {
    /// Of something that was begun.
    pub fn begun(work: Elsewhere<Result<()>>) -> Self {
        Self(Some(work))
    }

    /// Whether it is not done, or nobody has asked how it went.
    pub fn is_underway(&self) -> bool {
        self.0.is_some()
    }

    /// How it went, if it is done; with `wait` it is waited for.
    pub fn settle(&mut self, wait: bool) -> Result<()> {
        let Some(work) = &self.0 else { return Ok(()) };
        let Some(done) = (if wait { Some(work.wait()) } else { work.done() }) else { return Ok(()) };
        self.0 = None;
        done
    }
}
