//! Lines in, lines out.

use std::{
    io::{self, Write},
    net::{IpAddr, Ipv4Addr},
};

use super::web_policy;
use crate::{
    explain::batch::{Batch, BatchError},
    policy::{GroupRule, Peer, RuleService},
};

/// The answers to some lines about the example's only interface.
fn answers(input: &[u8]) -> Vec<String> {
    let mut output = Vec::new();
    let mut find = |id: &str| {
        let policy = web_policy();
        if id == policy.interface.id { Ok(policy) } else { Err(format!("no {id}")) }
    };
    let default = Some("eni-0123456789abcdef0".to_owned());
    Batch::new(&mut find, default).run(input, &mut output).expect("written");
    String::from_utf8(output).expect("UTF-8").lines().map(str::to_owned).collect()
}

#[test]
fn each_layer_answers_in_its_own_form() {
    let lines = r#"{"direction":"ingress","protocol":"tcp","source":"203.0.113.9","source_port":4000,"destination":"10.0.1.20","destination_port":80}
{"direction":"ingress","protocol":"tcp","source":"203.0.113.9","destination_port":22}
{"direction":"ingress","protocol":6,"source":"203.0.113.9","destination_port":23}
{"direction":"egress","protocol":"17","destination":"169.254.169.253","destination_port":53}
{"direction":"ingress","protocol":"icmpv6","source":"fe80::1","icmp_type":135,"icmp_code":0}
{"direction":"ingress","protocol":"icmp","source":"198.51.100.7","icmp_type":8}
{"direction":"ingress","protocol":"tcp","source":"198.51.100.7:5000","destination":":22","source_port":null,"established":true}
"#;
    insta::assert_snapshot!(answers(lines.as_bytes()).join("\n"), @r#"
    {"verdict":"accept","layer":"security-group","rule":{"group_id":"sg-0aaa1111bbbb22223","rule_id":"sgr-736d341b51d40266f"},"rules":[{"group_id":"sg-0aaa1111bbbb22223","rule_id":"sgr-736d341b51d40266f"}],"tracked":false,"reason":"untracked"}
    {"verdict":"reject","layer":"security-group","rule":null,"rules":[],"tracked":false,"reason":"security-group"}
    {"verdict":"reject","layer":"network-acl","rule":90,"rules":[],"tracked":false,"reason":"network-acl"}
    {"verdict":"accept","layer":"exempt","rule":null,"rules":[],"tracked":false,"reason":"exempt"}
    {"verdict":"accept","layer":"never-filtered","rule":null,"rules":[],"tracked":false,"reason":"neighbor-discovery"}
    {"verdict":"accept","layer":"security-group","rule":{"group_id":"sg-0aaa1111bbbb22223","rule_id":"sgr-212ebb06b7bf689db"},"rules":[{"group_id":"sg-0aaa1111bbbb22223","rule_id":"sgr-212ebb06b7bf689db"}],"tracked":true,"reason":"new-connection"}
    {"verdict":"accept","layer":"security-group","rule":null,"rules":[],"tracked":true,"reason":"connection"}
    "#);
}

#[test]
fn a_bad_line_is_answered_in_its_place_and_named() {
    let lines = r#"
{"direction":"in","protocol":"tcp","source":"192.0.2.1","destination_port":1}
{"direction":"ingress","protocol":"tcp","destination_port":1}
{"direction":"ingress","protocol":256,"source":"192.0.2.1"}
{"direction":"ingress","protocol":"carrier pigeon","source":"192.0.2.1"}
{"direction":"ingress","protocol":-1,"source":"192.0.2.1"}
{"direction":"ingress","protocol":"tcp","source":"192.0.2.1"}
{"direction":"ingress","protocol":"tcp","source":"192.0.2.1","destination_port":65536}
{"direction":"ingress","protocol":"tcp","source":"192.0.2.1:1","source_port":2,"destination_port":1}
{"direction":"ingress","protocol":"tcp","source":"192.0.2.1","destination":"::1","destination_port":1}
{"direction":"ingress","protocol":"icmp","source":"192.0.2.1"}
{"direction":"ingress","protocol":"icmp","source":"192.0.2.1","icmp_type":8,"icmp_code":256}
{"direction":"ingress","protocol":"icmp","source":"2001:db8::1","icmp_type":8}
{"direction":"ingress","protocol":"tcp","source":"192.0.2.1","dport":1}
{"interface_id":"eni-1","direction":"ingress","protocol":47,"source":"192.0.2.1"}
{"direction":"ingress","protocol":47,"source":
["ingress"]
{"direction":"ingress","protocol":47,"source":"192.0.2.1"}"#;
    insta::assert_snapshot!(answers(lines.as_bytes()).join("\n"), @r#"
    {"error":"line 1: empty"}
    {"error":"line 2: direction: `in` is neither ingress nor egress"}
    {"error":"line 3: the source is the other end and needs an address"}
    {"error":"line 4: protocol: 256 is none: expected 0 to 255 at column 37"}
    {"error":"line 5: protocol: `carrier pigeon` is no protocol: expected tcp, udp, icmp, icmpv6 or a number from 0 to 255 at column 50"}
    {"error":"line 6: invalid type: integer `-1`, expected a protocol: tcp, udp, icmp, icmpv6 or a number from 0 to 255 at column 36"}
    {"error":"line 7: tcp needs a destination port (as in 192.0.2.1:443; `destination_port` in a line of packets)"}
    {"error":"line 8: destination_port: 65536 is not from 0 to 65535, or -1 for none"}
    {"error":"line 9: source_port: 2, but the address comes with 1"}
    {"error":"line 10: the source 192.0.2.1 and the destination ::1 are of different families: a packet has one"}
    {"error":"line 11: icmp needs a type, and may have a code (8/0 is an ICMP echo request, 128/0 an ICMPv6 one)"}
    {"error":"line 12: icmp_code: 256 is not from 0 to 255, or -1 for none"}
    {"error":"line 13: icmp goes over IPv4: over IPv6 it is icmpv6 (icmp over IPv6 has no types: leave them out)"}
    {"error":"line 14: unknown field `dport`, expected one of `interface_id`, `direction`, `protocol`, `source`, `destination`, `source_port`, `destination_port`, `icmp_type`, `icmp_code`, `established` at column 68"}
    {"error":"line 15: no eni-1"}
    {"error":"line 16: EOF while parsing a value at column 46"}
    {"error":"line 17: not a JSON object"}
    {"verdict":"reject","layer":"security-group","rule":null,"rules":[],"tracked":false,"reason":"security-group"}
    "#);
}

#[test]
fn a_line_that_does_not_end_is_not_kept() {
    let mut input = vec![b' '; 5 << 20];
    input.extend(b"\n{\"direction\":\"ingress\",\"protocol\":47,\"source\":\"192.0.2.1\"}\n\xff\n");
    let answers = answers(&input);
    assert_eq!(answers[0], r#"{"error":"line 1: longer than 65536 bytes"}"#);
    assert!(answers[1].contains(r#""layer":"security-group""#), "{answers:?}");
    assert!(answers[2].starts_with(r#"{"error":"line 3: "#), "{answers:?}");
    assert_eq!(answers.len(), 3);
}

#[test]
fn a_reader_that_has_gone_ends_it() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut find = |_: &str| Err(String::new());
    let error = Batch::new(&mut find, None).run(io::repeat(b'\n'), Gone).expect_err("nobody reads");
    assert!(
        matches!(&error, BatchError::Write(error) if error.kind() == io::ErrorKind::BrokenPipe),
        "{error}"
    );
}

#[test]
fn placeholders_of_tables_are_no_values() {
    let line = |fields: &str| {
        answers(format!("{{\"direction\":\"ingress\",\"source\":\"198.51.100.7\",{fields}}}\n").as_bytes())
            .remove(0)
    };
    let absent = "\"icmp_type\":-1,\"icmp_code\":-1";
    for (plain, padded) in [
        ("\"protocol\":6,\"destination_port\":22", format!("\"source_port\":-1,{absent}")),
        ("\"protocol\":47", format!("\"source_port\":0,\"destination_port\":0,{absent}")),
        (
            "\"protocol\":1,\"icmp_type\":8",
            "\"source_port\":-1,\"destination_port\":0,\"icmp_code\":-1".into(),
        ),
    ] {
        let answer = line(plain);
        assert!(answer.starts_with("{\"verdict\":"), "{answer}");
        assert_eq!(line(&format!("{plain},{padded}")), answer);
    }
    assert!(line("\"protocol\":6,\"destination_port\":-1").contains("needs a destination port"));
    assert!(
        line("\"protocol\":6,\"destination_port\":-2").contains("-2 is not from 0 to 65535, or -1 for none")
    );
    assert!(line("\"protocol\":6,\"destination_port\":\"80\"").contains("expected a number"));
}

#[test]
fn interfaces_that_are_alike_share_their_rules_and_not_their_addresses() {
    let mut find = |id: &str| {
        let mut policy = web_policy();
        policy.interface.id = id.to_owned();
        if let "eni-checked" | "eni-elsewhere" = id {
            policy.source_dest_check = true;
            policy.interface.own = vec!["10.0.1.21/32".parse().expect("a prefix")];
        }
        if id == "eni-elsewhere" {
            policy.interface.subnet_id = "subnet-2".to_owned();
        }
        Ok(policy)
    };
    let mut batch = Batch::new(&mut find, None);
    let mut output = Vec::new();
    let line = |id: &str| {
        format!(
            "{{\"interface_id\":\"{id}\",\"direction\":\"ingress\",\"protocol\":6,\"source\":\"203.0.113.9\",\"destination\":\"10.0.1.20:80\"}}\n"
        )
    };
    let lines = ["eni-1", "eni-2", "eni-checked", "eni-1", "eni-elsewhere"].map(line).concat();
    batch.run(lines.as_bytes(), &mut output).expect("written");
    let reasons: Vec<serde_json::Value> = String::from_utf8(output)
        .expect("UTF-8")
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["reason"].take())
        .collect();
    let checked = "source-dest-check";
    assert_eq!(reasons, ["untracked", "untracked", checked, "untracked", checked]);
    assert_eq!(batch.compiled(), 3, "own addresses of another extent, and another subnet, have their own");
}

#[test]
fn what_does_not_compile_is_tried_once() {
    let mut find = |_: &str| {
        let mut policy = web_policy();
        // Each port of TCP and of UDP has an address that is allowed nothing else.
        policy.groups[0].ingress = (0..=u16::MAX)
            .flat_map(|port| [RuleService::Tcp(port, port), RuleService::Udp(port, port)])
            .zip(0x0b00_0000..)
            .map(|(service, address)| {
                GroupRule::new(service, Peer::Cidr(IpAddr::from(Ipv4Addr::from_bits(address)).into()))
            })
            .collect();
        Ok(policy)
    };
    let mut batch = Batch::new(&mut find, Some("eni-1".to_owned()));
    let mut output = Vec::new();
    let line =
        "{\"direction\":\"ingress\",\"protocol\":6,\"source\":\"203.0.113.9\",\"destination_port\":80}\n";
    batch.run(line.repeat(3).as_bytes(), &mut output).expect("written");
    let told = String::from_utf8(output).expect("UTF-8");
    assert_eq!(told.matches("eni-1 has no policy: the rules tell").count(), 3, "{told:.300}");
    assert_eq!(batch.compiled(), 1);
}
