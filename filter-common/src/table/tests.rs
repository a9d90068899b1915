use std::{
    cell::UnsafeCell,
    sync::atomic::{AtomicU64, Ordering},
};

mod interleavings;
mod model;

use super::*;
use crate::{
    address::{Address, Family},
    connection::KeyParts,
    service::TCP,
};

/// A small table in user space's memory, with the kernel's operations.
struct Memory {
    words: Vec<AtomicU64>,
    keys: Vec<UnsafeCell<Key>>,
}

// SAFETY: a key is written only by the owner of a reserved slot; a torn read of it is what the
// protocol must bear, and is made with volatile reads as in the kernel.
unsafe impl Sync for Memory {}

impl Memory {
    fn new(buckets: u32) -> Self {
        Self {
            words: (0..buckets * WORDS).map(|_| AtomicU64::new(0)).collect(),
            keys: (0..buckets * BUCKET).map(|_| UnsafeCell::new(Key([0; 5]))).collect(),
        }
    }

    fn write(&self, slot: u32, key: &Key) {
        // SAFETY: the slot is reserved by the caller.
        unsafe { self.keys[slot as usize].get().write_volatile(*key) }
    }

    fn holders(&self, key: &Key) -> usize {
        let published = (0..self.keys.len() as u32)
            .filter(|slot| tag_of(self, *slot) > RESERVED && self.has_key(*slot, key));
        published.count()
    }
}

impl Slots for Memory {
    fn word(&self, word: u32) -> u64 {
        self.words[word as usize].load(Ordering::SeqCst)
    }

