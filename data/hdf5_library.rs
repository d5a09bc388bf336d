//! The little of HDF5's C interface that the `hdf5` crate does not wrap: files in memory, what links and filters are called, and what virtual
//! datasets are made of. All unsafe code of this crate is here, and every call is made under the lock of `hdf5`, since the library serves one
//! thread at a time.

use hdf5::plist::FileAccess;
use hdf5::sync::sync;
use hdf5::{Dataset, Dataspace, File, Group, Result, from_id, h5check};
use hdf5_sys::h5f::{H5F_ACC_RDONLY, H5Fopen};
use hdf5_sys::h5l::H5Lget_val;
use hdf5_sys::h5p::{
    H5P_DEFAULT, H5Pget_filter2, H5Pget_nfilters, H5Pget_virtual_count, H5Pget_virtual_dsetname, H5Pget_virtual_filename,
    H5Pget_virtual_srcspace, H5Pget_virtual_vspace, H5Pset_file_image,
};
use hdf5_sys::h5s::{
    H5S_sel_type, H5S_seloper_t, H5Sget_select_bounds, H5Sget_select_npoints, H5Sget_select_type, H5Sget_simple_extent_ndims,
    H5Smodify_select,
};
use std::ffi::{CStr, CString, c_char};
use std::ptr::null_mut;

/// Longest target of a link that is read whole: the longest path, and a name in the file behind it.
const LINK: usize = 8192;

/// Longest name of a filter that is read whole.
const FILTER: usize = 256;

/// Bytes that HDF5 takes for itself, from C's allocator.
const ROOM: usize = 8_000_000;

/// What HDF5 wants for a file of which it keeps so many bytes, if the system does not give it: HDF5 does not survive it everywhere when there is
/// nothing.
pub(crate) fn lacking_room(kept: usize) -> Option<usize> {
    let wanted = ROOM + kept;
    // SAFETY: what was given is given back, and nobody looks at it.
    let given = unsafe {
        let room = std::hint::black_box(libc::malloc(wanted));
        libc::free(room);
        !room.is_null()
    };
    (!given).then_some(wanted)
}

/// Opens a file that lies in memory, for reading, under a name. The library keeps a copy of it until it is closed.
pub(crate) fn open_image(name: &str, image: &[u8]) -> Result<File> {
    // A file of this name must not be there.
    let name = c_string(&format!("/dev/null/{name}"))?;
    let access = FileAccess::build().core_filebacked(false).finish()?;
    sync(|| {
        // SAFETY: the library copies the image before it returns, and does not write to it.
        h5check(unsafe { H5Pset_file_image(access.id(), image.as_ptr().cast_mut().cast(), image.len()) })?;
        // SAFETY: the name ends with a zero.
        let id = h5check(unsafe { H5Fopen(name.as_ptr(), H5F_ACC_RDONLY, access.id()) })?;
        // SAFETY: the identifier is new, and belongs to nobody else.
        unsafe { from_id(id) }
    })
}

/// What the library keeps for a soft or external link of a group: the path that it leads to, or a byte, a file and the path in it, each with a
/// zero behind it, and zeros to the end.
pub(crate) fn link_value(group: &Group, name: &str) -> Result<Vec<u8>> {
    let name = c_string(name)?;
    let mut value = vec![0_u8; LINK];
    // SAFETY: the name ends with a zero, and no more is written than the buffer holds.
    sync(|| h5check(unsafe { H5Lget_val(group.id(), name.as_ptr(), value.as_mut_ptr().cast(), value.len(), H5P_DEFAULT) }))?;
    Ok(value)
}

/// The filters that a dataset was written with, by number and name; the name is empty where the file has none.
pub(crate) fn filters(dataset: &Dataset) -> Result<Vec<(i32, String)>> {
    let list = dataset.create_plist()?;
    sync(|| {
        // SAFETY: the list is open.
        let count = h5check(unsafe { H5Pget_nfilters(list.id()) })?;
        let filter = |index| {
            let (mut flags, mut values, mut name) = (0, 0, [0; FILTER]);
            let name_at: *mut c_char = name.as_mut_ptr().cast();
            // SAFETY: no values are asked for, and no more of the name is written than the buffer holds.
            let id = unsafe {
                H5Pget_filter2(list.id(), index, &raw mut flags, &raw mut values, null_mut(), name.len() - 1, name_at, null_mut())
            };
            Ok((h5check(id)?, until_zero(&name)))
        };
        (0..count.unsigned_abs()).map(filter).collect()
    })
}

