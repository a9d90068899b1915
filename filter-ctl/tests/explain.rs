//! `filter-ctl explain` as it is called: forms of the question, output, exit codes.

use assert_cmd::Command;
use serde_json::Value;

const WEB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/web.yaml");
const DESCRIBE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/describe");

fn explain(document: &str, words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_filter-ctl"));
    command.arg("explain").arg(document).args(words.split_whitespace()).env("NO_COLOR", "1");
    command
}

fn printed(document: &str, words: &str) -> String {
    let output = explain(document, words).assert().success().get_output().stdout.clone();
    String::from_utf8(output).expect("UTF-8")
}

fn json(document: &str, words: &str) -> Value {
    serde_json::from_str(&printed(document, &format!("{words} --output json"))).expect("JSON")
}

/// What it says on standard error, and its exit code.
fn refused(document: &str, words: &str) -> (i32, String) {
    let assert = explain(document, words).assert().failure();
    let output = assert.get_output();
    assert!(output.stdout.is_empty(), "{words}");
    let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    (output.status.code().expect("an exit code"), text)
}

#[test]
fn an_answered_question_is_a_success_whatever_the_verdict() {
    let words = "--direction ingress --protocol tcp --source 203.0.113.9:40000 --destination 10.0.1.20:23";
    insta::assert_snapshot!(printed(WEB, words), @r#"
    REJECT: rule 90 of the network ACL acl-0b2b2b2b2b2b2b2b2 denies it

      packet            ingress of eni-0123456789abcdef0: tcp 203.0.113.9:40000 → 10.0.1.20:23, the first of a connection
      never filtered    no: neither ARP, neighbour or listener discovery, nor DHCP
      exempt            no: 203.0.113.9 is neither link-local IPv4 nor reserved in the subnet
      network ACL       deny: acl-0b2b2b2b2b2b2b2b2 rule 90: deny tcp 23 from 0.0.0.0/0
      connection        no: it is the first packet of a new one
      security groups   deny: none of the 11 ingress rules of sg-0aaa1111bbbb22223 matches
                          but for the address: sg-0aaa1111bbbb22223 sgr-d631be6a74b547414 IpPermissions[6].UserIdGroupPairs[0]: all from sg-0aaa1111bbbb22223; 203.0.113.9 is not in 10.0.1.20/32: 0 of 32 bits agree
                          but for the port: sg-0aaa1111bbbb22223 sgr-736d341b51d40266f IpPermissions[0].IpRanges[0]: tcp 80 from 0.0.0.0/0; port 23 is 57 below 80
      tracked           no: what is rejected opens no connection
      reply             none; were the packet accepted, accept: tcp 10.0.1.20:23 → 203.0.113.9:40000, by state; network ACL rule 100 allows it (all to 0.0.0.0/0)
    "#);
}

#[test]
fn json_has_the_same_and_the_reply() {
    let words = "--direction ingress --protocol 6 --source [2001:db8:100::7]:40000 --destination :22";
    let answer = json(WEB, words);
    assert_eq!(answer["verdict"], "accept");
    assert_eq!(answer["layer"], "security-group");
    assert_eq!(answer["tracked"], true);
    assert_eq!(answer["rules"][0]["description"], "office");
    assert_eq!(answer["rules"][0]["position"], "IpPermissions[1].Ipv6Ranges[0]");
    assert_eq!(answer["rule"]["rule_id"], answer["rules"][0]["rule_id"]);
    assert_eq!(answer["network_acl"]["rule"]["rule_number"], 101);
    assert_eq!(answer["destination"], "2001:db8:0:1::20");
    assert_eq!(answer["reply"]["reason"], "connection");
    assert_eq!(answer["reply"]["network_acl"]["rule"]["rule_number"], 101);
    let layers: Vec<_> =
        answer["layers"].as_array().expect("a list").iter().map(|one| &one["layer"]).collect();
    assert_eq!(layers, ["never-filtered", "exempt", "network-acl", "connection", "security-group"]);
}

#[test]
fn the_interface_is_found_by_its_address_or_by_its_name() {
    let asked = "--direction ingress --protocol tcp --source 203.0.113.9";
    let by_address = json(DESCRIBE, &format!("{asked} --destination 10.20.1.10:443"));
    assert_eq!(by_address["interface_id"], "eni-0c4e8a2f6b1d39507");
    let by_name = json(DESCRIBE, &format!("{asked} --destination :443 --interface-id eni-07b3d9e5f1a2c8640"));
    assert_eq!(by_name["interface_id"], "eni-07b3d9e5f1a2c8640");
    let (code, text) = refused(DESCRIBE, &format!("{asked} --destination :443"));
    assert_eq!(code, 2);
    insta::assert_snapshot!(text, @"error: the document has 2 network interfaces: name one with --interface-id (eni-0c4e8a2f6b1d39507, eni-07b3d9e5f1a2c8640)");
    assert_eq!(refused(DESCRIBE, &format!("{asked} --destination :443 --interface-id eni-1")).0, 4);
}

#[test]
fn what_contradicts_itself_is_a_usage_error() {
    for words in [
        "--direction ingress --protocol tcp --source 203.0.113.9",
        "--direction ingress --protocol tcp --source 203.0.113.9 --destination [2001:db8::1]:22",
        "--direction ingress --protocol icmp --source 203.0.113.9 --destination :22 --icmp 8",
        "--direction ingress --protocol icmp --source 203.0.113.9",
        "--direction ingress --protocol icmp --source 203.0.113.9 --icmp 8/256",
        "--direction ingress --protocol all --source 203.0.113.9",
        "--direction sideways --protocol tcp --source 203.0.113.9 --destination :22",
        "--direction ingress --protocol tcp --source nowhere --destination :22",
        "--direction egress --protocol tcp --source 10.0.1.20",
        "--protocol tcp --source 203.0.113.9 --destination :22",
        "--packets - --direction ingress",
        "--packets /nowhere/packets",
    ] {
        let (code, text) = refused(WEB, words);
        assert_eq!(code, 2, "{words}: {text}");
    }
    let (code, _) = refused("/nowhere", "--direction ingress --protocol gre --source 203.0.113.9");
    assert_eq!(code, 3);
}

#[test]
fn a_devices_table_decides_what_is_established() {
    let words = "--device nowhere --direction ingress --protocol tcp --source 203.0.113.9 --established";
    let (code, text) = refused(WEB, &format!("{words} --destination :22"));
    assert_eq!(code, 2);
    insta::assert_snapshot!(text, @"error: --established cannot go with --device: the device's table of connections decides");
}

#[test]
fn quotas_hold_here_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let limits = folder.path().join("limits.json");
    std::fs::write(&limits, r#"{ "RulesPerSecurityGroup": 2 }"#).expect("written");
    let asked = "--direction ingress --protocol gre --source 203.0.113.9";
    let limits = limits.to_str().expect("UTF-8");
    assert_eq!(refused(WEB, &format!("{asked} --limits {limits}")).0, 3);
}

#[test]
fn packets_are_answered_line_by_line_whatever_the_output() {
    let lines = "{\"direction\":\"ingress\",\"protocol\":\"tcp\",\"source\":\"203.0.113.9\",\"destination_port\":23}\nno\n";
    for output in ["", "--output json", "--output table"] {
        let assert = explain(WEB, &format!("--packets - {output}")).write_stdin(lines).assert().success();
        let text = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
        assert_eq!(
            text,
            "{\"verdict\":\"reject\",\"layer\":\"network-acl\",\"rule\":90,\"rules\":[],\"tracked\":false,\"reason\":\"network-acl\"}\n\
             {\"error\":\"line 2: not a JSON object\"}\n"
        );
    }
    // Of several interfaces, the one whose primary address the packet names.
    let addressed = "{\"direction\":\"ingress\",\"protocol\":\"tcp\",\"source\":\"203.0.113.9\",\"destination\":\"10.20.1.10:443\"}\n";
    let assert = explain(DESCRIBE, "--packets -").write_stdin(addressed).assert().success();
    let text = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    assert!(text.starts_with("{\"verdict\":"), "{text}");
    let assert = explain(DESCRIBE, "--packets -").write_stdin(lines).assert().success();
    let text = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    assert!(text.starts_with("{\"error\":\"line 1: interface_id: missing"), "{text}");
}

#[test]
fn who_fails_is_named() {
    let full = std::fs::File::options().write(true).open("/dev/full").expect("/dev/full");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_filter-ctl"));
    let output = command
        .args(["explain", WEB, "--packets", "/dev/null"])
        .stdout(full.try_clone().expect("a file"))
        .output()
        .expect("it runs");
    assert!(output.status.success(), "nothing was to be written");
    let folder = tempfile::tempdir().expect("a folder");
    let packets = folder.path().join("packets");
    std::fs::write(&packets, "no\n").expect("written");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_filter-ctl"));
    command.args(["explain", WEB, "--packets"]).arg(&packets).stdout(full);
    let output = command.output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("write to standard output: ") && !text.contains("packets"), "{text}");
    let words = "--direction ingress --protocol -1 --source 203.0.113.9";
    assert!(refused(WEB, words).1.contains("`-1` is no protocol: expected tcp"));
}
