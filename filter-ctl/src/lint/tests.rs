//! Each lint where it must speak, and where it must be silent.

use std::fs;

use crate::document::{Diagnostic, Limits, load};

/// `tcp 443`, `tcp 20-22`, `icmp`, `all` as fields of a group's rule.
fn service(text: &str) -> String {
    let mut words = text.split_whitespace();
    let protocol = words.next().unwrap_or("all");
    let (first, last) = match words.next() {
        Some(ports) => ports.split_once('-').unwrap_or((ports, ports)),
        None => ("-1", "-1"),
    };
    match protocol {
        "all" => "IpProtocol: \"-1\"".to_owned(),
        _ => format!("IpProtocol: {protocol}, FromPort: {first}, ToPort: {last}"),
    }
}

/// A rule of a group: `tcp 443 from 0.0.0.0/0`, `… from sg-1`, `… from pl-1`.
fn rule(text: &str) -> String {
    let (what, peer) = text.split_once(" from ").expect("a peer");
    let peer = match peer {
        group if group.starts_with("sg-") => format!("UserIdGroupPairs: [{{ GroupId: {group} }}]"),
        list if list.starts_with("pl-") => format!("PrefixListIds: [{{ PrefixListId: {list} }}]"),
        block if block.contains(':') => format!("Ipv6Ranges: [{{ CidrIpv6: \"{block}\" }}]"),
        block => format!("IpRanges: [{{ CidrIp: {block} }}]"),
    };
    format!("{{ {}, {peer} }}", service(what))
}

/// A group with inbound and outbound rules.
fn group(id: &str, ingress: &[&str], egress: &[&str]) -> String {
    let list = |rules: &[&str]| rules.iter().map(|text| rule(text)).collect::<Vec<_>>().join(", ");
    format!(
        "  - {{ GroupId: {id}, GroupName: {}, IpPermissions: [{}], IpPermissionsEgress: [{}] }}\n",
        id.replace("sg-", "group "),
        list(ingress),
        list(egress)
    )
}

/// A rule of a network ACL: `100 in allow tcp 443 0.0.0.0/0`.
fn entry(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [number, direction, action, protocol, rest @ ..] = words.as_slice() else { panic!("{text}") };
    let block = rest.last().expect("a block");
    let ports = match rest {
        [ports, _] => ports.split_once('-').unwrap_or((ports, ports)),
        _ => ("-1", "-1"),
    };
    let (first, last) = ports;
    let ports = match *protocol {
        "tcp" | "udp" => format!("PortRange: {{ From: {first}, To: {last} }}"),
        "icmp" | "icmpv6" => format!("IcmpTypeCode: {{ Type: {first}, Code: {last} }}"),
        _ => "PortRange: null".to_owned(),
    };
    let field = if block.contains(':') { "Ipv6CidrBlock" } else { "CidrBlock" };
    format!(
        "      - {{ RuleNumber: {number}, Egress: {}, RuleAction: {action}, Protocol: {protocol}, {ports}, {field}: \"{block}\" }}\n",
        *direction == "out"
    )
}

/// A document: interfaces of 10.0.1.0/24 by their groups, groups, entries of the subnet's ACL.
fn document(interfaces: &[&[&str]], groups: &[String], entries: &[&str]) -> String {
    let mut text = "Subnets: [{ SubnetId: subnet-1, CidrBlock: 10.0.1.0/24, Ipv6CidrBlock: \"2001:db8::/64\" }]\n\
         ManagedPrefixLists: [{ PrefixListId: pl-1, Entries: [{ Cidr: 192.0.2.0/25 }, { Cidr: 192.0.2.128/25 }] }]\n\
         NetworkInterfaces:\n"
        .to_owned();
    for (number, groups) in interfaces.iter().enumerate() {
        let groups: Vec<String> = groups.iter().map(|id| format!("{{ GroupId: {id} }}")).collect();
        text += &format!(
            "  - {{ NetworkInterfaceId: eni-{number}, PrivateIpAddress: 10.0.1.{}, Groups: [{}] }}\n",
            number + 20,
            groups.join(", ")
        );
    }
    if interfaces.is_empty() {
        text = text.replace("NetworkInterfaces:\n", "");
    }
    text += &format!("SecurityGroups:\n{}", groups.concat());
    if !entries.is_empty() {
        text += "NetworkAcls:\n  - NetworkAclId: acl-1\n    IsDefault: true\n    Entries:\n";
        text.extend(entries.iter().map(|text| entry(text)));
    }
    text
}

