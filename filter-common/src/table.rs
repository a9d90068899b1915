//! The flat, set-associative table: tags, buckets, and the protocol by which slots change hands.
//!
//! # The problem
//!
//! Every packet looks its connection up, and each helper call costs about as much as the whole
//! of the rest; the kernel's hash maps cost 37 to 174 ns, and its LRU evicts live connections.
//! The table must be read inline, work from several CPUs at once without locks, never lose an
//! established connection, and stay healthy with nobody sweeping it.
//!
//! # The structure
//!
//! Entries lie in one array, eight to a *bucket*. Beside it stands a directory with a 15-bit
//! *tag* per slot, four to a 64-bit word, two words to a bucket; the top bit of a bucket's first
//! word is its *lock*. A key may stand in two buckets, given by its hash, as its tag is. A search
//! compares four tags at a time and reads an entry only where a tag is equal: a miss touches two
//! small lines of the directory and no entry.
//!
//! A key goes to its first bucket while fewer than three slots of that are in use, else to the emptier
//! of the two. So most searches end in the first bucket, and the table is still filled as evenly: of
//! 1,048,576 slots, the first key that finds both of its buckets full comes at 71 % (the mean of sixty
//! simulated tables, from 67 to 73). With the emptier one from the beginning that is the same, but of
//! 100,000 keys a fifth stand in their second bucket, and not one in eighty; with the first one until
//! it is full, it comes at 31 %.
//!
//! The hash is NH (Black, Halevi, Krawczyk, Krovetz, Rogaway: "UMAC", 1999), then a multiplication
//! (Dietzfelbinger et al.: "A reliable randomized algorithm for the closest-pair problem", 1997). Both are
//! universal over their secrets: who does not know them cannot aim at a bucket.
//!
//! # How slots change hands
//!
//! A tag is 0 (free), 1 (*reserved*: one CPU owns the slot and fills it), or the key's. All
//! changes are atomic operations on the directory's word:
//!
//! - *claim*: compare-and-swap 0 → 1. The winner fills the entry.
//! - *seize*: compare-and-swap tag → 1, of an expired or half-open entry. The winner hands its
//!   counts over and fills it anew, or releases it.
//! - *publish*: add `tag - 1` to the lane. An addition cannot fail because of a neighbour.
//! - *release*: subtract 1 from a reserved lane.
//!
//! Two CPUs may open the same connection at once. So a key is inserted under the lock of its
//! first bucket, and searched once more there. Only insertion takes it, packets of known
//! connections never. It is held for some tens of instructions with no helper that can sleep (where
//! the buckets are full, for a look at their sixteen entries and the record of the evicted one),
//! and tried a bounded number of times. (That each searches again after publishing, and the later
//! one in some order withdraws, is not enough: the earlier one may come when the later one has
//! already looked. `several_threads_never_publish_a_key_twice` found it within 70 rounds.) And who
//! finds its key there but fails to seize its slot must give up, not claim another: the failure
//! may be a neighbour's doing, and the key still stand in its slot. The tests walk through every
//! interleaving of two and three CPUs on one pair of buckets (`tests/interleavings.rs`).
//!
//! # Cost
//!
//! A hit: the hash (three multiplications for IPv4, six for IPv6), one directory line, one line of an
//! entry, or two. Rejected: chaining
//! (pointer walks, allocation), cuckoo moves (an entry in flight is lost to other CPUs), LRU
//! (evicts the live), a lock for every packet.

use crate::connection::Key;

/// Slots of a bucket.
pub const BUCKET: u32 = 8;
/// Words of the directory per bucket.
pub const WORDS: u32 = 2;
/// Lanes of a word of the directory.
pub const LANES: u32 = 4;

/// Tag of a slot that nobody uses.
pub const FREE: u64 = 0;
/// Tag of a slot that is being filled.
pub const RESERVED: u64 = 1;

/// The lock of a bucket, in its first word.
const LOCK: u64 = 1 << 63;
/// 1 in every lane.
const ONES: u64 = 0x0001_0001_0001_0001;
/// The lanes' tag bits.
const TAGS: u64 = 0x7fff_7fff_7fff_7fff;

