//! `filter-ctl check` as a program: what it prints, and how it ends.

use std::fs;

use assert_cmd::{Command, assert::Assert};
use serde_json::Value;

const POLICY: &str = r#"
Subnets: [{ SubnetId: subnet-1, CidrBlock: 10.0.1.0/24 }]
NetworkInterfaces: [{ NetworkInterfaceId: eni-1, PrivateIpAddress: 10.0.1.20, Groups: [{ GroupId: sg-1 }] }]
SecurityGroups:
  - GroupId: sg-1
    IpPermissions:
      - { IpProtocol: tcp, FromPort: 443, ToPort: 443, IpRanges: [{ CidrIp: 0.0.0.0/0 }] }
      - { IpProtocol: tcp, FromPort: 443, ToPort: 443, IpRanges: [{ CidrIp: 198.51.100.0/24 }] }
"#;

const SSH: &str = "      - { IpProtocol: tcp, FromPort: 22, ToPort: 22, IpRanges: [{ CidrIp: 0.0.0.0/0, Description: \"don't\" }] }\n";

fn check(policy: &str, arguments: &[&str]) -> Assert {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("policy.yaml");
    fs::write(&path, policy).expect("a file can be written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_filter-ctl"));
    command.arg("check").arg(path).args(arguments).assert()
}

fn json(assert: &Assert) -> Value {
    serde_json::from_slice(&assert.get_output().stdout).expect("one JSON object")
}

fn ids(findings: &Value) -> Vec<&str> {
    let findings = findings.as_array().expect("a list");
    findings.iter().map(|one| one["id"].as_str().expect("an id")).collect()
}

#[test]
fn findings_are_told_and_fail_nothing_unless_denied() {
    let policy = format!("{POLICY}{SSH}");
    let told = check(&policy, &[]).success();
    let output = told.get_output();
    let summary = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(summary.lines().next().is_some_and(|line| line.ends_with(", 2 warnings, 1 note")), "{summary}");
    let findings = String::from_utf8_lossy(&output.stderr).into_owned();
    for id in ["bad-description", "open-to-world", "covered-rule"] {
        assert!(findings.contains(id), "{id}: {findings}");
    }
    check(&policy, &["--deny", "error"]).success();
    check(&policy, &["--deny", "warning"]).code(3);
    check(POLICY, &["--deny", "warning"]).success();
    check(POLICY, &["--deny", "note"]).code(3);
    check(&policy, &["--deny", "nothing"]).code(2);
}

#[test]
fn findings_are_part_of_the_object() {
    let policy = format!("{POLICY}{SSH}");
    let told = json(&check(&policy, &["--output", "json"]).success());
    assert_eq!(told["valid"], true);
    assert_eq!(ids(&told["warnings"]), ["bad-description", "covered-rule", "open-to-world"]);
    let rule = &told["warnings"][2]["rule"];
    assert_eq!((&rule["group_id"], &rule["direction"]), (&"sg-1".into(), &"ingress".into()));
    let denied = json(&check(&policy, &["--output", "json", "--deny", "warning"]).code(3));
    assert_eq!(denied["error"]["exit"], 3);
    assert_eq!(ids(&denied["error"]["details"]), ["bad-description", "open-to-world"]);
}

#[test]
fn what_aws_would_refuse_is_an_error_with_its_limits() {
    let policy = format!("{POLICY}{SSH}");
    let refused = json(&check(&policy, &["--output", "json", "--limits", "aws"]).code(3));
    assert_eq!(ids(&refused["error"]["details"]), ["bad-description"]);
    check(POLICY, &["--limits", "aws"]).success();
}

/// Interfaces that are alike are compiled once; each is told what it comes to by itself.
#[test]
fn an_interface_comes_to_the_same_beside_others() {
    const ALONE: &str =
        "{ NetworkInterfaceId: eni-1, PrivateIpAddress: 10.0.1.20, Groups: [{ GroupId: sg-1 }] }";
    let others = [
        ALONE.replace("eni-1,", "eni-2,").replace(".20,", ".21,"),
        ALONE
            .replace("eni-1,", "eni-3,")
            .replace(".20,", ".22, Ipv4Prefixes: [{ Ipv4Prefix: 10.0.1.32/28 }],"),
        ALONE
            .replace("eni-1,", "eni-4,")
            .replace(".20,", ".23,")
            .replace("{ GroupId: sg-1 }", "{ GroupName: default }"),
    ];
    let statistics = |interfaces: &[&str]| -> Vec<Value> {
        let policy = POLICY.replace(ALONE, &interfaces.join(", "));
        let told = json(&check(&policy, &["--output", "json"]).success());
        let interfaces = told["interfaces"].as_array().expect("a list");
        interfaces.iter().map(|one| one["statistics"].clone()).collect()
    };
    let all: Vec<&str> = std::iter::once(ALONE).chain(others.iter().map(String::as_str)).collect();
    let together = statistics(&all);
    let alone: Vec<Value> = all.iter().flat_map(|one| statistics(&[one])).collect();
    assert_eq!(together, alone);
    assert_ne!(together[0]["block_bytes"], together[2]["block_bytes"], "own addresses take room");
    assert_ne!(together[0]["rules"], together[3]["rules"]);
}
