//! The fields of a flow-log record: AWS's, in the order of its table, and our own.
//!
//! A [`Field`] says what it is called in text and in columns, which version of flow logs brought it
//! and what type it has in Parquet. A [`Row`] answers for the fields of one record.
//!
//! Source: VPC guide, `flow-log-records`, "Available fields".

use std::{
    borrow::Cow,
    fmt::{self, Display},
    net::IpAddr,
};

use serde::{Deserialize, Serialize, Serializer};

/// The type of a field's values, by its name in AWS's table of Parquet types. Text formats write
/// all of them as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `INT_32`
    Int32,
    /// `INT_64`
    Int64,
    /// `STRING`
    Text,
}

macro_rules! fields {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal, $version:expr, $kind:ident;)+) => {
        /// A field of a record.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Field { $($(#[doc = $doc])+ #[serde(rename = $text)] $name,)+ }

        impl Field {
            /// Every field: first AWS's, in its order, then our own.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Its name in formats and headers: `pkt-srcaddr`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// Its name where dashes are awkward, as a column of a table or in JSON: `pkt_srcaddr`.
            #[must_use]
            pub const fn column(self) -> &'static str {
                match self {
                    $(Self::$name => {
                        const COLUMN: [u8; $text.len()] = underscores($text);
                        ascii(&COLUMN)
                    })+
                }
            }

            /// The version of flow logs that brought it; `None`: it is ours, not AWS's.
            #[must_use]
            pub const fn version(self) -> Option<u8> {
                match self { $(Self::$name => $version,)+ }
            }

            /// The type of its values.
            #[must_use]
            pub const fn kind(self) -> Kind {
                match self { $(Self::$name => Kind::$kind,)+ }
            }
        }
    };
}