fn findings(text: &str) -> Vec<Diagnostic> {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("policy.yaml");
    fs::write(&path, text).expect("a file can be written");
    let loaded = load(&path, &Limits::None).unwrap_or_else(|errors| panic!("{}", errors.render(false)));
    loaded.document.lint()
}

/// The messages of one kind of finding, each with its severity's first letter.
fn found(id: &str, text: &str) -> Vec<String> {
    let severity = |one: &Diagnostic| format!("{:?}", one.severity).to_lowercase();
    let of_id = findings(text).into_iter().filter(|one| one.id == id);
    of_id.map(|one| format!("{}: {}", severity(&one), one.message)).collect()
}

fn acl(entries: &[&str]) -> String {
    let closed = group("sg-1", &[], &[]);
    document(&[&["sg-1"]], &[closed], entries)
}

#[test]
fn an_acl_rule_below_a_wider_one_never_matches() {
    let shadowed = |entries: &[&str]| found("shadowed-rule", &acl(entries));
    assert_eq!(
        shadowed(&["100 in allow all 0.0.0.0/0", "110 in deny tcp 22 198.51.100.0/24"]),
        [
            "warning: ingress rule 110 (deny tcp 22 198.51.100.0/24) of acl-1 can never match: rule 100 (allow all 0.0.0.0/0) decides about all of it first"
        ]
    );
    assert_eq!(
        shadowed(&["110 in allow tcp 80 10.0.0.0/8", "100 in allow tcp 80-81 0.0.0.0/0"]),
        [
            "note: ingress rule 110 (allow tcp 80 10.0.0.0/8) of acl-1 can never match: rule 100 (allow tcp 80-81 0.0.0.0/0) decides about all of it first"
        ]
    );
    // Two that only together have all of it; whether one of them decides otherwise matters.
    let halves = |action: &str| {
        let first = format!("10 out {action} udp 0-999 2001:db8::/33");
        shadowed(&[&first, "20 out allow udp 0-999 2001:db8:8000::/33", "30 out allow udp 53 2001:db8::/32"])
    };
    let together = "egress rule 30 (allow udp 53 2001:db8::/32) of acl-1 can never match: rules with lower numbers together decide about all of it first";
    assert_eq!(halves("allow"), [format!("note: {together}")]);
    assert_eq!(halves("deny"), [format!("warning: {together}")]);
}

#[test]
fn what_decides_about_a_part_of_a_shadowed_rule_counts() {
    // Half of 120 is decided about before the rule that has all of it; what stands behind that one decides
    // about nothing of it.
    let shadowed = |before: &str, behind: &str| {
        let all = acl(&[before, "100 in allow all 0.0.0.0/0", behind, "120 in allow tcp 22 203.0.0.0/16"]);
        found("shadowed-rule", &all).pop().expect("rule 120 is shadowed")
    };
    let rule = "ingress rule 120 (allow tcp 22 203.0.0.0/16) of acl-1 can never match: rule 100 (allow all 0.0.0.0/0) decides about";
    let rest = "what rules before that one leave of it";
    for (before, severity, what) in [
        ("90 in deny tcp 22 203.0.0.0/17", "warning", rest),
        ("90 in deny all 203.0.7.0/24", "warning", rest),
        ("90 in allow tcp 22 203.0.0.0/17", "note", rest),
        ("90 in deny tcp 23 203.0.0.0/17", "note", "all of it first"),
        ("90 in deny tcp 22 203.1.0.0/17", "note", "all of it first"),
    ] {
        let told = format!("{severity}: {rule} {what}");
        assert_eq!(shadowed(before, "110 in deny tcp 22 203.0.0.0/17"), told, "{before}");
    }
    let denied = acl(&[
        "90 in allow tcp 22 203.0.0.0/17",
        "100 in deny all 0.0.0.0/0",
        "110 in allow tcp 22 203.0.0.0/16",
    ]);
    assert!(found("shadowed-rule", &denied)[0].starts_with("warning: "));
}

