use proptest::prelude::*;

use super::*;

fn family() -> impl Strategy<Value = Family> {
    prop_oneof![Just(Family::V4), Just(Family::V6)]
}

fn direction() -> impl Strategy<Value = Direction> {
    prop_oneof![Just(Direction::Ingress), Just(Direction::Egress)]
}

prop_compose! {
    fn parts()(
        slot: u16,
        family in family(),
        protocol: u8,
        local: [u32; 4],
        remote: [u32; 4],
        ports: (u16, u16),
        kind in 0u8..64,
    ) -> KeyParts {
        let used = if matches!(family, Family::V4) { 1 } else { 4 };
        let address = |words: [u32; 4]| Address(core::array::from_fn(|n| if n < used { words[n] } else { 0 }));
        let (local, remote) = (address(local), address(remote));
        KeyParts { slot, family, protocol, local, remote, local_port: ports.0, remote_port: ports.1, kind }
    }
}

proptest! {
    #[test]
    fn a_key_is_unpacked_to_what_was_packed(parts in parts()) {
        prop_assert_eq!(Key::new(&parts).parts(), Some(parts));
    }

    #[test]
    fn different_parts_have_different_keys(one in parts(), other in parts()) {
        prop_assert_eq!(Key::new(&one) == Key::new(&other), one == other);
    }

    #[test]
    fn every_part_counts(parts in parts(), bit in 0u32..16) {
        let key = Key::new(&parts);
        let flipped = [
            KeyParts { slot: parts.slot ^ 1 << bit, ..parts },
            KeyParts { protocol: parts.protocol ^ 1 << (bit % 8), ..parts },
            KeyParts { local_port: parts.local_port ^ 1 << bit, ..parts },
            KeyParts { remote_port: parts.remote_port ^ 1 << bit, ..parts },
            KeyParts { kind: parts.kind ^ 1 << (bit % 6), ..parts },
        ];
        for other in flipped {
            prop_assert_ne!(Key::new(&other), key);
        }
        for word in 0..if matches!(parts.family, Family::V4) { 1 } else { 4 } {
            let (mut local, mut remote) = (parts.local, parts.remote);
            local.0[word] ^= 1 << bit;
            remote.0[word] ^= 1 << bit;
            prop_assert_ne!(Key::new(&KeyParts { local, ..parts }), key);
            prop_assert_ne!(Key::new(&KeyParts { remote, ..parts }), key);
        }
    }

    #[test]
    fn a_key_of_ipv4_is_short(parts in parts()) {
        let key = Key::new(&parts);
        prop_assert_eq!(Key::is_short(key.0[0]), matches!(parts.family, Family::V4));
        prop_assert!(!Key::is_short(key.0[0]) || key.0[SHORT_KEY..] == [0; 3]);
        prop_assert_eq!(Key::slot_of(key.0[0]), parts.slot);
    }

    #[test]
    fn packets_and_bytes_are_counted_apart(
        one in (0u64..1 << 23, 0u64..1 << 39),
        other in (0u64..1 << 23, 0u64..1 << 39),
    ) {
        let sum = Counts(Counts::new(one.0, one.1).0.wrapping_add(Counts::new(other.0, other.1).0));
        let (packets, bytes) = (one.0 + other.0, one.1 + other.1);
        prop_assert_eq!((sum.packets(), sum.bytes()), (packets, bytes));
        prop_assert_eq!(sum.is_half_full(), packets >= 1 << 23 || bytes >= 1 << 39);
    }

    #[test]
    fn a_state_keeps_its_fields_apart(
        phase in 0usize..Phase::COUNT,
        initiator in direction(),
        incarnation: u32,
        next: u8,
        fin in direction(),
    ) {
        let state = State::new(Phase::ALL[phase], initiator, incarnation);
        prop_assert_eq!(usize::from(state.phase_number()), phase);
        prop_assert!(!state.fin_seen(Direction::Ingress) && !state.fin_seen(Direction::Egress));
        let state = state.with_fin(fin).with_phase(next);
        prop_assert_eq!(state.phase_number(), next);
        prop_assert!(state.fin_seen(fin) && !state.fin_seen(fin.reverse()));
        prop_assert_eq!((state.initiator(), state.incarnation()), (initiator, incarnation));
        prop_assert_eq!(state.with_fin(fin), state);
    }

    #[test]
    fn a_cached_verdict_keeps_its_fields_apart(generation: u32, ingress: bool, egress: bool, incarnation: u32) {
        let state = |incarnation| State::new(Phase::TcpEstablished, Direction::Ingress, incarnation);
        let cached = Cached::new(generation, ingress, egress).of(state(incarnation));
        prop_assert!(cached.is_of(state(incarnation)) && !cached.is_of(state(incarnation.wrapping_add(1))));
        prop_assert_eq!(cached.generation(), generation);
        prop_assert_eq!(cached.allows(Direction::Ingress), ingress);
        prop_assert_eq!(cached.allows(Direction::Egress), egress);
    }

    #[test]
    fn idle_is_counted_from_the_later_packet_also_where_stamps_wrap(now: u32, a in 0u32..1 << 31, b in 0u32..1 << 31) {
        prop_assert_eq!(idle(now.wrapping_sub(a), now.wrapping_sub(b), now), a.min(b));
    }

    #[test]
    fn a_packet_ahead_of_now_is_just_now(now: u32, ahead in 1u32..=1 << 31, b in 0u32..1 << 31) {
        let (ahead, before) = (now.wrapping_add(ahead), now.wrapping_sub(b));
        prop_assert_eq!(idle(ahead, before, now), 0);
        prop_assert_eq!(idle(before, ahead, now), 0);
        prop_assert_eq!(idle(ahead, ahead, now), 0);
    }
}

#[test]
fn zeroes_are_no_key() {
    assert_eq!(Key([0; 5]).parts(), None);
}

#[test]
fn every_direction_and_reason_is_a_kind_of_flow() {
    let mut kinds = Vec::new();
    for direction in Direction::BOTH {
        for reason in Reason::ALL {
            let kind = flow_kind(direction, *reason);
            // The programs read the direction back from this bit.
            assert_eq!(kind & 1, direction as u8);
            assert!(kind < 64, "a key has six bits for it");
            kinds.push(kind);
        }
    }
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds.len(), 2 * Reason::COUNT);
}

#[test]
fn a_connection_is_idle_since_its_last_packet_of_either_direction() {
    let tally = |last| Tally { last, ..Tally::default() };
    let mut connection = Connection {
        key: [0; 2],
        state: 0,
        cached: 0,
        opened: 0,
        generation: 1,
        ingress: tally(100),
        rest_of_key: [0; 3],
        egress: tally(90),
        reserved: [0; 2],
    };
    assert_eq!(connection.idle(130), 30);
    connection.egress.last = 125;
    assert_eq!(connection.idle(130), 5);
}