/// Up to so many free slots, a key goes to the emptier of its buckets.
const RATHER_EMPTY: u64 = 5;

/// Tries to take a lock. Its holder runs on another CPU, and is soon done unless the buckets are full.
/// (Tests walk through all interleavings, where more tries only make more states.)
const LOCK_TRIES: u32 = if cfg!(test) { 2 } else { 128 };
/// Tries of a compare-and-swap that neighbouring lanes can disturb.
const TRIES: u32 = 4;

/// Where a key may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its tag, 2 or above.
    pub tag: u64,
    /// First words of its two buckets in the directory.
    pub words: [u32; 2],
}

impl Place {
    /// The place of a key in a table of `buckets` buckets (a power of two, at least 2).
    #[inline(always)]
    #[must_use]
    pub const fn of(key: &Key, secret: &[u32; 12], buckets: u32) -> Self {
        /// A number below `buckets`, by the upper of 32 bits (Lemire: "Fast random integer generation
        /// in an interval", 2019).
        const fn scale(bits: u32, buckets: u32) -> u32 {
            ((bits as u64 * buckets as u64) >> 32) as u32
        }
        let hash = hash(key, secret);
        // The two buckets and the tag are told by different bits.
        let first = scale((hash >> 32) as u32, buckets);
        let mut second = scale((hash >> 14) as u32, buckets);
        if second == first {
            second ^= 1;
        }
        let mut tag = hash >> 13 & 0x7fff;
        if tag <= RESERVED {
            tag += 2;
        }
        Self { tag, words: [first * WORDS, second * WORDS] }
    }

    /// The directory word of the n-th group of candidate slots, `n` below 4.
    #[inline(always)]
    #[must_use]
    pub const fn word(&self, n: u32) -> u32 {
        (if n < WORDS { self.words[0] } else { self.words[1] }) + (n & 1)
    }
}

/// NH over the key's 32-bit words, of which an IPv4 key has four, multiplied by a secret odd number:
/// the upper bits depend on all, the lowest ones are of no use.
#[inline(always)]
#[must_use]
pub const fn hash(key: &Key, secret: &[u32; 12]) -> u64 {
    const fn product(word: u64, a: u32, b: u32) -> u64 {
        ((word >> 32) as u32).wrapping_add(a) as u64 * (word as u32).wrapping_add(b) as u64
    }
    let mut hash = product(key.0[0], secret[0], secret[1]);
    hash = hash.wrapping_add(product(key.0[1], secret[2], secret[3]));
    if !Key::is_short(key.0[0]) {
        hash = hash.wrapping_add(product(key.0[2], secret[4], secret[5]));
        hash = hash.wrapping_add(product(key.0[3], secret[6], secret[7]));
        hash = hash.wrapping_add(product(key.0[4], secret[8], secret[9]));
    }
    let odd = (secret[10] as u64) << 32 | secret[11] as u64 | 1;
    (hash ^ hash >> 32).wrapping_mul(odd)
}

/// A table's memory, as the protocol needs it.
pub trait Slots {
    /// A word of the directory.
    fn word(&self, word: u32) -> u64;
    /// Replaces a word of the directory if it is still `old`, with full ordering.
    fn replace(&self, word: u32, old: u64, new: u64) -> bool;
    /// Adds to a word of the directory, with full ordering.
    fn add(&self, word: u32, delta: u64);
    /// Whether a slot's entry has the key.
    fn has_key(&self, slot: u32, key: &Key) -> bool;
}

/// Whether some lane of a word has the tag.
#[inline(always)]
#[must_use]
pub const fn contains(word: u64, tag: u64) -> bool {
    equal_lanes(word, tag) != 0
}

/// The top bit of each lane that has the tag.
#[inline(always)]
const fn equal_lanes(word: u64, tag: u64) -> u64 {
    // Lanes hold 15 bits, so adding 0x7fff carries into a lane's own top bit unless it is zero.
    let difference = (word & TAGS) ^ tag.wrapping_mul(ONES);
    !difference.wrapping_add(TAGS) & !TAGS
}

/// The tag in a lane of a word.
#[inline(always)]
#[must_use]
pub const fn lane(word: u64, lane: u32) -> u64 {
    word >> (lane * 16) & 0x7fff
}