#[test]
fn an_acl_rule_that_something_is_left_for_is_no_finding() {
    for entries in [
        // The narrow one first.
        ["100 in deny tcp 22 198.51.100.0/24", "110 in allow all 0.0.0.0/0"],
        // Another direction, family, protocol; one port more; half of the addresses.
        ["100 out allow all 0.0.0.0/0", "110 in deny tcp 22 198.51.100.0/24"],
        ["100 in allow all ::/0", "110 in deny tcp 22 198.51.100.0/24"],
        ["100 in allow udp 0-65535 0.0.0.0/0", "110 in deny tcp 22 198.51.100.0/24"],
        ["100 in allow tcp 22 0.0.0.0/0", "110 in deny tcp 22-23 198.51.100.0/24"],
        ["100 in allow tcp 22 198.51.100.0/25", "110 in deny tcp 22 198.51.100.0/24"],
    ] {
        assert!(found("shadowed-rule", &acl(&entries)).is_empty(), "{entries:?}");
    }
}

#[test]
fn a_finding_names_its_rule_and_its_line() {
    let text = acl(&["100 in allow all 0.0.0.0/0", "110 in deny tcp 22 198.51.100.0/24"]);
    let all = findings(&text);
    let one = all.iter().find(|one| one.id == "shadowed-rule").expect("a finding");
    assert_eq!(one.field, "NetworkAcls[0].Entries[1]");
    let line = text.lines().position(|line| line.contains("RuleNumber: 110")).map(|line| line + 1);
    assert_eq!(one.line, line);
    let json = serde_json::to_value(one).expect("JSON");
    assert_eq!(
        json["rule"],
        serde_json::json!({ "network_acl_id": "acl-1", "direction": "ingress", "rule_number": 110 })
    );
    let web = group("sg-1", &["tcp 80 from ::/0", "tcp 22 from 0.0.0.0/0"], &[]);
    let all = findings(&document(&[&["sg-1"]], &[web], &[]));
    let one = all.iter().find(|one| one.id == "open-to-world").expect("a finding");
    assert_eq!(one.field, "SecurityGroups[0].IpPermissions[1].IpRanges[0]");
    let json = serde_json::to_value(one).expect("JSON");
    assert_eq!(json["rule"]["group_id"], "sg-1");
    assert!(json["rule"]["rule_id"].as_str().is_some_and(|id| id.starts_with("sgr-")), "{json}");
    // Where a rule is missing, its direction is named; of a group without a user, the group.
    let closed = acl(&["100 in allow tcp 443 0.0.0.0/0"])
        .replace(
            "SecurityGroups:\n",
            &format!("SecurityGroups:\n{}", group("sg-2", &["tcp 443 from 0.0.0.0/0"], &[])),
        )
        .replace("Groups: [{ GroupId: sg-1 }]", "Groups: [{ GroupId: sg-2 }]");
    let rules: Vec<_> = findings(&closed)
        .iter()
        .map(|one| (one.id, serde_json::to_value(&one.rule).expect("JSON")))
        .collect();
    assert_eq!(
        rules,
        [
            ("unused-group", serde_json::json!({ "group_id": "sg-1", "direction": null, "rule_id": null })),
            (
                "forgotten-ephemeral-ports",
                serde_json::json!({ "network_acl_id": "acl-1", "direction": "egress", "rule_number": null })
            ),
        ]
    );
}

#[test]
fn nothing_is_told_twice() {
    let ids = |text: &str| findings(text).iter().map(|one| one.id).collect::<Vec<_>>();
    assert_eq!(
        ids(&acl(&["100 in allow all 10.0.1.0/24", "110 in deny tcp 22 10.0.1.128/25"])),
        ["rule-for-own-subnet", "rule-for-own-subnet"]
    );
    // The second of the two is a duplicate-rule.
    let rules = ["tcp 443 from 198.51.100.0/24", "tcp 443 from 198.51.100.0/24", "all from 198.51.0.0/16"];
    assert_eq!(ids(&document(&[&["sg-1"]], &[group("sg-1", &rules, &[])], &[])), ["covered-rule"]);
}

