//! Security groups: allow-only rules, united, by protocol, destination port and remote.

use filter_common::verdict::Reason::{Connection, NewConnection, SecurityGroup, Untracked};
use tests::{
    frame::{ack, echo, icmp, protocol, syn, syn_ack},
    policy::{ANY4, OTHER_GROUP, PREFIX_LIST, Policy},
};

use crate::case::{HOST, HOST_RULE, NEIGHBOUR, STRANGER, case, egress, ingress};

const SSH: &str = "10.0.1.20:22";
const WEB: &str = "10.0.1.20:80";

#[test]
fn row_1_a_group_without_ingress_rules_lets_nothing_in() {
    case(Policy::new(), &[ingress(syn(HOST, SSH), SecurityGroup)]);
}

#[test]
fn row_2_a_new_group_lets_everything_out_and_the_answer_in() {
    case(
        Policy::new().allow_out("-1", ANY4),
        &[
            egress(syn("10.0.1.20:50000", "198.51.100.7:443"), NewConnection),
            ingress(syn_ack("198.51.100.7:443", "10.0.1.20:50000"), Connection),
            egress(ack("10.0.1.20:50000", "198.51.100.7:443"), Connection),
        ],
    );
}

#[test]
fn row_3_answers_leave_without_an_egress_rule() {
    case(
        Policy::new().allow_in("tcp 80", HOST_RULE),
        &[ingress(syn(HOST, WEB), NewConnection), egress(syn_ack(WEB, HOST), Connection)],
    );
}