fields! {
    /// The version of the record's format.
    Version = "version", Some(2), Int32;
    /// The account that owns the network interface.
    AccountId = "account-id", Some(2), Text;
    /// The network interface.
    InterfaceId = "interface-id", Some(2), Text;
    /// The source address; of outgoing traffic the interface's primary one.
    SrcAddr = "srcaddr", Some(2), Text;
    /// The destination address; of incoming traffic the interface's primary one.
    DstAddr = "dstaddr", Some(2), Text;
    /// The source port; 0 where there is none.
    SrcPort = "srcport", Some(2), Int32;
    /// The destination port; 0 where there is none.
    DstPort = "dstport", Some(2), Int32;
    /// The IANA protocol number.
    Protocol = "protocol", Some(2), Int32;
    /// Packets in the interval.
    Packets = "packets", Some(2), Int64;
    /// Bytes in the interval, from the IP header on.
    Bytes = "bytes", Some(2), Int64;
    /// When the first packet was seen, in Unix seconds.
    Start = "start", Some(2), Int64;
    /// When the last packet was seen, in Unix seconds.
    End = "end", Some(2), Int64;
    /// `ACCEPT` or `REJECT`.
    Action = "action", Some(2), Text;
    /// `OK`, `NODATA` or `SKIPDATA`.
    LogStatus = "log-status", Some(2), Text;
    /// The interface's VPC.
    VpcId = "vpc-id", Some(3), Text;
    /// The interface's subnet.
    SubnetId = "subnet-id", Some(3), Text;
    /// The instance that the interface is attached to.
    InstanceId = "instance-id", Some(3), Text;
    /// FIN 1, SYN 2, RST 4, SYN-ACK 18, OR-ed.
    TcpFlags = "tcp-flags", Some(3), Int32;
    /// `IPv4`, `IPv6` or `EFA`.
    Type = "type", Some(3), Text;
    /// The source address in the packets.
    PktSrcAddr = "pkt-srcaddr", Some(3), Text;
    /// The destination address in the packets.
    PktDstAddr = "pkt-dstaddr", Some(3), Text;
    /// The region of the interface.
    Region = "region", Some(4), Text;
    /// The id of the availability zone of the interface.
    AzId = "az-id", Some(4), Text;
    /// `wavelength`, `outpost` or `localzone`.
    SublocationType = "sublocation-type", Some(4), Text;
    /// The id of that place.
    SublocationId = "sublocation-id", Some(4), Text;
    /// The AWS service that *pkt-srcaddr* belongs to.
    PktSrcAwsService = "pkt-src-aws-service", Some(5), Text;
    /// The AWS service that *pkt-dstaddr* belongs to.
    PktDstAwsService = "pkt-dst-aws-service", Some(5), Text;
    /// `ingress` or `egress`, as the interface sees it.
    FlowDirection = "flow-direction", Some(5), Text;
    /// The way that outgoing traffic takes, as a number.
    TrafficPath = "traffic-path", Some(5), Int32;
    /// The ECS cluster.
    EcsClusterArn = "ecs-cluster-arn", Some(7), Text;
    /// Its name.
    EcsClusterName = "ecs-cluster-name", Some(7), Text;
    /// The ECS container instance.
    EcsContainerInstanceArn = "ecs-container-instance-arn", Some(7), Text;
    /// Its id.
    EcsContainerInstanceId = "ecs-container-instance-id", Some(7), Text;
    /// The runtime's id of the first container.
    EcsContainerId = "ecs-container-id", Some(7), Text;
    /// The runtime's id of the second container.
    EcsSecondContainerId = "ecs-second-container-id", Some(7), Text;
    /// The ECS service.
    EcsServiceName = "ecs-service-name", Some(7), Text;
    /// The ECS task definition.
    EcsTaskDefinitionArn = "ecs-task-definition-arn", Some(7), Text;
    /// The ECS task.
    EcsTaskArn = "ecs-task-arn", Some(7), Text;
    /// Its id.
    EcsTaskId = "ecs-task-id", Some(7), Text;
    /// Why AWS rejected traffic for other reasons than groups and network ACLs.
    RejectReason = "reject-reason", Some(8), Text;
    /// The regional NAT gateway.
    ResourceId = "resource-id", Some(9), Text;
    /// Whether the traffic was encrypted, as a number.
    EncryptionStatus = "encryption-status", Some(10), Int32;
    /// The value of the instance's first chosen tag.
    InstanceTag = "instance-tag", Some(11), Text;
    /// The value of the instance's second chosen tag.
    InstanceTag2 = "instance-tag-2", Some(11), Text;
    /// The value of the interface's first chosen tag.
    InterfaceTag = "interface-tag", Some(11), Text;
    /// The value of the interface's second chosen tag.
    InterfaceTag2 = "interface-tag-2", Some(11), Text;
    /// The value of the auto scaling group's first chosen tag.
    AsgTag = "asg-tag", Some(11), Text;
    /// The value of the auto scaling group's second chosen tag.
    AsgTag2 = "asg-tag-2", Some(11), Text;
    /// The kind of the interface, if AWS made it for a service.
    InterfaceType = "interface-type", Some(11), Text;
    /// The network interface at the other end.
    NextHopInterfaceId = "next-hop-interface-id", Some(11), Text;
    /// Its subnet.
    NextHopSubnetId = "next-hop-subnet-id", Some(11), Text;
    /// The id of its availability zone.
    NextHopAzId = "next-hop-az-id", Some(11), Text;
    /// Its VPC.
    NextHopVpcId = "next-hop-vpc-id", Some(11), Text;
    /// Its kind.
    NextHopInterfaceType = "next-hop-interface-type", Some(11), Text;
    /// Why the packets got their verdict.
    FilterReason = "filter-reason", None, Text;
    /// The generation of the policy that judged them.
    FilterGeneration = "filter-generation", None, Int64;
    /// The network ACL, where it was asked.
    FilterNaclId = "filter-nacl-id", None, Text;
    /// The number of its rule that decided; 32767 and 32768 are `*`.
    FilterNaclRule = "filter-nacl-rule", None, Int32;
    /// The security group whose rule let them pass.
    FilterSgGroup = "filter-sg-group", None, Text;
    /// The id of that rule.
    FilterSgRule = "filter-sg-rule", None, Text;
    /// Packets that no record counts (`SKIPDATA`).
    FilterLostPackets = "filter-lost-packets", None, Int64;
    /// Their bytes.
    FilterLostBytes = "filter-lost-bytes", None, Int64;
    /// Records that would have counted them, as far as known.
    FilterLostRecords = "filter-lost-records", None, Int64;
}

impl Field {
    /// The newest version of flow logs whose fields are known here.
    pub const LAST_VERSION: u8 = 11;

    /// The field with a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|field| field.name() == name)
    }
}

