//! Every interleaving of what CPUs may do with one bucket, walked through.
//!
//! A thread of control is ordinary code over [`Slots`]. It depends on nothing but what its
//! operations on the table's memory return, so it can be stopped at any of them and later run
//! again from its start with what they had returned. A state of the whole is then the memory and,
//! of each thread, what its operations have returned so far; a search goes from each state to
//! those that one more operation of one thread makes, and remembers the states in which it has
//! been. The memory checks each operation against the protocol. (Full ordering is assumed, as the
//! kernel's atomic operations have it; a key is written and read in two parts.)

use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

use super::{super::*, key};

/// The parts in which a key's words are written and read.
const PARTS: [std::ops::Range<usize>; 2] = [0..2, 2..5];

/// The memory of two buckets, and who owns which reserved slot.
#[derive(Clone, Debug, Hash)]
pub(super) struct Model {
    pub(super) words: [u64; 4],
    keys: [Key; 16],
    owners: [Option<usize>; 16],
    lock_holders: [Option<usize>; 4],
}

impl Model {
    /// Two buckets whose slots others hold, but for the given ones.
    pub(super) fn with_free(free: &[u32]) -> Self {
        let mut model =
            Self { words: [0; 4], keys: [Key([0; 5]); 16], owners: [None; 16], lock_holders: [None; 4] };
        for slot in (0..16).filter(|slot| !free.contains(slot)) {
            model.put(slot, &key(1000 + u64::from(slot)), 0x7000 + u64::from(slot));
        }
        model
    }

    pub(super) fn put(&mut self, slot: u32, key: &Key, tag: u64) {
        self.words[(slot / LANES) as usize] |= tag << (slot % LANES * 16);
        self.keys[slot as usize] = *key;
    }

    pub(super) fn tag(&self, slot: u32) -> u64 {
        lane(self.words[(slot / LANES) as usize], slot % LANES)
    }

    pub(super) fn holders(&self, key: &Key) -> Vec<u32> {
        (0..16).filter(|slot| self.tag(*slot) > RESERVED && self.keys[*slot as usize] == *key).collect()
    }

    /// Sets a word of the directory, if the protocol lets the thread do so.
    fn set(&mut self, thread: usize, word: usize, new: u64) -> Result<(), String> {
        let old = self.words[word];
        self.words[word] = new;
        if (old ^ new) & LOCK != 0 {
            match (&mut self.lock_holders[word], new & LOCK != 0) {
                (holder @ None, true) => *holder = Some(thread),
                (holder, false) if *holder == Some(thread) => *holder = None,
                (holder, _) => return Err(format!("thread {thread} changes the lock of {holder:?}")),
            }
        }
        for l in 0..LANES {
            let slot = word * LANES as usize + l as usize;
            let owner = &mut self.owners[slot];
            match (lane(old, l), lane(new, l)) {
                (from, to) if from == to => {}
                (RESERVED, _) if *owner == Some(thread) => *owner = None,
                (from, RESERVED) if from != RESERVED => *owner = Some(thread),
                (from, to) => return Err(format!("thread {thread} makes {from:#x} of {owner:?} to {to:#x}")),
            }
        }
        for (slot, key) in (0..).zip(&self.keys) {
            if self.tag(slot) > RESERVED && self.holders(key).len() > 1 {
                return Err(format!("slots {:?} hold one key", self.holders(key)));
            }
        }
        Ok(())
    }

    /// Nothing is half done: no slot reserved, so none lost, and no lock taken.
    fn is_at_rest(&self) -> bool {
        self.words.iter().all(|word| word & LOCK == 0) && (0..16).all(|slot| self.tag(slot) != RESERVED)
    }
}

/// A thread's view of the memory: repeats what its operations have returned, then makes one more.
pub(super) struct View<'a> {
    thread: usize,
    model: RefCell<&'a mut Model>,
    returned: &'a [u64],
    next: Cell<usize>,
    new: Cell<Option<u64>>,
    violation: RefCell<Option<String>>,
}

/// How a thread is stopped before the operation after its new one.
struct Stopped;

