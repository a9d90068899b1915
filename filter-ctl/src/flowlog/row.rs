//! What a record says in each field.

use std::net::IpAddr;

use filter_common::Direction;

use super::{
    fields::{Field, Row, Value},
    record::{Content, Flow, Record},
};

impl Row for Record {
    fn value(&self, field: Field) -> Value<'_> {
        match field {
            Field::AccountId => self.account_id.as_deref().into(),
            Field::InterfaceId => self.interface_id.as_deref().into(),
            Field::Start => self.start.into(),
            Field::End => self.end.into(),
            Field::LogStatus => self.content.status().into(),
            Field::VpcId => self.vpc_id.as_deref().into(),
            Field::SubnetId => self.subnet_id.as_deref().into(),
            Field::FlowDirection => self.direction.map(Direction::name).into(),
            field => match &self.content {
                Content::Flow(flow) => of_flow(flow, self.direction, field),
                Content::Lost(loss) => match field {
                    Field::FilterLostPackets => loss.packets.into(),
                    Field::FilterLostBytes => loss.bytes.into(),
                    Field::FilterLostRecords => loss.records.into(),
                    _ => Value::None,
                },
                Content::Idle => Value::None,
            },
        }
    }
}

/// What a flow says in a field; nothing in those that only AWS has values for.
fn of_flow(flow: &Flow, direction: Option<Direction>, field: Field) -> Value<'_> {
    // What is local is the source of what goes out and the destination of what comes in.
    let outgoing = direction == Some(Direction::Egress);
    let address = |own: IpAddr, source: bool| Value::from(if source == outgoing { own } else { flow.remote });
    let port =
        |source: bool| Value::from(if source == outgoing { flow.local_port } else { flow.remote_port });
    let acl = flow.rules.acl.rule();
    let group = flow.rules.groups.rule();
    match field {
        Field::SrcAddr => address(flow.shown, true),
        Field::DstAddr => address(flow.shown, false),
        Field::SrcPort => port(true),
        Field::DstPort => port(false),
        Field::Protocol => flow.protocol.into(),
        Field::Packets => flow.packets.into(),
        Field::Bytes => flow.bytes.into(),
        Field::Action => flow.action().name().into(),
        Field::TcpFlags => flow.tcp_flags.into(),
        Field::Type => if flow.local.is_ipv4() { "IPv4" } else { "IPv6" }.into(),
        Field::PktSrcAddr => address(flow.local, true),
        Field::PktDstAddr => address(flow.local, false),
        Field::FilterReason => flow.reason.name().into(),
        Field::FilterGeneration => flow.generation.into(),
        Field::FilterNaclId => acl.map(|rule| &*rule.acl).into(),
        Field::FilterNaclRule => acl.map(|rule| rule.number).into(),
        Field::FilterSgGroup => group.map(|rule| &*rule.group).into(),
        Field::FilterSgRule => group.map(|rule| &*rule.id).into(),
        _ => Value::None,
    }
}
