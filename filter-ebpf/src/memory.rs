//! A table's two maps, as `filter_common::table` needs them.

use core::marker::PhantomData;

use filter_common::{
    connection::{Key, REST_OF_KEY, SHORT_KEY},
    table::{BUCKET, LANES, Place, Slots},
};

use crate::{atomic, maps::CONFIG, verifier};

/// A directory and an array of `SLOTS` entries, with their keys in the places that [`REST_OF_KEY`] tells.
#[derive(Clone, Copy)]
pub(crate) struct Table<E, const SLOTS: usize> {
    tags: *mut u64,
    entries: *mut E,
    _entry: PhantomData<E>,
}

impl<E, const SLOTS: usize> Table<E, SLOTS> {
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
        unsafe { self.entries.add(below(slot, SLOTS)) }
    }

    /// A word of an entry's key.
    #[inline(always)]
    fn key_word(&self, slot: u32, n: usize) -> u64 {
        let n = if n < SHORT_KEY { n } else { REST_OF_KEY + n - SHORT_KEY };
        // SAFETY: it is within the entry; other CPUs may change it, hence volatile.
        unsafe { self.entry(slot).cast::<u64>().add(n).read_volatile() }
    }

    /// Writes the key of an entry.
    ///
    /// # Safety
    ///
    /// The entry is reserved by the caller.
    #[inline(always)]
    pub(crate) unsafe fn write_key(&self, slot: u32, key: &Key) {
        let words: *mut u64 = self.entry(slot).cast();
        // SAFETY: within the entry, which is the caller's.
        unsafe {
            *words = key.0[0];
            *words.add(1) = key.0[1];
            *words.add(REST_OF_KEY) = key.0[2];
            *words.add(REST_OF_KEY + 1) = key.0[3];
            *words.add(REST_OF_KEY + 2) = key.0[4];
        }
    }

    /// The interface slot of an entry's key.
    #[inline(always)]
    pub(crate) fn owner(&self, slot: u32) -> u32 {
        Key::slot_of(self.key_word(slot, 0)).into()
    }

    #[inline(always)]
    fn tag_word(&self, word: u32) -> *mut u64 {
        // SAFETY: the mask keeps it within the directory.
        unsafe { self.tags.add(below(word, SLOTS / LANES as usize)) }
    }
}

/// An index below a power of two, by a mask that LLVM cannot find needless: it knows that a bucket's
/// number is small, which an old verifier has forgotten (before Linux 6.8 at least).
#[inline(always)]
fn below(index: u32, limit: usize) -> usize {
    verifier::opaque(index as usize) & (limit - 1)
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
        // One by one, without a helper; the short part tells an IPv4 key.
        let same = |n: usize| self.key_word(slot, n) == key.0[n];
        same(0) && same(1) && (Key::is_short(key.0[0]) || same(2) && same(3) && same(4))
    }
}