/// A part of a virtual dataset: which values of which other dataset stand in it.
pub(crate) struct Mapping {
    /// The file of the other dataset, as it is written in this one; `.` is this one itself.
    pub(crate) file: String,
    /// Its name there.
    pub(crate) dataset: String,
    /// How many values; none where their number depends on the other dataset's.
    pub(crate) values: Option<u64>,
    /// How long each axis of the other dataset must be to hold them; none where they are all of its values.
    pub(crate) ends: Option<Vec<u64>>,
}

/// The parts of a virtual dataset, and how many different values of it they give together, unless one is of no fixed number.
pub(crate) fn mappings(dataset: &Dataset) -> Result<(Vec<Mapping>, Option<u64>)> {
    let list = dataset.create_plist()?;
    sync(|| {
        let id = list.id();
        let mut count = 0;
        // SAFETY: the list is open, and `count` is there to be written to.
        h5check(unsafe { H5Pget_virtual_count(id, &raw mut count) })?;
        let mut all = Vec::new();
        let mut together: Option<Dataspace> = None;
        for index in 0..count {
            // SAFETY: both write no more than the size that they are given.
            let file = text(|to, size| unsafe { H5Pget_virtual_filename(id, index, to, size) })?;
            let dataset = text(|to, size| unsafe { H5Pget_virtual_dsetname(id, index, to, size) })?;
            // SAFETY: the identifiers are new, and belong to nobody else.
            let own: Dataspace = unsafe { from_id(h5check(H5Pget_virtual_vspace(id, index))?)? };
            let others: Dataspace = unsafe { from_id(h5check(H5Pget_virtual_srcspace(id, index))?)? };
            let values = selected(&own);
            if values.is_some() {
                match &together {
                    Some(all) if is_all(all) => {}
                    // SAFETY: both are open, of the extent of the dataset, and selections of parts of it.
                    Some(all) if !is_all(&own) => {
                        _ = h5check(unsafe { H5Smodify_select(all.id(), H5S_seloper_t::H5S_SELECT_OR, own.id()) })?
                    }
                    _ => together = Some(own),
                }
            }
            all.push(Mapping { file, dataset, values, ends: ends(&others)? });
        }
        let fixed = all.iter().all(|mapping| mapping.values.is_some());
        let different = fixed.then(|| together.as_ref().map_or(Some(0), selected)).flatten();
        Ok((all, different))
    })
}

/// How many values of a space are selected; none where that is without a limit.
fn selected(space: &Dataspace) -> Option<u64> {
    // SAFETY: the space is open.
    u64::try_from(sync(|| unsafe { H5Sget_select_npoints(space.id()) })).ok()
}

/// Whether all of a space is selected, whatever its size.
fn is_all(space: &Dataspace) -> bool {
    // SAFETY: the space is open.
    sync(|| unsafe { H5Sget_select_type(space.id()) }) == H5S_sel_type::H5S_SEL_ALL
}

/// One more than the largest index that is selected, for each axis; none where all is.
fn ends(space: &Dataspace) -> Result<Option<Vec<u64>>> {
    if is_all(space) {
        return Ok(None);
    }
    // SAFETY: the space is open, and there are as many entries to be written to as it has axes.
    unsafe {
        let axes = h5check(H5Sget_simple_extent_ndims(space.id()))?.unsigned_abs() as usize;
        let (mut first, mut last) = (vec![0; axes], vec![0; axes]);
        h5check(H5Sget_select_bounds(space.id(), first.as_mut_ptr(), last.as_mut_ptr()))?;
        Ok(Some(last.into_iter().map(|last| last.saturating_add(1)).collect()))
    }
}

/// A text of the library: asked for its length first, then for itself.
fn text(mut get: impl FnMut(*mut c_char, usize) -> isize) -> Result<String> {
    let length = h5check(get(null_mut(), 0))?.unsigned_abs();
    let mut bytes = vec![0_u8; length + 1];
    h5check(get(bytes.as_mut_ptr().cast(), bytes.len()))?;
    Ok(until_zero(&bytes))
}

/// The text before the first zero.
pub(crate) fn until_zero(bytes: &[u8]) -> String {
    CStr::from_bytes_until_nul(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), CStr::to_string_lossy).into_owned()
}

fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| format!("{text:?} has a zero in it").into())
}