#[test]
fn a_rule_for_the_own_subnet_never_matches() {
    let own = |entries: &[&str]| found("rule-for-own-subnet", &acl(entries));
    assert_eq!(
        own(&["100 in deny tcp 22 10.0.1.128/25"]),
        [
            "warning: ingress rule 100 (deny tcp 22 10.0.1.128/25) of acl-1 can never match: traffic within subnet-1 does not meet its network ACL"
        ]
    );
    assert!(own(&["100 in deny tcp 22 10.0.0.0/16", "110 in deny tcp 22 10.0.2.0/24"]).is_empty());
    let two = acl(&["100 in deny tcp 22 10.0.1.128/25"])
        .replace("/64\" }]", "/64\" }, { SubnetId: subnet-2, CidrBlock: 10.0.2.0/24 }]");
    assert!(found("rule-for-own-subnet", &two).is_empty(), "the other subnet's traffic meets it");
}

fn covered(rules: &[&str]) -> Vec<String> {
    found("covered-rule", &document(&[&["sg-1"]], &[group("sg-1", rules, &[])], &[]))
}

#[test]
fn a_rule_that_its_own_group_covers_changes_nothing() {
    assert_eq!(
        covered(&["tcp 443 from 198.51.100.0/24", "tcp 400-500 from 198.51.0.0/16"]),
        [
            "note: ingress rule tcp 443 198.51.100.0/24 of sg-1 changes nothing: rule tcp 400-500 198.51.0.0/16 allows all of it (of the same group)"
        ]
    );
    // A list by a block, a block by a list's entries together.
    assert_eq!(covered(&["tcp 80 from pl-1", "all from 192.0.2.0/24"]).len(), 1);
    assert_eq!(
        covered(&["tcp 80 from pl-1", "tcp 80 from 192.0.2.0/24"]),
        [
            "note: ingress rule tcp 80 192.0.2.0/24 of sg-1 changes nothing: rule tcp 80 pl-1 allows all of it (of the same group)"
        ]
    );
    // A group's members, today, by a block; a reference by a wider one to the same group.
    assert_eq!(covered(&["tcp 80 from sg-1", "tcp 80 from 10.0.0.0/8"]).len(), 1);
    assert_eq!(covered(&["tcp 80 from sg-1", "tcp 80-90 from sg-1"]).len(), 1);
}

#[test]
fn a_rule_that_allows_something_more_is_no_finding() {
    for rules in [
        ["tcp 443 from 198.51.100.0/24", "tcp 443 from 198.51.100.0/25"].as_slice(),
        &["tcp 443 from 203.0.113.0/24", "tcp 443 from 198.51.0.0/16"],
        &["tcp 443 from 198.51.100.0/24", "udp 443 from 198.51.0.0/16"],
        &["tcp 443 from ::/0", "all from 0.0.0.0/0"],
        // Who is in the group tomorrow?
        &["tcp 80 from 10.0.1.20/32", "tcp 80 from sg-1"],
    ] {
        let wide: Vec<String> = covered(rules);
        let narrow = rules[0].split(" from ").nth(1).expect("a peer");
        assert!(!wide.iter().any(|one| one.contains(&format!("{narrow} of sg-1"))), "{rules:?}: {wide:?}");
    }
    // Only 0.0.0.0/0 itself leaves flows untracked: two halves are not the same.
    assert!(
        covered(&["tcp 80 from 0.0.0.0/1", "tcp 80 from 128.0.0.0/1", "tcp 80 from 0.0.0.0/0"])
            .iter()
            .all(|one| !one.contains("tcp 80 0.0.0.0/0 of sg-1"))
    );
    // The same rule twice is told of as duplicate-rule.
    assert!(covered(&["tcp 80 from 10.0.0.0/8", "tcp 80 from 10.0.0.0/8"]).is_empty());
}

#[test]
fn another_group_covers_only_if_every_interface_is_in_it() {
    let groups = [
        group("sg-1", &["tcp 22 from 198.51.100.0/24"], &[]),
        group("sg-2", &["tcp 0-1023 from 198.51.0.0/16"], &[]),
    ];
    let together = found("covered-rule", &document(&[&["sg-1", "sg-2"]], &groups, &[]));
    assert_eq!(
        together,
        [
            "note: ingress rule tcp 22 198.51.100.0/24 of sg-1 changes nothing: rule tcp 0-1023 198.51.0.0/16 of sg-2 allows all of it (on every interface of the group)"
        ]
    );
    assert!(found("covered-rule", &document(&[&["sg-1", "sg-2"], &["sg-1"]], &groups, &[])).is_empty());
    assert!(found("covered-rule", &document(&[&["sg-1"], &["sg-2"]], &groups, &[])).is_empty());
}