/// A name with underscores for its dashes.
const fn underscores<const LENGTH: usize>(name: &str) -> [u8; LENGTH] {
    let (name, mut column, mut index) = (name.as_bytes(), [0; LENGTH], 0);
    while index < LENGTH {
        column[index] = if name[index] == b'-' { b'_' } else { name[index] };
        index += 1;
    }
    column
}

/// Text of single bytes.
const fn ascii(bytes: &'static [u8]) -> &'static str {
    match str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => panic!("field names are ASCII"),
    }
}

/// The value of a field in one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Not known, or of no meaning for this record: `-` in text, null elsewhere.
    None,
    /// Of [`Kind::Int32`] within its range, or of [`Kind::Int64`].
    Int(i64),
    /// An address, of [`Kind::Text`].
    Address(IpAddr),
    /// Any other [`Kind::Text`].
    Text(Cow<'a, str>),
}

impl Value<'_> {
    /// A count; one beyond 2^63 - 1, which no interface counts in its lifetime, is that number.
    #[must_use]
    pub fn count(count: u64) -> Self {
        Self::Int(i64::try_from(count).unwrap_or(i64::MAX))
    }
}

impl Display for Value<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => to.write_str("-"),
            Self::Int(number) => Display::fmt(number, to),
            Self::Address(address) => Display::fmt(address, to),
            Self::Text(text) => to.write_str(text),
        }
    }
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => to.serialize_none(),
            Self::Int(number) => to.serialize_i64(*number),
            Self::Address(address) => address.serialize(to),
            Self::Text(text) => to.serialize_str(text),
        }
    }
}

impl From<u8> for Value<'_> {
    fn from(number: u8) -> Self {
        Self::Int(number.into())
    }
}

impl From<u16> for Value<'_> {
    fn from(number: u16) -> Self {
        Self::Int(number.into())
    }
}

impl From<u32> for Value<'_> {
    fn from(number: u32) -> Self {
        Self::Int(number.into())
    }
}

impl From<u64> for Value<'_> {
    fn from(count: u64) -> Self {
        Self::count(count)
    }
}

impl From<IpAddr> for Value<'_> {
    fn from(address: IpAddr) -> Self {
        Self::Address(address)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::None, Into::into)
    }
}

/// One record, as a log writes it.
pub trait Row {
    /// What it says in a field. [`Field::Version`] is not the record's but the format's, which
    /// answers for it (`LogFormat::value`): a row says [`Value::None`].
    fn value(&self, field: Field) -> Value<'_>;
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn awss_fields_come_first_and_by_version() {
        let versions: Vec<_> = Field::ALL.iter().map(|field| field.version().unwrap_or(u8::MAX)).collect();
        assert!(versions.is_sorted());
        let of = |version| versions.iter().filter(|&&other| other == version).count();
        let counts = [2, 3, 4, 5, 6, 7, 8, 9, 10, 11].map(of);
        assert_eq!(counts, [14, 7, 4, 4, 0, 10, 1, 1, 1, 12]);
        assert_eq!(versions.iter().filter(|&&version| version != u8::MAX).max(), Some(&Field::LAST_VERSION));
    }

    #[test]
    fn ours_are_apart_by_name() {
        for field in Field::ALL {
            assert_eq!(field.version().is_none(), field.name().starts_with("filter-"), "{field:?}");
        }
    }

    #[test]
    fn names_are_unique_and_columns_have_underscores() {
        let names: HashSet<_> = Field::ALL.iter().map(|field| field.name()).collect();
        assert_eq!(names.len(), Field::ALL.len());
        for &field in Field::ALL {
            assert_eq!(field.column(), field.name().replace('-', "_"));
            assert_eq!(Field::from_name(field.name()), Some(field));
        }
        assert_eq!(Field::from_name("pkt_srcaddr"), None);
    }

    #[test]
    fn values_are_a_dash_or_null_where_there_is_none() -> Result<(), Box<dyn std::error::Error>> {
        let values = [Value::None, 7_u64.into(), IpAddr::from([10, 0, 1, 20]).into(), "ACCEPT".into()];
        assert_eq!(values.each_ref().map(ToString::to_string), ["-", "7", "10.0.1.20", "ACCEPT"]);
        assert_eq!(serde_json::to_string(&values)?, r#"[null,7,"10.0.1.20","ACCEPT"]"#);
        assert_eq!(Value::count(u64::MAX), Value::Int(i64::MAX));
        Ok(())
    }
}
