//! The kernels on the CPU, for tests: compiled as C++ and called with the arguments that the GPU would get.

use candle_core::{CpuStorage, Error, Result, Storage};
use libloading::{Library, Symbol};
use std::ffi::c_void;
use std::process::Command;
use std::sync::OnceLock;

static LIBRARY: OnceLock<Option<Library>> = OnceLock::new();

/// Whether there is a C++ compiler, and so the kernels.
pub(super) fn is_there() -> bool {
    LIBRARY.get_or_init(library).is_some()
}

fn library() -> Option<Library> {
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
    if Command::new(&compiler).arg("--version").output().is_err() {
        eprintln!("the kernels for GPUs are not tested: there is no C++ compiler {compiler}");
        return None;
    }
    let kernels = include_str!("kernels.cu");
    let names = kernels.lines().filter_map(|line| line.strip_prefix("KERNEL ")?.split('(').next());
    let entries: String = names
        .map(|name| format!("extern \"C\" void run_{name}(unsigned blocks, void **given) {{ launch({name}, blocks, given); }}\n"))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let (source, library) = (folder.path().join("kernels.cpp"), folder.path().join("kernels.so"));
    std::fs::write(&source, format!("{}\n{kernels}\n{entries}", include_str!("host.h"))).unwrap();
    let options =
        ["-std=c++17", "-O1", "-Wall", "-Werror", "-ffp-contract=off", "-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"];
    let compiled = Command::new(&compiler).args(options).args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).output().unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    // SAFETY: what was just compiled does nothing when it is loaded.
    Some(unsafe { Library::new(library) }.unwrap())
}

/// Runs a kernel as the GPU's `launch` does, and finds out what it does not write, or writes behind its outputs.
pub(super) fn launch<const N: usize>(kernel: &'static str, blocks: usize, sizes: [usize; N], mut words: Vec<u64>) -> Result<[Storage; N]> {
    const BEYOND: usize = 16;
    let mut outputs: Vec<Vec<u32>> = sizes.iter().map(|size| vec![UNWRITTEN; size + BEYOND]).collect();
    words[1..].iter_mut().zip(&mut outputs).for_each(|(word, output)| *word = output.as_mut_ptr() as u64);
    let mut given: Vec<*mut c_void> = words.iter_mut().map(|word| std::ptr::from_mut(word).cast()).collect();
    let Some(Some(library)) = LIBRARY.get() else { return Err(Error::Msg("there is no C++ compiler".into())) };
    // One thread: the place in the grid is a global variable there.
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let guard = ONE_AT_A_TIME.lock();
    // SAFETY: the words are the kernel's arguments, in its order; that they are, is what the tests are for.
    unsafe {
        let run: Symbol<unsafe extern "C" fn(u32, *mut *mut c_void)> = library.get(format!("run_{kernel}").as_bytes()).unwrap();
        run(blocks as u32, given.as_mut_ptr());
    }
    drop(guard);
    let storages = outputs.into_iter().zip(sizes).map(|(mut output, size)| {
        assert!(output.split_off(size).iter().all(|&word| word == UNWRITTEN), "{kernel} writes beyond an output");
        assert!(!output.contains(&UNWRITTEN), "{kernel} leaves a part of an output unwritten");
        Storage::Cpu(CpuStorage::F32(output.into_iter().map(f32::from_bits).collect()))
    });
    storages.collect::<Vec<_>>().try_into().map_err(|_| Error::Msg("a kernel has lost an output".into()))
}

/// A number that is none, and that no computation gives.
const UNWRITTEN: u32 = 0x7fc5_a5a5;
