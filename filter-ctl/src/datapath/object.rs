//! The embedded kernel programs: what they declare, and how they are loaded.

use std::{io::ErrorKind, path::Path};

use aya::{Ebpf, EbpfLoader, include_bytes_aligned, maps::MapInfo, programs::ProgramError};
use aya_obj::Object;
use filter_common::abi::{self, globals, maps};

use super::{error::Error, places::Places};

/// The object that the build script made; empty where it could not.
static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/filter-ebpf.o"));

/// The load-time constants of one interface's programs.
#[derive(Clone, Copy, Debug)]
pub struct Constants {
    /// Slot in every per-interface map.
    pub slot: u32,
    /// Which end of the link the device is.
    pub side: abi::Side,
    /// What its frames begin with.
    pub link: abi::Link,
    /// Until which tick older connections are picked up.
    pub grace_until: u64,
    /// Stamps for which later fragments follow a first one.
    pub fragment_stamps: u32,
    /// Whether the programs log what they drop, for `filter-ctl debug`.
    pub debug: bool,
}

/// The embedded object.
///
/// # Errors
///
/// If this binary was built without it.
pub fn bytes() -> Result<&'static [u8], Error> {
    if OBJECT.is_empty() { Err(Error::NoPrograms) } else { Ok(OBJECT) }
}

/// Loads the object into the kernel: its maps are created and pinned, or the pinned ones reused;
/// its programs are not loaded yet.
///
/// # Errors
///
/// If a pinned map has another shape, or the kernel refuses.
pub fn load(places: &Places, constants: Option<&Constants>) -> Result<Ebpf, Error> {
    let object = bytes()?;
    check_shapes(object, places)?;
    let mut loader = EbpfLoader::new();
    for name in maps::PINNED {
        loader.map_pin_path(name, places.maps().join(name));
    }
    let (side, link, level);
    if let Some(constants) = constants {
        side = constants.side as u8;
        link = constants.link as u8;
        level = if constants.debug { log::Level::Debug as u8 } else { 0 };
        loader.override_global(aya_log::LEVEL, &level, true);
        loader.override_global(globals::SLOT, &constants.slot, true);
        loader.override_global(globals::SIDE, &side, true);
        loader.override_global(globals::LINK, &link, true);
        loader.override_global(globals::GRACE_UNTIL, &constants.grace_until, true);
        loader.override_global(globals::FRAGMENT_STAMPS, &constants.fragment_stamps, true);
    }
    Ok(loader.load(object)?)
}

/// How often a program is given to the verifier, which gives up when a signal arrives. As many
/// times as libbpf does.
const TRIES: u32 = 5;

/// Loads a program, and again if a signal interrupted the verifier: being stopped and continued
/// is enough.
///
/// # Errors
///
/// What the kernel's last answer was.
pub fn load_program(mut load: impl FnMut() -> Result<(), ProgramError>) -> Result<(), ProgramError> {
    for _ in 1..TRIES {
        match load() {
            Err(ProgramError::LoadError { io_error, .. }) if io_error.kind() == ErrorKind::WouldBlock => {}
            done => return done,
        }
    }
    load()
}

/// Compares every pinned map with what the object declares. aya reuses a pin of any shape, and
/// the kernel would then write values of its size into memory of ours.
fn check_shapes(object: &[u8], places: &Places) -> Result<(), Error> {
    let object = parse(object)?;
    for name in maps::PINNED {
        let expected = object.maps.get(name).ok_or_else(|| Error::MissingSymbol(name.to_owned()))?;
        let path = places.maps().join(name);
        if path.exists() {
            compare(&path, &MapInfo::from_pin(&path)?, expected)?;
        }
    }
    Ok(())
}

fn compare(path: &Path, found: &MapInfo, expected: &aya_obj::Map) -> Result<(), Error> {
    // A number that the kernel made of the type cannot be asked back: aya's names are compared.
    let kind = found.map_type()? as u32;
    for (what, found, expected) in [
        ("type", kind, expected.map_type()),
        ("key size", found.key_size(), expected.key_size()),
        ("value size", found.value_size(), expected.value_size()),
        ("size", found.max_entries(), expected.max_entries()),
        ("flags", found.map_flags(), expected.map_flags()),
    ] {
        // The value of a map of maps is an id to the kernel, whatever the object says.
        if found != expected {
            let difference = format!("{what} {found}, expected {expected}");
            return Err(Error::Shape { path: path.to_owned(), difference });
        }
    }
    Ok(())
}

/// The definition of a tier's inner map, as the outer map's template has it: (flags, value size).
///
/// # Errors
///
/// If the object has no such outer map.
pub fn inner_template(outer: &str) -> Result<(u32, u32), Error> {
    let object = parse(bytes()?)?;
    let missing = || Error::MissingSymbol(outer.to_owned());
    let inner = object.maps.get(outer).and_then(aya_obj::Map::inner).ok_or_else(missing)?;
    Ok((inner.map_flags(), inner.value_size()))
}

fn parse(object: &[u8]) -> Result<Object, Error> {
    Object::parse(object).map_err(|error| Error::Load(error.into()))
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// Whether it was loaded, and after how many tries, if so many of them fail with an error.
    fn load_after(failures: u32, error: i32) -> (bool, u32) {
        let mut tries = 0;
        let loaded = load_program(|| {
            tries += 1;
            if tries > failures {
                return Ok(());
            }
            let io_error = io::Error::from_raw_os_error(error);
            Err(ProgramError::LoadError { io_error, verifier_log: aya_obj::VerifierLog::new(String::new()) })
        });
        (loaded.is_ok(), tries)
    }

    #[test]
    fn an_interrupted_verifier_is_asked_again() {
        assert_eq!(load_after(2, libc::EAGAIN), (true, 3));
        assert_eq!(load_after(u32::MAX, libc::EAGAIN), (false, TRIES));
        assert_eq!(load_after(1, libc::EACCES), (false, 1));
    }

    /// LLVM merges equal constants: with a load-time constant that is initialised to 0, every
    /// `&0` of the programs (the key of a one-entry array) may be that constant's memory, which
    /// the loader then overwrites. Seen: no program found its policy any more.
    #[test]
    fn load_time_constants_have_initial_values_that_no_other_constant_has() {
        let Ok(bytes) = bytes() else { return };
        let rodata = |patch: Option<(&str, &[u8])>| {
            let mut object = parse(bytes).expect("an object");
            let globals = patch.map(|(name, value)| (name, (value, true))).into_iter().collect();
            object.patch_map_data(globals).expect("the constant is there");
            object.maps[".rodata"].data().to_vec()
        };
        for (name, size) in [
            (globals::SLOT, 4),
            (globals::SIDE, 1),
            (globals::LINK, 1),
            (globals::GRACE_UNTIL, 8),
            (globals::FRAGMENT_STAMPS, 4),
        ] {
            let zero = vec![0; size];
            assert_ne!(rodata(None), rodata(Some((name, &zero))), "{name} is initialised to zero");
        }
    }
}
