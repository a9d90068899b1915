//! What people are told.

use filter_common::{abi::Side, verdict::Reason};

use super::{asked, explained, web_policy};
use crate::{
    document::{Limits, load},
    explain::{Document, Explanation, Facts, InForce},
};

#[test]
fn the_report_names_the_layer_and_the_nearest_misses() {
    let report = explained(&web_policy(), "ingress tcp 203.0.113.9 :22").report();
    insta::assert_snapshot!(report, @r#"
    REJECT: no rule of the security groups allows it

      packet            ingress of eni-0123456789abcdef0: tcp 203.0.113.9:50000 → 10.0.1.20:22, the first of a connection
      never filtered    no: neither ARP, neighbour or listener discovery, nor DHCP
      exempt            no: 203.0.113.9 is neither link-local IPv4 nor reserved in the subnet
      network ACL       allow: acl-0b2b2b2b2b2b2b2b2 rule 100: allow all from 0.0.0.0/0
      connection        no: it is the first packet of a new one
      security groups   deny: none of the 11 ingress rules of sg-0aaa1111bbbb22223 matches
                          but for the address: sg-0aaa1111bbbb22223 sgr-18ebd326497bde149 IpPermissions[1].IpRanges[0]: tcp 22 from 198.51.100.0/24, "office"; 203.0.113.9 is not in 198.51.100.0/24: 4 of 24 bits agree
                          but for the port: sg-0aaa1111bbbb22223 sgr-736d341b51d40266f IpPermissions[0].IpRanges[0]: tcp 80 from 0.0.0.0/0; port 22 is 58 below 80
      tracked           no: what is rejected opens no connection
      reply             none; were the packet accepted, accept: tcp 10.0.1.20:22 → 203.0.113.9:50000, by state; network ACL rule 100 allows it (all to 0.0.0.0/0)
      note              the source port 50000 is supposed; it matters for tracking and for the reply alone
    "#);
}

#[test]
fn a_reply_that_the_network_acl_stops_is_told() {
    let mut policy = web_policy();
    policy.nacl.egress.retain(|rule| rule.number == 101);
    let report = explained(&policy, "ingress tcp 198.51.100.7:40000 :22").report();
    insta::assert_snapshot!(report, @r#"
    ACCEPT: sg-0aaa1111bbbb22223 allows it by sgr-18ebd326497bde149 (tcp 22 from 198.51.100.0/24)

      packet            ingress of eni-0123456789abcdef0: tcp 198.51.100.7:40000 → 10.0.1.20:22, the first of a connection
      never filtered    no: neither ARP, neighbour or listener discovery, nor DHCP
      exempt            no: 198.51.100.7 is neither link-local IPv4 nor reserved in the subnet
      network ACL       allow: acl-0b2b2b2b2b2b2b2b2 rule 100: allow all from 0.0.0.0/0
      connection        no: it is the first packet of a new one
      security groups   allow: 1 of the 11 ingress rules of sg-0aaa1111bbbb22223
                          sg-0aaa1111bbbb22223 sgr-18ebd326497bde149 IpPermissions[1].IpRanges[0]: tcp 22 from 198.51.100.0/24, "office"
      tracked           yes: no rule for any address allows it
      reply             reject: tcp 10.0.1.20:22 → 198.51.100.7:40000, no numbered rule of the network ACL acl-0b2b2b2b2b2b2b2b2 matches, so its * denies
    "#);
}

#[test]
fn other_verdicts_have_their_own_headlines() {
    let policy = web_policy();
    let headline =
        |words: &str| explained(&policy, words).report().lines().next().expect("a line").to_owned();
    let headlines: Vec<_> = [
        "ingress tcp 203.0.113.9 :23",
        "ingress tcp 203.0.113.9 :80",
        "ingress tcp 203.0.113.9 :22 established",
        "ingress icmp 203.0.113.9 - 3/4 established",
        "egress udp - 169.254.169.253:53",
        "ingress icmpv6 fe80::1 - 135/0",
        "egress udp 10.0.1.20:68 255.255.255.255:67",
    ]
    .into_iter()
    .map(headline)
    .collect();
    insta::assert_snapshot!(headlines.join("\n"), @r#"
    REJECT: rule 90 of the network ACL acl-0b2b2b2b2b2b2b2b2 denies it
    ACCEPT: sg-0aaa1111bbbb22223 allows it by sgr-736d341b51d40266f (tcp 80 from 0.0.0.0/0)
    ACCEPT: it belongs to a tracked connection
    ACCEPT: it is an ICMP error about a tracked connection
    ACCEPT: 169.254.169.253 is exempt: neither filtered nor logged
    ACCEPT: never filtered (neighbor-discovery)
    ACCEPT: never filtered (dhcp)
    "#);
}

#[test]
fn of_icmp_only_queries_answers_and_errors_belong_to_a_connection() {
    let policy = web_policy();
    for (words, verdict, reason) in [
        ("ingress icmp 203.0.113.9 - 8/0 established", "accept", "connection"),
        ("ingress icmp 203.0.113.9 - 0/0 established", "accept", "connection"),
        ("ingress icmp 203.0.113.9 - 11/0 established", "accept", "related"),
        ("ingress icmp 203.0.113.9 - 5/1 established", "reject", "security-group"),
        ("ingress icmp 203.0.113.9 - 30/0 established", "reject", "security-group"),
        ("ingress icmpv6 2001:db8:9::1 - 4/0 established", "accept", "related"),
        ("ingress icmpv6 2001:db8:9::1 - 137/1 established", "reject", "security-group"),
    ] {
        let json = explained(&policy, words).to_json();
        assert_eq!((&json["verdict"], &json["reason"]), (&verdict.into(), &reason.into()), "{words}");
        assert_eq!(json["established"], verdict == "accept", "{words}");
    }
}

#[test]
fn rules_that_are_in_force_are_named_for_the_answer_too() {
    let policy = web_policy();
    for words in ["ingress tcp 198.51.100.7 :22", "ingress icmp 198.51.100.7 - 8/0"] {
        let question = asked(words).complete(&policy.interface).expect("a question");
        let facts = Facts::of_rules(&policy, &question, Side::Workload);
        let in_force = |document| InForce {
            device: "eth0".to_owned(),
            generation: 1,
            connection: None,
            full: false,
            document,
        };
        let same = in_force(Document::Same("web.yaml".into()));
        let told = Explanation::of_tables("eni-1", question, facts, Some(&policy), same).to_json();
        assert_eq!(told["reply"]["network_acl"]["rule"]["rule_number"], 100, "{words}");
        // Of a document that says otherwise nothing is named.
        let mut other = policy.clone();
        other.nacl.egress.clear();
        let differs = in_force(Document::Differs("web.yaml".into(), Reason::NewConnection));
        let told = Explanation::of_tables("eni-1", question, facts, Some(&other), differs).to_json();
        assert!(told["network_acl"].is_null() && told["reply"]["network_acl"].is_null(), "{words}");
    }
}

#[test]
fn an_error_and_an_answer_are_the_first_of_nothing() {
    let policy = web_policy();
    let lines = |words: &str| {
        let report = explained(&policy, words).report();
        let told =
            |line: &&str| ["packet", "connection", "note"].iter().any(|name| line[2..].starts_with(name));
        report.lines().filter(|line| line.len() > 2).filter(told).map(str::to_owned).collect::<Vec<_>>()
    };
    let all =
        ["ingress icmp 203.0.113.9 - 3/4", "egress icmp - 203.0.113.9 0/0", "ingress icmpv6 203.0.113.9 -"]
            .map(lines)
            .concat();
    insta::assert_snapshot!(all.join("\n"), @r#"
    packet            ingress of eni-0123456789abcdef0: icmp type 3 code 4 203.0.113.9 → 10.0.1.20, of no connection
    connection        no: an ICMP error belongs to one only if it quotes a packet of it
    note              were it about a packet of a tracked connection, the security groups would not be asked
    packet            egress of eni-0123456789abcdef0: icmp type 0 code 0 10.0.1.20 → 203.0.113.9, of no connection
    connection        no: it answers nothing that is tracked, and opens none
    packet            ingress of eni-0123456789abcdef0: icmpv6 203.0.113.9 → 10.0.1.20, the first of a connection
    connection        no: it is the first packet of a new one
    note              icmpv6 over IPv4 is a protocol like any other: its type is not looked at
    "#);
}

#[test]
fn an_untracked_flow_has_no_connection_to_belong_to() {
    let policy = web_policy();
    for (words, established, tracked) in [
        ("ingress tcp 203.0.113.9:40000 :80 established", false, false),
        ("egress tcp :80 203.0.113.9:40000 established", false, false),
        ("ingress tcp 198.51.100.7:40000 :22 established", true, true),
    ] {
        let json = explained(&policy, words).to_json();
        assert_eq!((&json["verdict"], &json["tracked"]), (&"accept".into(), &tracked.into()), "{words}");
        assert_eq!(
            (&json["established"], &json["reply"]["established"]),
            (&established.into(), &established.into())
        );
        assert_eq!(json["rule"].is_null(), established, "{words}");
    }
    let report = explained(&policy, "ingress tcp 203.0.113.9:40000 :80 established").report();
    assert!(report.contains("connection        no: its flow is not tracked"), "{report}");
}

#[test]
fn only_the_interfaces_own_address_passes_the_check() {
    let mut policy = web_policy();
    policy.source_dest_check = true;
    let report = explained(&policy, "ingress tcp 203.0.113.9 10.0.1.21:80").report();
    assert!(report.starts_with("REJECT: 10.0.1.21 is not the interface's address"), "{report}");
    assert!(report.contains("  source dest check deny: "), "{report}");
    // A link-local source counts only toward one, too.
    let report = explained(&policy, "ingress udp 169.254.169.254:53 10.0.1.21:80").report();
    assert!(
        report.starts_with("REJECT") && report.contains("such a source counts only toward one"),
        "{report}"
    );
    assert!(explained(&policy, "ingress udp 169.254.169.254:53 :80").report().starts_with("ACCEPT"));
}

#[test]
fn reserved_addresses_are_told_as_what_they_are() {
    let policy = web_policy();
    for (words, why) in [
        ("egress udp - 10.0.1.0:53", "yes: 10.0.1.0 is reserved in the subnet"),
        ("egress udp - 10.0.1.1:53", "yes: 10.0.1.1 is the subnet's router"),
        ("egress udp - 10.0.1.4:53", "no: 10.0.1.4 is neither link-local IPv4 nor reserved in the subnet"),
    ] {
        let report = explained(&policy, words).report();
        assert!(report.contains(why), "{report}");
    }
}

#[test]
fn a_rules_place_is_where_the_document_has_it() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("policy.yaml");
    let text = r#"
Subnets: [{ CidrBlock: 10.0.1.0/24 }]
NetworkInterfaces:
  - { NetworkInterfaceId: eni-1, PrivateIpAddress: 10.0.1.20, Groups: [{ GroupId: sg-1 }] }
  - { NetworkInterfaceId: eni-2, PrivateIpAddress: 10.0.1.21 }
  - { NetworkInterfaceId: eni-3, PrivateIpAddress: 10.0.1.22, Groups: [] }
SecurityGroupRules:
  - { GroupId: sg-1, IsEgress: true, IpProtocol: "-1", CidrIpv4: 0.0.0.0/0 }
  - { GroupId: sg-1, IsEgress: false, IpProtocol: tcp, FromPort: 22, ToPort: 22, CidrIpv4: 192.0.2.0/24 }
"#;
    std::fs::write(&path, text).expect("a file can be written");
    let document = load(&path, &Limits::None).expect("a correct document").document;
    let explained = |id: &str, words: &str| explained(&document.effective(id).expect("a policy").0, words);
    let position = |id, words| explained(id, words).to_json()["rules"][0]["position"].clone();
    assert_eq!(position("eni-1", "ingress tcp 192.0.2.9 :22"), "SecurityGroupRules[1]");
    assert_eq!(position("eni-1", "egress tcp - 192.0.2.9:22"), "SecurityGroupRules[0]");
    assert!(position("eni-2", "egress tcp - 192.0.2.9:22").is_null());
    let report = explained("eni-2", "egress tcp - 192.0.2.9:22").report();
    assert!(report.contains("(AWS's default): all to 0.0.0.0/0"), "{report}");
    let report = explained("eni-3", "egress tcp - 192.0.2.9:22").report();
    assert!(report.starts_with("REJECT: the interface is in no security group"), "{report}");
    assert!(report.contains("deny: the interface is in no security group"), "{report}");
}

#[test]
fn where_services_are_exempt_the_ranges_are_not() {
    let mut policy = web_policy();
    policy.reserved = ["10.0.1.1/32", "10.0.0.2/32"].map(|one| one.parse().expect("a block")).into();
    policy.platform =
        ["169.254.169.254/32", "fd00:ec2::254/128"].map(|one| one.parse().expect("a block")).into();
    for (words, why) in [
        ("egress tcp - 169.254.169.254:80", "169.254.169.254 is in 169.254.0.0/16"),
        (
            "egress tcp - 169.254.7.7:80",
            "169.254.7.7 is in 169.254.0.0/16, of which only services are exempt here",
        ),
        ("egress tcp - [fd00:ec2::254]:80", "fd00:ec2::254 is a service of the platform"),
        ("egress udp - 10.0.0.2:53", "yes: 10.0.0.2 is the VPC's DNS server"),
        ("egress udp - 10.0.1.1:53", "yes: 10.0.1.1 is the subnet's router"),
        (
            "egress udp - 10.0.1.3:53",
            "no: 10.0.1.3 is reserved in the subnet: of the subnet's first four only services are exempt here",
        ),
    ] {
        let report = explained(&policy, words).report();
        assert!(report.contains(why), "{report}");
    }
}

#[test]
fn each_key_has_its_nearest_miss() {
    let policy = web_policy();
    let misses = |words: &str| {
        let json = explained(&policy, words).to_json();
        let misses = json["nearest_misses"].as_array().expect("a list").clone();
        misses
            .iter()
            .map(|miss| format!("{} {}: {}", miss["key"], miss["rule"], miss["by"]))
            .collect::<Vec<_>>()
    };
    let all: Vec<_> = [
        "ingress tcp 198.51.100.7 :21",
        "ingress udp 203.0.113.9 :80",
        "ingress tcp 198.51.101.7 :22",
        "ingress icmp 198.51.100.7 - 13/0",
        "ingress gre 203.0.113.9 -",
    ]
    .into_iter()
    .map(|words| format!("{words}\n  {}", misses(words).join("\n  ")))
    .collect();
    insta::assert_snapshot!(all.join("\n"), @r#"
    ingress tcp 198.51.100.7 :21
      "address" "all from sg-0aaa1111bbbb22223": "198.51.100.7 is not in 10.0.1.20/32: 0 of 32 bits agree"
      "port" "tcp 22 from 198.51.100.0/24": "port 21 is 1 below 22"
      "protocol" "udp 5201 from 198.51.100.0/24": "the rule is for udp, the packet is tcp"
    ingress udp 203.0.113.9 :80
      "address" "all from sg-0aaa1111bbbb22223": "203.0.113.9 is not in 10.0.1.20/32: 0 of 32 bits agree"
      "protocol" "tcp 80 from 0.0.0.0/0": "the rule is for tcp, the packet is udp"
    ingress tcp 198.51.101.7 :22
      "address" "tcp 22 from 198.51.100.0/24": "198.51.101.7 is not in 198.51.100.0/24: 23 of 24 bits agree"
      "port" "tcp 80 from 0.0.0.0/0": "port 22 is 58 below 80"
    ingress icmp 198.51.100.7 - 13/0
      "address" "all from sg-0aaa1111bbbb22223": "198.51.100.7 is not in 10.0.1.20/32: 0 of 32 bits agree"
      "icmp-type" "icmp type 8 from 198.51.100.0/24": "type 13 instead of 8"
      "protocol" "tcp 80 from 0.0.0.0/0": "the rule is for tcp, the packet is icmp"
    ingress gre 203.0.113.9 -
      "address" "all from sg-0aaa1111bbbb22223": "203.0.113.9 is not in 10.0.1.20/32: 0 of 32 bits agree"
      "protocol" "tcp 80 from 0.0.0.0/0": "the rule is for tcp, the packet is gre"
    "#);
}

#[test]
fn tracking_says_why() {
    let mut policy = web_policy();
    let tracking = |policy: &_, words: &str| {
        explained(policy, words).to_json()["tracking"].as_str().expect("text").to_owned()
    };
    let all = [
        "ingress tcp 203.0.113.9 :80",
        "ingress tcp 198.51.100.7 :22",
        "egress tcp - 203.0.113.9:443",
        "ingress icmp 198.51.100.7 - 8/0",
        "egress icmp - 198.51.100.7 3/4",
        "egress gre - 203.0.113.9",
        "ingress tcp 203.0.113.9 :22",
    ];
    let mut said: Vec<_> = all.into_iter().map(|words| tracking(&policy, words)).collect();
    for rule in &mut policy.groups[0].egress {
        rule.service = crate::policy::RuleService::Tcp(1024, u16::MAX);
    }
    said.push(tracking(&policy, "ingress tcp 203.0.113.9 :80"));
    insta::assert_snapshot!(said.join("\n"), @r#"
    rules for any address allow it and its answers, and one of them is for all ports
    no rule for any address allows it
    no ingress rule for any address allows its answers, to port 50000
    ICMP queries always are
    an ICMP message that asks nothing opens no connection
    gre always is, by the pair of addresses
    what is rejected opens no connection
    rules for any address allow it and its answers, but none of them is for all ports
    "#);
}
