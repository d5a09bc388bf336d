//! Why HDF5 cannot read what is there, in words that say what to do: a file of a newer HDF5, or one compressed with a filter that is missing.

use crate::hdf5_library::filters;
use hdf5::Dataset;
use hdf5::filters::Filter;
use std::env::consts::DLL_EXTENSION;

/// HDF5's first layout of datasets that versions 1.10 to 1.14 cannot read came with this one.
const AFTER_1_14: &str = "HDF5 2.0 or later";

/// The version of HDF5 that this program has.
fn built_in() -> String {
    let (major, minor, patch) = hdf5::library_version();
    format!("HDF5 {major}.{minor}.{patch}")
}

/// What HDF5 says on a failure, and what it means where it says that something is of another version than it knows.
pub(crate) fn explained(error: &hdf5::Error) -> String {
    let stack = error.stack();
    let cause = stack.as_ref().and_then(|stack| stack.last()).map_or("", |frame| frame.desc());
    if !cause.contains("version") {
        return error.to_string();
    }
    let (major, minor, _) = hdf5::library_version();
    let needed = match (major, cause.contains("layout message")) {
        (1, true) => AFTER_1_14.to_owned(),
        _ => "a newer one".to_owned(),
    };
    let bound = if major == 1 { format!("v{major}{minor}") } else { format!("v{major}{minor}0") };
    format!(
        "its format is not known to {}, which this program has ({cause}); unless the file is damaged, it needs {needed}. \
         Write it in an older format: `h5repack OLD.h5 NEW.h5` with a newer HDF5, or in Python \
         `h5py.File(\"NEW.h5\", \"w\", libver=(\"earliest\", \"{bound}\"))`",
        built_in()
    )
}

/// The filters without which a dataset cannot be read, and what to do; nothing where all are there.
pub(crate) fn missing_filters(dataset: &Dataset) -> Option<String> {
    let missing: Vec<String> = filters(dataset)
        .ok()?
        .into_iter()
        .filter(|(id, _)| !Filter::get_info(*id).is_available)
        .map(|(id, name)| format!("{} (filter {id})", if name.is_empty() { well_known(id) } else { &name }))
        .collect();
    if missing.is_empty() {
        return None;
    }
    Some(format!(
        "it was written with {}, which {} does not have here. Write it without, where the filter is at hand \
         (`h5repack -f GZIP=4 OLD.h5 NEW.h5`, or in Python `create_dataset(…, compression=\"gzip\")`), \
         or name the folder of the filter's plugin (a .{DLL_EXTENSION} file) in HDF5_PLUGIN_PATH",
        missing.join(" and "),
        built_in()
    ))
}

/// The filters that HDF5 itself may lack; their names are in no file. Those of others are.
fn well_known(id: i32) -> &'static str {
    match id {
        1 => "gzip",
        4 => "szip",
        _ => "a filter without a name",
    }
}

#[cfg(test)]
mod tests {
    use crate::hdf5_file::File;
    use std::path::Path;

    #[test]
    fn a_missing_filter_is_named() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/hdf5/lzf.h5");
        let file = File::open(&path).unwrap();
        let (dataset, shape) = file.dataset("feat").unwrap();
        assert_eq!(shape, [4, 2, 16]);
        match file.floats(&dataset, "feat") {
            Ok(values) => assert!(hdf5::filters::lzf_available() && values[..16].iter().copied().eq((0..16).map(|value| value as f32))),
            Err(error) => {
                let (message, (major, minor, patch)) = (error.to_string(), hdf5::library_version());
                let start = format!(
                    "dataset \"feat\" cannot be read: it was written with lzf (filter 32000), which HDF5 {major}.{minor}.{patch} does not have here."
                );
                assert!(message.contains(&start) && message.contains("HDF5_PLUGIN_PATH"), "{message}");
            }
        }
    }
}
