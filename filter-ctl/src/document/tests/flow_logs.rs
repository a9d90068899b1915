//! `FlowLogs`: what is read, what is refused.

use super::{document, errors, rules::effective};
use crate::{
    flowlog::fields::Field,
    policy::{DestinationOptions, DestinationType, FileFormat, FlowLog, TrafficType},
};

const INTERFACE: &str = "
Vpcs: [{ VpcId: vpc-1, CidrBlock: 10.0.0.0/16 }]
Subnets: [{ SubnetId: subnet-1, CidrBlock: 10.0.1.0/24, AvailabilityZone: eu-west-1b, AvailabilityZoneId: euw1-az2 }]
NetworkInterfaces:
  - NetworkInterfaceId: eni-1
    SubnetId: subnet-1
    PrivateIpAddress: 10.0.1.20
    Attachment: { InstanceId: i-0abc }
    InterfaceType: interface
    TagSet: [{ Key: team, Value: core }]
";

fn logs(text: &str) -> Vec<FlowLog> {
    effective(&document(&format!("{INTERFACE}FlowLogs:\n{text}")), "eni-1").0.flow_logs
}

#[test]
fn what_describe_flow_logs_prints_is_read() {
    let logs = logs(
        "  - FlowLogId: fl-1
    CreationTime: '2026-02-03T09:20:11.482000+00:00'
    FlowLogStatus: ACTIVE
    ResourceId: vpc-1
    TrafficType: REJECT
    LogDestinationType: s3
    LogDestination: arn:aws:s3:::example-flow-logs/vpc
    LogFormat: '${version} ${srcaddr} ${interface-tag}'
    MaxAggregationInterval: 60
    DestinationOptions: { FileFormat: parquet, HiveCompatiblePartitions: true, PerHourPartition: true }
    TagFieldSpecifications: [{ ResourceType: network-interface, TagKeys: [team, cost] }]
    Tags: [{ Key: Name, Value: all }]
",
    );
    let [log] = logs.as_slice() else { panic!("{logs:?}") };
    assert_eq!((log.id.as_str(), log.resource_id.as_str()), ("fl-1", "vpc-1"));
    assert_eq!((log.traffic, log.interval, log.format.version()), (TrafficType::Reject, 60, 11));
    assert_eq!(log.destination.kind, DestinationType::S3);
    assert_eq!(log.destination.target.as_deref(), Some("arn:aws:s3:::example-flow-logs/vpc"));
    let options = DestinationOptions {
        file_format: FileFormat::Parquet,
        hive_compatible_partitions: true,
        per_hour_partition: true,
    };
    assert_eq!(log.destination.options, options);
    let keys = [(Field::InterfaceTag, "team".to_owned()), (Field::InterfaceTag2, "cost".to_owned())];
    assert_eq!(log.tag_keys, keys);
}

#[test]
fn a_request_for_several_resources_is_a_flow_log_for_each() {
    let covering = logs(
        "  - { ResourceType: Subnet, ResourceIds: [subnet-1, subnet-2] }
  - { ResourceType: NetworkInterface, ResourceIds: [eni-1], TrafficType: ACCEPT }
  - { ResourceType: TransitGateway, ResourceIds: [tgw-1], LogFormat: '${tgw-id} ${resource-type}' }
",
    );
    let told: Vec<_> = covering.iter().map(|log| (log.resource_id.as_str(), log.traffic)).collect();
    assert_eq!(told, [("subnet-1", TrafficType::All), ("eni-1", TrafficType::Accept)]);
    let ids: std::collections::HashSet<_> = covering.iter().map(|log| &log.id).collect();
    assert_eq!(ids.len(), 2, "each has an id of its own");
}