    fn replace(&self, word: u32, old: u64, new: u64) -> bool {
        self.words[word as usize].compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    fn add(&self, word: u32, delta: u64) {
        self.words[word as usize].fetch_add(delta, Ordering::SeqCst);
    }

    fn has_key(&self, slot: u32, key: &Key) -> bool {
        // SAFETY: reads may be torn, and the caller checks the tag again.
        unsafe { self.keys[slot as usize].get().read_volatile() == *key }
    }
}

/// Digits of pi: small numbers would not mix a short key.
const SECRET: [u32; 12] = [
    0x243f_6a88,
    0x85a3_08d3,
    0x1319_8a2e,
    0x0370_7344,
    0xa409_3822,
    0x299f_31d0,
    0x082e_fa98,
    0xec4e_6c89,
    0x4528_21e6,
    0x38d0_1377,
    0xbe54_66cf,
    0x34e9_0c6c,
];

fn key(number: u64) -> Key {
    Key([number, !number, number << 7, 1, number.wrapping_mul(0x9e37_79b9_7f4a_7c15)])
}

/// What a CPU does to open a connection; the slot that holds the key afterwards.
fn open(memory: &Memory, key: &Key, buckets: u32) -> Option<u32> {
    let place = Place::of(key, &SECRET, buckets);
    while !lock(memory, &place) {
        std::thread::yield_now();
    }
    let slot = find(memory, &place, key).or_else(|| {
        let slot = claim(memory, &place)?;
        memory.write(slot, key);
        publish(memory, slot, place.tag);
        Some(slot)
    });
    unlock(memory, &place);
    slot
}

#[test]
fn what_was_opened_is_found() {
    let memory = Memory::new(64);
    for number in 0..300 {
        let slot = open(&memory, &key(number), 64).expect("a table at 60 % has room");
        assert_eq!(find(&memory, &Place::of(&key(number), &SECRET, 64), &key(number)), Some(slot));
    }
    for number in 0..300 {
        assert_eq!(memory.holders(&key(number)), 1);
    }
    assert_eq!(find(&memory, &Place::of(&key(999), &SECRET, 64), &key(999)), None);
}

#[test]
fn a_released_slot_is_free_again() {
    let memory = Memory::new(2);
    let mut held = Vec::new();
    for number in 0..100 {
        held.extend(open(&memory, &key(number), 2));
    }
    assert_eq!(held.len(), 16, "two buckets of eight are full");
    assert!(memory.words.iter().all(|word| !contains(word.load(Ordering::SeqCst), FREE)));
    let slot = held[5];
    let tag = tag_of(&memory, slot);
    assert!(change(&memory, slot, tag, RESERVED));
    release(&memory, slot);
    assert_eq!(tag_of(&memory, slot), FREE);
    assert!(open(&memory, &key(1000), 2).is_some());
}

#[test]
fn a_table_fills_evenly() {
    let buckets = 1 << 10;
    let memory = Memory::new(buckets);
    let first_refusal = (0..).find(|number| open(&memory, &key(*number), buckets).is_none());
    let fill = first_refusal.expect("it is finite") as f64 / f64::from(buckets * BUCKET);
    assert!(fill > 0.7, "first refusal at {fill:.2}");
}

/// The key of an IPv4 connection to port 22.
fn ipv4(remote: u32, remote_port: u16) -> Key {
    Key::new(&KeyParts {
        slot: 0,
        family: Family::V4,
        protocol: TCP,
        local: Address([0x0a00_0114, 0, 0, 0]),
        remote: Address([remote, 0, 0, 0]),
        local_port: 22,
        remote_port,
        kind: 0,
    })
}

/// Numbers clients.
type Numbering = fn(u32) -> Key;

/// Clients that count up, as they do in networks and in attacks.
const CLIENTS: [(&str, Numbering); 5] = [
    ("neighbours", |n| ipv4(0xc633_6400 + n, 40_000)),
    ("one of each network", |n| ipv4(n << 16, 40_000)),
    ("the upper bits alone", |n| ipv4(n.reverse_bits(), 40_000)),
    ("one host's ports", |n| ipv4(0xc633_6407, n as u16)),
    ("some ports of many hosts", |n| ipv4(0xc633_6400 + (n >> 5), 32_768 + 4 * (n as u16 & 31))),
];

#[test]
fn clients_that_count_up_fill_a_table_evenly() {
    let buckets = 1 << 10;
    for (name, key) in CLIENTS {
        let memory = Memory::new(buckets);
        let first_refusal = (0..).find(|number| open(&memory, &key(*number), buckets).is_none());
        let fill = f64::from(first_refusal.expect("it is finite")) / f64::from(buckets * BUCKET);
        assert!(fill > 0.65, "{name}: first refusal at {fill:.2}");
    }
}

#[test]
fn keys_of_one_bucket_have_tags_of_their_own() {
    let buckets = 1 << 10;
    for (name, key) in CLIENTS {
        let mut places: Vec<_> = (0..8192)
            .map(|number| Place::of(&key(number), &SECRET, buckets))
            .map(|place| (place.words[0], place.tag))
            .collect();
        places.sort_unstable();
        let alike = places.windows(2).filter(|pair| pair[0] == pair[1]).count();
        assert!(alike < 10, "{name}: {alike} pairs, where one is expected");
    }
}

#[test]
fn most_keys_of_a_rather_empty_table_stand_in_their_first_bucket() {
    let buckets = 1 << 10;
    let memory = Memory::new(buckets);
    let keys = buckets * BUCKET / 10;
    let in_first = (0..keys).filter(|number| {
        let key = ipv4(0xc633_6400 + number, 40_000);
        let place = Place::of(&key, &SECRET, buckets);
        let slot = open(&memory, &key, buckets).expect("there is room");
        slot / BUCKET == place.words[0] / WORDS
    });
    let in_first = in_first.count();
    assert!(in_first as u32 > keys / 100 * 97, "{in_first} of {keys}");
}

#[test]
fn a_key_goes_to_the_emptier_bucket_once_three_slots_of_its_first_one_are_in_use() {
    let place = Place { tag: 7, words: [0, WORDS] };
    let memory = Memory::new(2);
    let buckets =
        (0..16).map(|_| claim(&memory, &place).map(|slot| slot / BUCKET)).collect::<Option<Vec<_>>>();
    // One after the other, wherever more slots are free; the first one where as many are.
    assert_eq!(buckets.expect("there is room"), [0, 0, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1]);
    assert_eq!(claim(&memory, &place), None);
}

#[test]
fn several_threads_never_publish_a_key_twice() {
    let memory = Memory::new(8);
    for round in 0..2_000u64 {
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for number in 0..4 {
                        open(&memory, &key(round * 4 + number), 8);
                    }
                });
            }
        });
        for number in 0..4 {
            let key = key(round * 4 + number);
            assert_eq!(memory.holders(&key), 1, "round {round}");
            let place = Place::of(&key, &SECRET, 8);
            let slot = find(&memory, &place, &key).expect("it was opened");
            assert!(change(&memory, slot, place.tag, RESERVED));
            release(&memory, slot);
        }
    }
    assert!(memory.words.iter().all(|word| word.load(Ordering::SeqCst) == 0), "nothing is left");
}

#[test]
fn lanes_are_told_apart() {
    let word = 0x0007_0000_0005_0001;
    assert!(contains(word, FREE) && contains(word, 5) && contains(word, 7) && !contains(word, 9));
    assert_eq!([lane(word, 0), lane(word, 1), lane(word, 2), lane(word, 3)], [1, 5, 0, 7]);
}