#[test]
fn duplicates_across_groups_are_told_once_where_an_interface_is_in_both() {
    let rules = ["tcp 443 from 0.0.0.0/0"];
    let groups = [group("sg-1", &rules, &[]), group("sg-2", &rules, &[])];
    let both = document(&[&["sg-1"], &["sg-2", "sg-1"], &["sg-1", "sg-2"]], &groups, &[]);
    assert_eq!(
        found("duplicate-across-groups", &both),
        ["note: ingress rule tcp 443 0.0.0.0/0 of sg-2 is also in sg-1, and eni-1 is in both groups"]
    );
    assert!(found("covered-rule", &both).is_empty(), "not told twice");
    let default = ["all from 0.0.0.0/0", "all from ::/0"];
    let groups_as_new = [group("sg-1", &[], &default), group("sg-2", &[], &default)];
    let new = document(&[&["sg-1", "sg-2"]], &groups_as_new, &[]);
    assert_eq!(findings(&new).len(), 0, "what AWS puts into every group");
    assert!(found("duplicate-across-groups", &document(&[&["sg-1"], &["sg-2"]], &groups, &[])).is_empty());
}

#[test]
fn sensitive_ports_that_are_open_to_the_world_are_told() {
    let open = |rules: &[&str]| {
        found("open-to-world", &document(&[&["sg-1"]], &[group("sg-1", rules, &["all from 0.0.0.0/0"])], &[]))
    };
    assert_eq!(
        open(&["tcp 22 from 0.0.0.0/0", "udp 161 from ::/0"]),
        [
            "warning: ingress rule tcp 22 0.0.0.0/0 of sg-1 opens SSH (tcp 22) to the whole IPv4 internet",
            "warning: ingress rule udp 161 ::/0 of sg-1 opens SNMP (udp 161) to the whole IPv6 internet",
        ]
    );
    assert_eq!(
        open(&["tcp 3389 from 128.0.0.0/1", "tcp 3306 from 2000::/3"]),
        [
            "warning: ingress rule tcp 3389 128.0.0.0/1 of sg-1 opens RDP (tcp 3389) to 128.0.0.0/1, a large part of the IPv4 internet",
            "warning: ingress rule tcp 3306 2000::/3 of sg-1 opens MySQL (tcp 3306) to 2000::/3, a large part of the IPv6 internet",
        ]
    );
    // The world in pieces; and what is not the world.
    let pieces: Vec<String> = (0..8).map(|piece| format!("tcp 22 from {}.0.0.0/3", piece * 32)).collect();
    let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
    assert_eq!(
        open(&pieces),
        ["warning: ingress rules tcp 22 of sg-1 together open SSH (tcp 22) to the whole IPv4 internet"]
    );
    assert_eq!(open(&pieces[..1]), [""; 0]);
    assert_eq!(
        open(&["tcp 22 from 2000::/4", "tcp 22 from 3000::/4"]),
        [
            "warning: ingress rules tcp 22 of sg-1 together open SSH (tcp 22) to 2000::/3, a large part of the IPv6 internet"
        ]
    );
    assert_eq!(open(&["tcp 22 from 2000::/4", "tcp 23 from 3000::/4", "tcp 22 from e000::/3"]), [""; 0]);
    assert!(open(&["all from 0.0.0.0/0"])[0].contains("every port of every protocol"));
    assert!(
        open(&["tcp 0-65535 from 0.0.0.0/0"])[0]
            .contains("sensitive ports, from FTP data (tcp 20) to MongoDB (tcp 27019)")
    );
    // Public services, other protocols, narrow blocks.
    let silent = [
        "tcp 80 from 0.0.0.0/0",
        "tcp 443 from ::/0",
        "udp 22 from 0.0.0.0/0",
        "tcp 22 from 10.0.0.0/8",
        "icmp from 0.0.0.0/0",
    ];
    assert_eq!(open(&silent), [""; 0]);
}

#[test]
fn every_sensitive_port_stands_in_the_documentation() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/lints.md");
    let page = fs::read_to_string(page).expect("docs/lints.md");
    for (protocol, port, name) in super::exposed::SENSITIVE {
        let protocol = if *protocol == 6 { "tcp" } else { "udp" };
        let row = page.lines().find(|line| line.starts_with(&format!("| {name} |"))).unwrap_or_default();
        let listed = row.split(['|', ',']).any(|cell| cell.trim() == format!("{protocol} {port}"));
        assert!(listed, "{name}: {protocol} {port} is not in docs/lints.md");
    }
}

