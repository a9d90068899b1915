//! What a slot of the maps keeps when it goes from one interface to another.

use aya::maps::{Array, Map, MapData};
use filter_common::abi::Ports;
use tests::{
    lab::{HOST, Lab, Side},
    policy::{ANY4, GROUP},
    traffic::{Outcome, assert_tcp},
};

use crate::{attach_neighbour, files, lab, only_port, servers};

/// The local TCP ports that an interface's connections have had, of the slot that is given first.
fn ports_of_first_slot(lab: &Lab) -> Vec<usize> {
    let pins = files(&lab.pins());
    let pin = pins.iter().find(|pin| pin.ends_with("/PORTS")).expect("the pinned map of ports");
    let map = Map::Array(MapData::from_pin(pin).expect("open the map of ports"));
    let words = Array::<_, Ports>::try_from(map).expect("an array").get(&0, 0).expect("read the ports");
    (0..1 << 16).filter(|port| words[port / 64] >> (port % 64) & 1 != 0).collect()
}

#[test]
fn a_slot_that_is_given_anew_knows_no_ports_of_its_former_interface() {
    let mut lab = lab();
    let document = lab.write(&only_port(80).neighbour_in(&[GROUP]));
    let _ = lab.try_attach(&document, &[]).ok();
    // The maps live as long as something is attached.
    attach_neighbour(&mut lab, &document);
    lab.side = Side::Workload;
    let [open, _] = servers(&lab);
    assert_tcp(&lab.remote, HOST.v4, open.address(), Outcome::Answered);
    assert_eq!(ports_of_first_slot(&lab), [80]);
    lab.apply(&only_port(80).neighbour_in(&[GROUP]).allow_in("tcp 81", ANY4));
    assert_eq!(ports_of_first_slot(&lab), [80], "connections go on");
    lab.detach();
    lab.attach(&only_port(81).neighbour_in(&[GROUP]));
    assert_eq!(ports_of_first_slot(&lab), [0; 0]);
}
