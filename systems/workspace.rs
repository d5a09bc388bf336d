//! Each thread's memory for the fused passes of whatever models it works on.

use optogen::fused::Workspace;
use std::cell::RefCell;

thread_local! {
    static WORKSPACE: RefCell<Workspace> = RefCell::default();
}

/// Does some work with this thread's memory for it.
pub(crate) fn with_workspace<R>(work: impl FnOnce(&mut Workspace) -> R) -> R {
    WORKSPACE.with_borrow_mut(work)
}