#[test]
fn groups_that_nobody_uses_are_told_and_references_that_match_nothing() {
    let groups = [
        group("sg-1", &["tcp 22 from sg-2", "tcp 23 from sg-1"], &[]),
        group("sg-2", &[], &[]),
        group("sg-3", &["tcp 22 from sg-3"], &[]),
        group("sg-4", &["tcp 22 from sg-gone"], &[]).replace("group 4", "default"),
    ];
    let text = document(&[&["sg-1"]], &groups, &[]);
    assert_eq!(
        found("unused-group", &text),
        ["note: no network interface is in sg-3, and no other group's rule names it"]
    );
    assert_eq!(
        found("empty-reference", &text),
        ["note: ingress rule tcp 22 sg-2 of sg-1 matches nothing now: no address of an interface is in sg-2"]
    );
    let used = document(&[&["sg-1", "sg-2", "sg-3"]], &groups, &[]);
    assert!(found("unused-group", &used).is_empty());
    assert!(found("empty-reference", &used).is_empty());
    assert!(
        found("unused-group", &document(&[], &groups, &[])).is_empty(),
        "a document without interfaces is a part of one"
    );
}

/// The findings about ephemeral ports for groups that admit a service in or out.
fn forgotten(ingress: &[&str], egress: &[&str], entries: &[&str]) -> Vec<String> {
    found("forgotten-ephemeral-ports", &document(&[&["sg-1"]], &[group("sg-1", ingress, egress)], entries))
}

#[test]
fn answers_to_inbound_connections_need_the_clients_ports() {
    let web = ["tcp 443 from 0.0.0.0/0"];
    let answers = |rule: &str| forgotten(&web, &[], &["100 in allow tcp 443 0.0.0.0/0", rule]);
    assert_eq!(
        answers("100 out allow tcp 443 0.0.0.0/0"),
        [
            "warning: acl-1 lets tcp connections in that sg-1 admits (tcp 443 0.0.0.0/0), but its egress rules refuse answers to 0.0.0.0/0 at tcp 32768-61000 (Linux), tcp 49152-65535 (Windows), tcp 1024-65535 (NAT gateways, load balancers and Lambda)"
        ]
    );
    let only = answers("100 out allow tcp 32768-61000 0.0.0.0/0");
    assert!(
        only[0].starts_with("note:")
            && only[0].ends_with(
                "at some of tcp 49152-65535 (Windows), some of tcp 1024-65535 (NAT gateways, load balancers and Lambda)"
            ),
        "{only:?}"
    );
    let windows = answers("100 out allow tcp 49152-65535 0.0.0.0/0");
    assert!(
        windows[0].starts_with("warning:")
            && windows[0].contains("(Linux)")
            && !windows[0].contains("(Windows)"),
        "{windows:?}"
    );
    assert!(answers("100 out allow udp 1024-65535 0.0.0.0/0")[0].contains("(Linux)"), "another protocol");
    assert!(answers("100 out allow tcp 1024-65535 ::/0")[0].contains("(Linux)"), "another family");
    assert_eq!(answers("100 out allow tcp 1024-65535 0.0.0.0/0"), [""; 0]);
    assert_eq!(answers("100 out allow all 0.0.0.0/0"), [""; 0]);
    let denied = [
        "100 in allow tcp 443 0.0.0.0/0",
        "90 out deny tcp 3389 0.0.0.0/0",
        "95 out deny all 203.0.113.0/24",
        "100 out allow tcp 1024-65535 0.0.0.0/0",
    ];
    assert_eq!(forgotten(&web, &[], &denied), [""; 0], "what is denied on purpose is not forgotten");
    let closed = [
        "100 in allow tcp 443 0.0.0.0/0",
        "90 out deny tcp 1024-65535 0.0.0.0/0",
        "100 out allow all 0.0.0.0/0",
    ];
    assert_eq!(forgotten(&web, &[], &closed).len(), 1, "a rule that denies all of them is as good as none");
}

