//! What CPUs may do with two buckets at the same time, in every interleaving.

use super::{
    super::*,
    key,
    model::{Model, Thread, View, explore},
};

const TAG: u64 = 0x4444;

/// Places of two keys in the two buckets: each has its lock in another one.
const HERE: Place = Place { tag: TAG, words: [0, 2] };
const THERE: Place = Place { tag: TAG, words: [2, 0] };

/// Opens a connection, as the programs do. `None`: no lock, or no room.
fn open_in(view: &View, place: &Place, key: &Key) -> Option<u32> {
    if !lock(view, place) {
        return None;
    }
    let slot = find(view, place, key).or_else(|| fill_free(view, place, key));
    unlock(view, place);
    slot
}

fn fill_free(view: &View, place: &Place, key: &Key) -> Option<u32> {
    let slot = claim(view, place)?;
    view.write(slot, key);
    publish(view, slot, place.tag);
    Some(slot)
}

/// Opens it anew in its own slot: the connection there has expired, or a SYN replaces it.
fn replace_in(view: &View, place: &Place, key: &Key) -> Option<u32> {
    if !lock(view, place) {
        return None;
    }
    let slot = match find(view, place, key) {
        Some(slot) => change(view, slot, place.tag, RESERVED).then(|| {
            view.write(slot, key);
            publish(view, slot, place.tag);
            slot
        }),
        None => fill_free(view, place, key),
    };
    unlock(view, place);
    slot
}

/// Opens it in a slot that another connection must give up.
fn open_in_place_of(view: &View, place: &Place, key: &Key, victim: u32) -> Option<u32> {
    if !lock(view, place) {
        return None;
    }
    let slot = find(view, place, key).or_else(|| {
        let tag = tag_of(view, victim);
        if tag <= RESERVED || !change(view, victim, tag, RESERVED) {
            return None;
        }
        view.write(victim, key);
        publish(view, victim, place.tag);
        Some(victim)
    });
    unlock(view, place);
    slot
}

/// Frees a slot, as a sweep does.
fn free(view: &View, slot: u32) -> Option<u32> {
    let tag = tag_of(view, slot);
    if tag > RESERVED && change(view, slot, tag, RESERVED) {
        release(view, slot);
    }
    None
}

/// Explores, and prints how far it went.
fn holds(start: Model, threads: &[Thread], at_end: impl Fn(&Model, &[Option<u32>]) -> bool) {
    match explore(start, threads, at_end) {
        Ok(states) => println!("{states} states"),
        Err(violation) => panic!("{violation}"),
    }
}

#[test]
fn two_cpus_open_one_connection_once() {
    let open: Thread = &|view| open_in(view, &HERE, &key(1));
    for free in [&[0, 1][..], &[0, 9], &[9, 13], &[0]] {
        holds(Model::with_free(free), &[open, open], |model, results| {
            // One may have given up on the lock, not both; who has a slot has the one.
            let holders = model.holders(&key(1));
            holders.len() == 1 && results.iter().flatten().all(|slot| *slot == holders[0])
        });
    }
}

#[test]
fn a_key_is_inserted_twice_without_the_lock() {
    let open: Thread = &|view| find(view, &HERE, &key(1)).or_else(|| fill_free(view, &HERE, &key(1)));
    let result = explore(Model::with_free(&[0, 1]), &[open, open], |_, _| true);
    assert_eq!(result, Err("slots [0, 1] hold one key".into()), "the search finds what is wrong");
}

#[test]
fn two_connections_never_get_one_slot() {
    let one: Thread = &|view| open_in(view, &HERE, &key(1));
    let other: Thread = &|view| open_in(view, &THERE, &key(2));
    for (free, room) in [(&[][..], 0), (&[5], 1), (&[13], 1), (&[0, 1], 2), (&[0, 8], 2)] {
        holds(Model::with_free(free), &[one, other], |model, results| {
            let placed = results.iter().flatten().count();
            let is_there = |n: usize, key: &Key| model.holders(key) == Vec::from_iter(results[n]);
            placed <= room && is_there(0, &key(1)) && is_there(1, &key(2)) && (room == 0 || placed > 0)
        });
    }
}

#[test]
fn a_slot_that_is_freed_meanwhile_is_not_lost() {
    let open: Thread = &|view| open_in(view, &HERE, &key(1));
    let sweep: Thread = &|view| free(view, 1);
    for free in [&[][..], &[0], &[2, 3]] {
        holds(Model::with_free(free), &[open, sweep], |model, results| {
            let holders = model.holders(&key(1));
            let free_now = (0..16).filter(|slot| model.tag(*slot) == FREE).count();
            // Neighbours may disturb the sweep too often: then the slot is still its holder's.
            let freed = usize::from(model.holders(&key(1001)).is_empty());
            holders == Vec::from_iter(results[0]) && free_now + holders.len() == free.len() + freed
        });
    }
}

