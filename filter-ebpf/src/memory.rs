//! A table's two maps, as `filter_common::table` needs them.

use core::marker::PhantomData;

use filter_common::{
    connection::{Connection, Flow, Key},
    table::{BUCKET, LANES, Place, Slots},
};

use crate::{atomic, maps::CONFIG};

// An entry begins with its key.
const _: () = assert!(core::mem::offset_of!(Connection, key) == 0 && core::mem::offset_of!(Flow, key) == 0);

/// A directory and an array of `SLOTS` entries, which begin with their keys.
#[derive(Clone, Copy)]
pub(crate) struct Table<E, const SLOTS: usize> {
    tags: *mut u64,
    entries: *mut E,
    _entry: PhantomData<E>,
}

impl<E, const SLOTS: usize> Table<E, SLOTS> {
    const SLOT_MASK: u32 = SLOTS as u32 - 1;
    const WORD_MASK: u32 = SLOTS as u32 / LANES - 1;

    #[inline(always)]
    pub(crate) const fn new(tags: *mut u64, entries: *mut E) -> Self {
        Self { tags, entries, _entry: PhantomData }
    }

    /// Where a key may stand; `None` never happens, but the verifier can't know.
    #[inline(always)]
    pub(crate) fn place(key: &Key) -> Option<Place> {
        Some(Place::of(key, &CONFIG.get(0)?.hash_secret, SLOTS as u32 / BUCKET))
    }

    /// An entry.
    #[inline(always)]
    pub(crate) fn entry(&self, slot: u32) -> *mut E {
        // SAFETY: the mask keeps it within the table.
        unsafe { self.entries.add((slot & Self::SLOT_MASK) as usize) }
    }

    /// The key of an entry.
    #[inline(always)]
    pub(crate) fn key(&self, slot: u32) -> *const Key {
        self.entry(slot).cast_const().cast()
    }

    /// The interface slot of an entry's key.
    #[inline(always)]
    pub(crate) fn owner(&self, slot: u32) -> u32 {
        // SAFETY: it is within the table; other CPUs may change it, hence volatile.
        let word = unsafe { (&raw const (*self.key(slot)).0[4]).read_volatile() };
        u32::from((word >> 16) as u16)
    }

    #[inline(always)]
    fn tag_word(&self, word: u32) -> *mut u64 {
        // SAFETY: the mask keeps it within the directory.
        unsafe { self.tags.add((word & Self::WORD_MASK) as usize) }
    }
}

impl<E, const SLOTS: usize> Slots for Table<E, SLOTS> {
    #[inline(always)]
    fn word(&self, word: u32) -> u64 {
        // SAFETY: it is within the directory; other CPUs may change it, hence volatile.
        unsafe { self.tag_word(word).read_volatile() }
    }

    #[inline(always)]
    fn replace(&self, word: u32, old: u64, new: u64) -> bool {
        // SAFETY: it is within the directory.
        unsafe { atomic::replace(self.tag_word(word), old, new) }
    }

    #[inline(always)]
    fn add(&self, word: u32, delta: u64) {
        // SAFETY: it is within the directory.
        unsafe { atomic::fetch_add(self.tag_word(word), delta) };
    }

    #[inline(always)]
    fn has_key(&self, slot: u32, key: &Key) -> bool {
        // SAFETY: it is within the table. The words are compared one by one, without a helper.
        let other = unsafe { &(*self.key(slot)).0 };
        other[4] == key.0[4]
            && other[2] == key.0[2]
            && other[3] == key.0[3]
            && other[0] == key.0[0]
            && other[1] == key.0[1]
    }
}