/// The tag of a slot.
#[inline(always)]
#[must_use]
pub fn tag_of<S: Slots>(slots: &S, slot: u32) -> u64 {
    lane(slots.word(slot / LANES), slot % LANES)
}

/// The first slot that holds a key.
#[inline(always)]
pub fn find<S: Slots>(slots: &S, place: &Place, key: &Key) -> Option<u32> {
    for n in 0..2 * WORDS {
        let index = place.word(n);
        let word = slots.word(index);
        if !contains(word, place.tag) {
            continue;
        }
        // Branches, and no arithmetic on the lanes: a processor that guesses the lane fetches the
        // entry while the tags are still on their way.
        for l in 0..LANES {
            if lane(word, l) == place.tag {
                let slot = index * LANES + l;
                // The tag is read again: had the slot changed hands meanwhile, the key's words
                // could be of two connections. (Of two with the tag of this third one they still
                // could: odds of 2^-30 in a moment of a few nanoseconds.)
                if slots.has_key(slot, key) && lane(slots.word(index), l) == place.tag {
                    return Some(slot);
                }
            }
        }
    }
    None
}

/// Changes a slot's tag if it is still `from`.
#[inline(always)]
pub fn change<S: Slots>(slots: &S, slot: u32, from: u64, to: u64) -> bool {
    let index = slot / LANES;
    let shift = slot % LANES * 16;
    for _ in 0..TRIES {
        let word = slots.word(index);
        if word >> shift & 0x7fff != from {
            return false;
        }
        if slots.replace(index, word, word & !(0x7fff << shift) | to << shift) {
            return true;
        }
    }
    false
}

/// Takes the lock under which a key is inserted. False if it stays taken.
#[inline(always)]
#[must_use]
pub fn lock<S: Slots>(slots: &S, place: &Place) -> bool {
    for _ in 0..LOCK_TRIES {
        let word = slots.word(place.words[0]);
        if word & LOCK == 0 && slots.replace(place.words[0], word, word | LOCK) {
            return true;
        }
    }
    false
}

/// Gives the lock back; only who has taken it may.
#[inline(always)]
pub fn unlock<S: Slots>(slots: &S, place: &Place) {
    // Of a set top bit, adding it leaves nothing; lanes below are untouched.
    slots.add(place.words[0], LOCK);
}

/// Claims a free slot of a key: in its first bucket while that is rather empty, else in the emptier
/// of the two.
#[inline(always)]
pub fn claim<S: Slots>(slots: &S, place: &Place) -> Option<u32> {
    let first = free_lanes(slots, place.words[0]);
    let second = free_lanes(slots, place.words[1]);
    let elsewhere = first <= RATHER_EMPTY && second > first;
    let order = if elsewhere { [place.words[1], place.words[0]] } else { place.words };
    for index in [order[0], order[0] + 1, order[1], order[1] + 1] {
        let word = slots.word(index);
        if !contains(word, FREE) {
            continue;
        }
        for l in 0..LANES {
            let slot = index * LANES + l;
            if lane(word, l) == FREE && change(slots, slot, FREE, RESERVED) {
                return Some(slot);
            }
        }
    }
    None
}

/// Free lanes of a bucket, without a branch: the verifier would follow all combinations.
#[inline(always)]
fn free_lanes<S: Slots>(slots: &S, bucket: u32) -> u64 {
    let count = |word| (equal_lanes(word, FREE) >> 15).wrapping_mul(ONES) >> 48;
    count(slots.word(bucket)) + count(slots.word(bucket + 1))
}

/// Makes a reserved slot findable by its tag.
#[inline(always)]
pub fn publish<S: Slots>(slots: &S, slot: u32, tag: u64) {
    slots.add(slot / LANES, (tag - RESERVED) << (slot % LANES * 16));
}

/// Gives a reserved slot back.
#[inline(always)]
pub fn release<S: Slots>(slots: &S, slot: u32) {
    slots.add(slot / LANES, (RESERVED << (slot % LANES * 16)).wrapping_neg());
}

#[cfg(test)]
mod tests;
