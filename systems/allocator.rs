//! The program's allocator: mimalloc, and words where the system has no more memory to give.

use mimalloc::MiMalloc;
use std::alloc::{GlobalAlloc, Layout};
use std::io::Write;

/// The exit code of a program that the system gives no more memory.
const OUT_OF_MEMORY: i32 = 71;

/// Allocates by mimalloc. What surely does not fit is refused beforehand, by its key; whatever else there is no memory for ends the program, and the size
/// that was wanted is said, in place of an abort or a panic. Runs are left as by a kill, from which they can be resumed.
struct Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

// SAFETY: everything is done by mimalloc; who gets no memory does not go on.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        given(unsafe { MiMalloc.alloc(layout) }, layout.size())
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        given(unsafe { MiMalloc.alloc_zeroed(layout) }, layout.size())
    }

    #[inline]
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        given(unsafe { MiMalloc.realloc(pointer, layout, size) }, size)
    }

    #[inline]
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { MiMalloc.dealloc(pointer, layout) }
    }
}

#[inline]
fn given(memory: *mut u8, size: usize) -> *mut u8 {
    if memory.is_null() { end(size) } else { memory }
}

/// Says how much was wanted, without taking any memory for it.
#[cold]
fn end(size: usize) -> ! {
    let (wanted, unit) = if size < 1_000_000 { (size as f64 / 1e3, "kB") } else { (size as f64 / 1e6, "MB") };
    let mut text = [0; 200];
    let mut rest = &mut text[..];
    let message = "more of memory were wanted, and the system gives this program no more";
    let _ = writeln!(rest, "error: {wanted:.1} {unit} {message}");
    let length = 200 - rest.len();
    // SAFETY: the buffer is as long as it is said to be. No destructor runs: they might want memory, or what other threads hold.
    unsafe {
        libc::write(2, text.as_ptr().cast(), length);
        libc::_exit(OUT_OF_MEMORY)
    }
}