#[test]
fn a_destination_is_told_by_its_place_and_none_is_the_spool() {
    let kinds: Vec<_> = logs(
        "  - {}
  - { LogGroupName: flows }
  - { LogDestination: 'arn:aws:s3:::bucket' }
  - { LogDestination: 'arn:aws:logs:eu-west-1:111122223333:log-group:flows' }
  - { LogDestinationType: file, LogDestination: /var/log/flows }
  - { LogDestinationType: unix, LogDestination: /run/flows.sock }
  - { LogDestinationType: stdout }
  - { LogDestinationType: spool }
",
    )
    .into_iter()
    .map(|log| (log.destination.kind, log.destination.target.is_some()))
    .collect();
    use DestinationType::{CloudWatchLogs, File, S3, Spool, Stdout, Unix};
    let expected = [
        (Spool, false),
        (CloudWatchLogs, true),
        (S3, true),
        (CloudWatchLogs, true),
        (File, true),
        (Unix, true),
        (Stdout, false),
        (Spool, false),
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn what_is_wrong_with_a_flow_log_is_told() {
    let errors = errors(
        "policy.yaml",
        "FlowLogs:
  - { ResourceId: vpc-1, LogFormat: '${foo} ${version}' }
  - { ResourceId: vpc-1, LogFormat: '${version} ${src-addr}' }
  - { ResourceId: vpc-1, LogFormat: 'version action' }
  - { ResourceId: vpc-1, LogFormat: '${end} ${end}' }
  - { ResourceType: Subnet, ResourceId: vpc-1 }
  - { ResourceType: Subnets, ResourceIds: [subnet-1] }
  - { FlowLogId: fl-1, ResourceIds: [vpc-1, vpc-2] }
  - { ResourceId: vpc-1, ResourceIds: [vpc-2] }
  - { ResourceId: vpc-1, LogDestinationType: s4, LogDestination: 'arn:aws:s3:::bucket' }
  - { ResourceId: vpc-1, LogDestinationType: s3, LogDestination: 's3://bucket' }
  - { ResourceId: vpc-1, LogDestinationType: s3 }
  - { ResourceId: vpc-1, LogDestinationType: stdout, LogDestination: /dev/stdout }
  - { ResourceId: vpc-1, LogDestination: /var/log/flows }
  - { ResourceId: vpc-1, LogDestination: 'arn:aws:s3:::bucket/AWSLogs/' }
  - { ResourceId: vpc-1, DestinationOptions: { FileFormat: csv, PerHourPartition: 1, Hive: true } }
  - ResourceId: vpc-1
    TagFieldSpecifications:
      - { ResourceType: network-interface, TagKeys: [a, b, c] }
      - { ResourceType: network-interface, TagKeys: [d] }
      - { ResourceType: vpc, TagKeys: [e] }
      - { TagKeys: [f] }
      - { ResourceType: instance }
",
    );
    insta::assert_snapshot!(errors, @r#"
policy.yaml:2:37 [unknown-log-field] FlowLogs[0].LogFormat: flow logs have no field `foo` | docs/flow-logs.md lists the fields
policy.yaml:3:37 [unknown-log-field] FlowLogs[1].LogFormat: flow logs have no field `src-addr` | did you mean `srcaddr`?
policy.yaml:4:37 [bad-log-format] FlowLogs[2].LogFormat: `version` is no field of a flow log's format | fields as in ${version} ${srcaddr} ${action}, each once, with spaces between them
policy.yaml:5:37 [bad-log-format] FlowLogs[3].LogFormat: the format names the field `end` twice | fields as in ${version} ${srcaddr} ${action}, each once, with spaces between them
policy.yaml:6:41 [bad-resource-type] FlowLogs[4].ResourceId: `vpc-1` is no Subnet | subnet-…
policy.yaml:7:21 [bad-resource-type] FlowLogs[5].ResourceType: `Subnets` is no kind of resource | VPC, Subnet or NetworkInterface
policy.yaml:8:7 [two-resources] FlowLogs[6].FlowLogId: a flow log is for one resource | with several ResourceIds, leave FlowLogId out: each has a flow log of its own
policy.yaml:9:26 [two-resources] FlowLogs[7].ResourceIds: ResourceId is given, too | one of the two
policy.yaml:10:46 [bad-destination] FlowLogs[8].LogDestinationType: `s4` is no log destination type | cloud-watch-logs, s3, kinesis-data-firehose, spool, file, stdout, unix, otlp | did you mean `s3`?
policy.yaml:11:66 [bad-destination] FlowLogs[9].LogDestination: `s3://bucket` is no destination of type s3 | arn:aws:s3:::BUCKET or arn:aws:s3:::BUCKET/PREFIX
policy.yaml:12:5 [missing-field] FlowLogs[10].LogDestination: this field is missing | arn:aws:s3:::BUCKET or arn:aws:s3:::BUCKET/PREFIX
policy.yaml:13:70 [bad-destination] FlowLogs[11].LogDestination: stdout has no LogDestination
policy.yaml:14:42 [bad-destination] FlowLogs[12].LogDestination: `/var/log/flows` does not tell what it is | say it with LogDestinationType: cloud-watch-logs, s3, kinesis-data-firehose, spool, file, stdout, unix, otlp
policy.yaml:15:42 [bad-destination] FlowLogs[13].LogDestination: `AWSLogs` is reserved: the files' own paths begin with it
policy.yaml:16:60 [bad-file-format] FlowLogs[14].DestinationOptions.FileFormat: `csv` is no file format | plain-text or parquet
policy.yaml:16:83 [wrong-type] FlowLogs[14].DestinationOptions.PerHourPartition: expected true or false, found a number | true or false goes here
policy.yaml:16:86 [unknown-field] FlowLogs[14].DestinationOptions.Hive: there is no field `Hive` here | the fields are FileFormat, HiveCompatiblePartitions, PerHourPartition
policy.yaml:19:60 [bad-tag-fields] FlowLogs[15].TagFieldSpecifications[0].TagKeys: 3 keys | at most two, as there are two fields for them
policy.yaml:20:9 [bad-tag-fields] FlowLogs[15].TagFieldSpecifications[1].ResourceType: it stands above already
policy.yaml:21:25 [bad-resource-type] FlowLogs[15].TagFieldSpecifications[2].ResourceType: `vpc` is no resource with tag fields | network-interface, instance or auto-scaling-group
policy.yaml:22:9 [missing-field] FlowLogs[15].TagFieldSpecifications[3].ResourceType: this field is missing | network-interface, instance or auto-scaling-group
policy.yaml:23:9 [missing-field] FlowLogs[15].TagFieldSpecifications[4].TagKeys: this field is missing | one or two keys of tags
"#);
}

#[test]
fn where_an_interface_stands_is_read_from_it_and_from_its_subnet() {
    let (policy, _) = effective(&document(INTERFACE), "eni-1");
    let placement = &policy.interface.placement;
    assert_eq!(placement.region.as_deref(), Some("eu-west-1"));
    assert_eq!(placement.az_id.as_deref(), Some("euw1-az2"));
    assert_eq!(placement.instance_id.as_deref(), Some("i-0abc"));
    assert_eq!(placement.interface_type, None, "flow logs name only those that AWS made");
    assert_eq!(policy.interface.vpc_blocks, ["10.0.0.0/16".parse().expect("a block")]);

    let managed = INTERFACE
        .replace("InterfaceType: interface", "InterfaceType: natGateway\n    RequesterManaged: true")
        .replace("AvailabilityZone: eu-west-1b", "AvailabilityZone: us-west-2-lax-1a");
    let (policy, _) = effective(&document(&managed), "eni-1");
    let placement = &policy.interface.placement;
    assert_eq!(placement.interface_type.as_deref(), Some("nat_gateway"));
    assert_eq!((placement.instance_id.as_deref(), placement.az_id.as_deref()), (None, None));
    assert_eq!(placement.region.as_deref(), Some("us-west-2"));
}