impl View<'_> {
    fn operation(&self, operation: impl FnOnce(&mut Model) -> Result<u64, String>) -> u64 {
        let n = self.next.replace(self.next.get() + 1);
        if let Some(returned) = self.returned.get(n) {
            return *returned;
        }
        if self.new.get().is_some() || self.violation.borrow().is_some() {
            resume_unwind(Box::new(Stopped));
        }
        let returned = operation(&mut self.model.borrow_mut()).unwrap_or_else(|violation| {
            *self.violation.borrow_mut() = Some(violation);
            resume_unwind(Box::new(Stopped))
        });
        self.new.set(Some(returned));
        returned
    }

    pub(super) fn write(&self, slot: u32, key: &Key) {
        for part in PARTS {
            self.operation(|model| {
                if model.owners[slot as usize] != Some(self.thread) || model.tag(slot) != RESERVED {
                    return Err(format!(
                        "thread {} writes to slot {slot}, which is not its own",
                        self.thread
                    ));
                }
                model.keys[slot as usize].0[part.clone()].copy_from_slice(&key.0[part]);
                Ok(0)
            });
        }
    }
}

impl Slots for View<'_> {
    fn word(&self, word: u32) -> u64 {
        self.operation(|model| Ok(model.words[word as usize]))
    }

    fn replace(&self, word: u32, old: u64, new: u64) -> bool {
        let replaced = self.operation(|model| {
            if model.words[word as usize] != old {
                return Ok(0);
            }
            model.set(self.thread, word as usize, new).map(|()| 1)
        });
        replaced == 1
    }

    fn add(&self, word: u32, delta: u64) {
        self.operation(|model| {
            let new = model.words[word as usize].wrapping_add(delta);
            model.set(self.thread, word as usize, new).map(|()| 0)
        });
    }

    fn has_key(&self, slot: u32, key: &Key) -> bool {
        PARTS.into_iter().all(|part| {
            self.operation(|model| Ok(u64::from(model.keys[slot as usize].0[part.clone()] == key.0[part])))
                == 1
        })
    }
}

/// What a thread does. It returns the slot in which it leaves its key, if it does.
pub(super) type Thread<'a> = &'a dyn Fn(&View) -> Option<u32>;

/// A state: the memory; what each thread's operations have returned; the result of those at their end.
type State = (Model, Vec<(Vec<u64>, Option<Option<u32>>)>);

/// Walks through all interleavings, and asks `at_end` about each end. The number of states, or what went wrong.
pub(super) fn explore(
    start: Model,
    threads: &[Thread],
    at_end: impl Fn(&Model, &[Option<u32>]) -> bool,
) -> Result<usize, String> {
    let first: State = (start, vec![(Vec::new(), None); threads.len()]);
    let mut known = HashSet::from([hash_of(&first)]);
    let mut open = vec![first];
    while let Some((model, progress)) = open.pop() {
        let results: Option<Vec<_>> = progress.iter().map(|(_, result)| *result).collect();
        if let Some(results) = results {
            if !model.is_at_rest() || !at_end(&model, &results) {
                return Err(format!("a bad end: {results:?}, {model:x?}"));
            }
            continue;
        }
        for (n, thread) in threads.iter().enumerate().filter(|(n, _)| progress[*n].1.is_none()) {
            let (mut model, mut progress) = (model.clone(), progress.clone());
            let view = View {
                thread: n,
                model: RefCell::new(&mut model),
                returned: &progress[n].0,
                next: Cell::new(0),
                new: Cell::new(None),
                violation: RefCell::new(None),
            };
            let ran = catch_unwind(AssertUnwindSafe(|| thread(&view)));
            if let Some(violation) = view.violation.take() {
                return Err(violation);
            }
            let new = view.new.get();
            progress[n].0.extend(new);
            match ran {
                Ok(result) => progress[n].1 = Some(result),
                Err(stopped) if stopped.is::<Stopped>() => {}
                Err(panic) => resume_unwind(panic),
            }
            let state = (model, progress);
            if known.insert(hash_of(&state)) {
                open.push(state);
            }
        }
    }
    Ok(known.len())
}

/// Of a state, this is remembered: among a million, two have the same with odds of one to 10^7.
fn hash_of(state: &State) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}