#[test]
fn answers_to_outbound_connections_need_the_own_ports() {
    let updates = ["tcp 443 from 0.0.0.0/0"];
    let answers = |rule: &str| forgotten(&[], &updates, &["100 out allow tcp 443 0.0.0.0/0", rule]);
    assert!(answers("100 in allow tcp 443 0.0.0.0/0")[0].starts_with(
        "warning: acl-1 lets tcp connections out that sg-1 admits (tcp 443 0.0.0.0/0), but its ingress rules refuse answers from 0.0.0.0/0 at tcp 32768-61000 (Linux)"
    ));
    assert_eq!(answers("100 in allow tcp 1024-65535 0.0.0.0/0"), [""; 0]);
}

#[test]
fn only_traffic_that_groups_and_acl_admit_has_answers() {
    let entries = ["100 in allow tcp 443 0.0.0.0/0"];
    assert_eq!(forgotten(&["tcp 22 from 0.0.0.0/0"], &[], &entries), [""; 0], "the ACL refuses it");
    assert_eq!(forgotten(&[], &[], &entries), [""; 0], "the group refuses it");
    assert_eq!(forgotten(&["tcp 443 from 10.0.1.0/24"], &[], &entries), [""; 0], "the ACL is not asked");
    assert_eq!(forgotten(&["tcp 443 from 10.0.2.0/24"], &[], &entries).len(), 1);
    // AWS's own example of a server's ACL: outbound rules for ephemeral ports are there for answers,
    // though the default outbound rule of the group admits connections to such ports.
    let server = ["100 in allow tcp 443 0.0.0.0/0", "100 out allow tcp 1024-65535 0.0.0.0/0"];
    assert_eq!(forgotten(&["tcp 443 from 0.0.0.0/0"], &["all from 0.0.0.0/0"], &server), [""; 0]);
    assert_eq!(forgotten(&[], &["tcp 8443 from 0.0.0.0/0"], &server).len(), 1, "a port of its own is meant");
    // Narrower classes may have all of a block.
    let halves =
        ["100 in allow tcp 443 0.0.0.0/0", "100 out allow all 0.0.0.0/1", "110 out allow all 128.0.0.0/1"];
    assert_eq!(forgotten(&["tcp 443 from 0.0.0.0/0"], &[], &halves), [""; 0]);
    let half = forgotten(&["tcp 443 from 0.0.0.0/0"], &[], &halves[..2]);
    assert!(half[0].contains("refuse answers to 0.0.0.0/0"), "{half:?}");
}

#[test]
fn path_mtu_discovery_needs_its_message() {
    let found = |entries: &[&str]| found("path-mtu-discovery", &acl(entries));
    let tcp = ["100 in allow tcp 0-65535 0.0.0.0/0", "100 out allow tcp 0-65535 0.0.0.0/0"];
    assert_eq!(
        found(&tcp),
        [
            "note: acl-1 lets tcp pass with 0.0.0.0/0, but refuses ICMP type 3 code 4 (fragmentation needed) inbound"
        ]
    );
    assert_eq!(found(&[&tcp[..], &["110 in allow icmp 3-4 0.0.0.0/0"]].concat()), [""; 0]);
    assert_eq!(found(&tcp[..1]), [""; 0], "no tcp passes both ways");
    let v6 = ["100 in allow tcp 0-65535 ::/0", "100 out allow all ::/0", "110 in allow icmpv6 128-0 ::/0"];
    assert!(found(&v6)[0].contains("ICMPv6 type 2"));
}

#[test]
fn ten_thousand_rules_of_each_kind_are_looked_at() {
    let host = |number: usize| format!("198.18.{}.{}/32", number / 256, number % 256);
    let rules: Vec<String> =
        (0..10_000).map(|number| format!("tcp {} from {}", number + 1, host(number))).collect();
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    let mut entries: Vec<String> =
        (0..10_000).map(|number| format!("{} in deny all {}", number + 1, host(number))).collect();
    entries
        .extend(["20000 in allow all 0.0.0.0/0".to_owned(), "20001 in deny all 203.0.113.9/32".to_owned()]);
    let entries: Vec<&str> = entries.iter().map(String::as_str).collect();
    let all = findings(&document(&[&["sg-1"]], &[group("sg-1", &rules, &[])], &entries));
    let ids: Vec<&str> = all.iter().map(|one| one.id).collect();
    assert_eq!(ids, ["shadowed-rule"]);
}
