//! Readers of other crates, which may panic on bytes that are not what they should be.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Whether what runs on this thread is guarded: a panic in it will become an error, so there is no need to report it.
pub fn is_guarded() -> bool {
    GUARDED.get()
}

/// Runs a foreign reader; nothing if it panics. What it leaves behind is dropped, so nothing half-read is seen again.
pub fn guarded<T>(read: impl FnOnce() -> T) -> Option<T> {
    let before = GUARDED.replace(true);
    let read = catch_unwind(AssertUnwindSafe(read)).ok();
    GUARDED.set(before);
    read
}