#[test]
fn a_slot_is_seized_by_one() {
    let seize: Thread = &|view| open_in_place_of(view, &HERE, &key(1), 6);
    let other: Thread = &|view| open_in_place_of(view, &THERE, &key(2), 6);
    let sweep: Thread = &|view| free(view, 6);
    holds(Model::with_free(&[]), &[seize, other], |model, _| {
        // The later one may seize it from the earlier one, but never fill it beside it.
        model.holders(&key(1)).len() + model.holders(&key(2)).len() == 1
    });
    holds(Model::with_free(&[]), &[seize, sweep], |model, _| {
        model.holders(&key(1)).len() + usize::from(model.tag(6) == FREE) == 1
    });
}

#[test]
fn a_connection_is_replaced_once_whatever_happens_to_its_slot() {
    let mut start = Model::with_free(&[2, 8]);
    start.put(2, &key(1), TAG);
    let replace: Thread = &|view| replace_in(view, &HERE, &key(1));
    let open: Thread = &|view| open_in(view, &HERE, &key(1));
    let sweep: Thread = &|view| free(view, 2);
    let seize: Thread = &|view| open_in_place_of(view, &THERE, &key(2), 2);
    holds(start.clone(), &[replace, replace], |model, _| model.holders(&key(1)) == [2]);
    holds(start.clone(), &[replace, open], |model, _| model.holders(&key(1)) == [2]);
    holds(start.clone(), &[replace, sweep], |model, results| {
        // What the sweep frees may be what was just replaced, so it may be in neither or in one slot.
        let holders = model.holders(&key(1));
        holders.is_empty() || holders == Vec::from_iter(results[0])
    });
    holds(start, &[replace, seize], |model, _| {
        model.holders(&key(1)).len() <= 1 && model.holders(&key(2)).len() <= 1
    });
}

#[test]
fn who_fails_to_seize_its_own_keys_slot_must_not_claim_another() {
    let mut start = Model::with_free(&[2, 3, 8]);
    start.put(2, &key(1), TAG);
    // As `replace_in`, but it goes on where the compare-and-swap was disturbed too often.
    let wrong: Thread = &|view| {
        if let Some(slot) = find(view, &HERE, &key(1))
            && change(view, slot, TAG, RESERVED)
        {
            view.write(slot, &key(1));
            publish(view, slot, TAG);
            return Some(slot);
        }
        fill_free(view, &HERE, &key(1))
    };
    let neighbour: Thread = &|view| {
        for _ in 0..TRIES / 2 {
            if change(view, 3, FREE, RESERVED) {
                release(view, 3);
            }
        }
        None
    };
    let result = explore(start, &[wrong, neighbour], |_, _| true);
    assert!(result.is_err_and(|violation| violation.ends_with("hold one key")));
}

#[test]
fn a_connection_that_stays_is_always_found() {
    let mut start = Model::with_free(&[2, 3]);
    start.put(2, &key(1), TAG);
    let look: Thread = &|view| find(view, &HERE, &key(1));
    let neighbours: Thread = &|view| {
        free(view, 0);
        open_in(view, &THERE, &key(2))
    };
    holds(start, &[look, neighbours], |_, results| results[0] == Some(2));
}

#[test]
fn a_key_that_was_never_whole_is_found_only_among_connections_of_one_tag() {
    // A slot is given from one connection to another while it is read, and the key that is looked for has one
    // part of each.
    let (old, new, mixed) = (Key([1, 1, 1, 1, 1]), Key([2, 2, 2, 2, 2]), Key([1, 1, 2, 2, 2]));
    let mut start = Model::with_free(&[2]);
    start.put(2, &old, TAG);
    let look: Thread = &|view| find(view, &HERE, &mixed);
    let other_tag = Place { tag: TAG + 1, ..HERE };
    let seize: Thread = &|view| open_in_place_of(view, &other_tag, &new, 2);
    holds(start.clone(), &[look, seize], |_, results| results[0].is_none());
    // What remains: all three have the same tag, which who does not know the secret cannot bring about.
    let seize: Thread = &|view| open_in_place_of(view, &HERE, &new, 2);
    assert!(explore(start, &[look, seize], |_, results| results[0].is_none()).is_err());
}

#[test]
fn three_cpus_keep_the_protocol() {
    let mut start = Model::with_free(&[2, 9]);
    start.put(2, &key(1), TAG);
    let open: Thread = &|view| open_in(view, &HERE, &key(1));
    let other: Thread = &|view| open_in_place_of(view, &THERE, &key(2), 2);
    let sweep: Thread = &|view| free(view, 2);
    holds(start, &[open, other, sweep], |model, _| {
        model.holders(&key(1)).len() <= 1 && model.holders(&key(2)).len() <= 1
    });
}
