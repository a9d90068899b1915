//! System calls that aya has no safe form of: single elements of maps by bytes, maps in memory,
//! facts about links, and a few calls about files.

use std::{
    ffi::CString,
    fs::File,
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    ptr::NonNull,
};

use aya_obj::generated::{bpf_attr, bpf_cmd, bpf_link_info, bpf_link_type};

/// `bpf(2)`.
fn bpf(command: bpf_cmd, attributes: &mut bpf_attr) -> io::Result<i64> {
    // SAFETY: the attributes live through the call and have the size that is passed; pointers in
    // them are set by the callers below to memory that outlives it.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command as libc::c_int, attributes, size_of::<bpf_attr>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Attributes with every byte zero, as the kernel wants unused ones.
fn attributes() -> bpf_attr {
    // SAFETY: a union of integers and arrays of them: all zero is a value of it.
    unsafe { std::mem::zeroed() }
}

fn descriptor(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn address<T>(pointer: *const T) -> u64 {
    pointer as usize as u64
}

/// Reads the value at `key`; `None` if there is none. `value` must be as long as the map's
/// values, for a per-CPU map as long as all of them together.
pub(crate) fn lookup(map: BorrowedFd<'_>, key: u32, value: &mut [u8]) -> io::Result<Option<()>> {
    let mut attributes = attributes();
    // SAFETY: these fields of the union are plain integers.
    let element = unsafe { &mut attributes.__bindgen_anon_2 };
    element.map_fd = descriptor(map);
    element.key = address(&raw const key);
    element.__bindgen_anon_1.value = address(value.as_mut_ptr());
    match bpf(bpf_cmd::BPF_MAP_LOOKUP_ELEM, &mut attributes) {
        Ok(_) => Ok(Some(())),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes the value at `key`; lengths as in [`lookup`].
pub(crate) fn update(map: BorrowedFd<'_>, key: u32, value: &[u8]) -> io::Result<()> {
    let mut attributes = attributes();
    // SAFETY: these fields of the union are plain integers.
    let element = unsafe { &mut attributes.__bindgen_anon_2 };
    element.map_fd = descriptor(map);
    element.key = address(&raw const key);
    element.__bindgen_anon_1.value = address(value.as_ptr());
    bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attributes).map(drop)
}

/// Removes the element at `key`; fine if there is none.
pub(crate) fn delete(map: BorrowedFd<'_>, key: u32) -> io::Result<()> {
    let mut attributes = attributes();
    // SAFETY: these fields of the union are plain integers.
    let element = unsafe { &mut attributes.__bindgen_anon_2 };
    element.map_fd = descriptor(map);
    element.key = address(&raw const key);
    match bpf(bpf_cmd::BPF_MAP_DELETE_ELEM, &mut attributes) {
        Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(error),
        _ => Ok(()),
    }
}

/// Opens the map of an id, as a map of maps names its elements.
pub(crate) fn map_by_id(id: u32) -> io::Result<OwnedFd> {
    let mut attributes = attributes();
    attributes.__bindgen_anon_6.__bindgen_anon_1.map_id = id;
    let fd = bpf(bpf_cmd::BPF_MAP_GET_FD_BY_ID, &mut attributes)?;
    // SAFETY: the call returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Opens what is pinned at a path.
pub(crate) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let mut attributes = attributes();
    attributes.__bindgen_anon_4.pathname = address(path.as_ptr());
    let fd = bpf(bpf_cmd::BPF_OBJ_GET, &mut attributes)?;
    // SAFETY: the call returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// What the kernel knows about a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// Id of its program.
    pub program: u32,
    /// Index of its device; 0 when the device is gone.
    pub ifindex: u32,
}

/// Facts about an XDP or TCX link; `None` if the descriptor is of another kind.
pub(crate) fn link(fd: BorrowedFd<'_>) -> io::Result<Option<Link>> {
    // SAFETY: a struct of integers and unions of them: all zero is a value of it.
    let mut info: bpf_link_info = unsafe { std::mem::zeroed() };
    let mut attributes = attributes();
    // SAFETY: these fields of the union are plain integers.
    let request = unsafe { &mut attributes.info };
    request.bpf_fd = descriptor(fd);
    request.info_len = size_of::<bpf_link_info>() as u32;
    request.info = address(&raw mut info);
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attributes)?;
    // SAFETY: the kernel filled the variant of the type; both are plain integers.
    let ifindex = unsafe {
        if info.type_ == bpf_link_type::BPF_LINK_TYPE_XDP as u32 {
            info.__bindgen_anon_1.xdp.ifindex
        } else if info.type_ == bpf_link_type::BPF_LINK_TYPE_TCX as u32 {
            info.__bindgen_anon_1.tcx.ifindex
        } else {
            return Ok(None);
        }
    };
    Ok(Some(Link { program: info.prog_id, ifindex }))
}

/// Takes a link off its hook now, however many hold it. Fine if its device is gone.
pub(crate) fn detach_link(fd: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = attributes();
    attributes.link_detach.link_fd = descriptor(fd);
    match bpf(bpf_cmd::BPF_LINK_DETACH, &mut attributes) {
        Err(error) if error.raw_os_error() != Some(libc::ENOLINK) => Err(error),
        _ => Ok(()),
    }
}

/// The value of an array map (`BPF_F_MMAPABLE`) in memory.
pub(crate) struct Mapping {
    start: NonNull<u8>,
    length: usize,
    writable: bool,
}

// SAFETY: the mapping is a region of shared memory; nothing about it belongs to a thread.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps `length` bytes of the map's values.
    pub(crate) fn new(map: BorrowedFd<'_>, length: usize, writable: bool) -> io::Result<Self> {
        let protection = if writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
        // SAFETY: a new mapping at an address that the kernel chooses.
        let start = unsafe {
            libc::mmap(std::ptr::null_mut(), length, protection, libc::MAP_SHARED, map.as_raw_fd(), 0)
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mmap returned null"))?;
        Ok(Self { start, length, writable })
    }

    /// The bytes, to be written. Only for maps that no program can see yet.
    pub(crate) fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        // SAFETY: the region is mapped for as long as `self` lives, and writable; by the
        // function's condition nobody else reads or writes it meanwhile.
        self.writable.then(|| unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) })
    }

    /// A copy of the value at a byte offset, as programs may be changing it: torn values are
    /// possible, undefined behaviour is not. `T` must be plain integers.
    pub(crate) fn read<T: Copy>(&self, offset: usize) -> Option<T> {
        let end = offset.checked_add(size_of::<T>())?;
        // SAFETY: the range lies in the mapping; a volatile read of shared memory at an offset
        // that the callers keep aligned, of a type for which every bit pattern is a value.
        (end <= self.length && offset.is_multiple_of(align_of::<T>()))
            .then(|| unsafe { self.start.as_ptr().add(offset).cast::<T>().read_volatile() })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly the region that `new` mapped; no reference to it outlives `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

/// Whether a path lies on a BPF file system.
pub(crate) fn is_bpffs(path: &Path) -> io::Result<bool> {
    let path = c_path(path)?;
    // SAFETY: a struct of integers.
    let mut facts: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are valid for the call.
    if unsafe { libc::statfs(path.as_ptr(), &raw mut facts) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(facts.f_type as u64 == libc::BPF_FS_MAGIC as u64)
}

/// Takes the file's exclusive lock; `false` if somebody else holds it.
pub(crate) fn try_lock(file: &File) -> io::Result<bool> {
    // SAFETY: a descriptor that is open during the call.
    if unsafe { libc::flock(file.as_fd().as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    if error.kind() == io::ErrorKind::WouldBlock { Ok(false) } else { Err(error) }
}

/// Whether the process acts as root.
pub(crate) fn is_root() -> bool {
    // SAFETY: no conditions.
    unsafe { libc::geteuid() == 0 }
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}
