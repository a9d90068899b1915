//! `filter-ctl agent` with real traffic: what it publishes, how it goes on, what it tells.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::{Value, json};
use tests::{
    eventually::eventually,
    lab::{HOST, Hook, Lab, Side, WORKLOAD},
    policy::Policy,
    process::{Background, finish, signal},
    tools,
};

const LIMIT: Duration = Duration::from_secs(60);
const FORMAT: &str = "${srcaddr} ${dstaddr} ${protocol} ${packets} ${action} ${log-status}";

/// An agent that is ready: it has said where it serves metrics, and answers there.
struct Agent {
    process: Background,
    address: String,
}

impl Agent {
    fn start(lab: &Lab, options: &[&str]) -> Self {
        let mut command = lab.filter_ctl_command();
        let staging = lab.folder().join("staging");
        command.args(["agent", "--listen", "127.0.0.1:0", "--staging"]).arg(staging).args(options);
        let process = Background::start(&mut command);
        let line = process.line("metrics and health at http://", LIMIT);
        let address = line.rsplit('/').next().expect("an address").to_owned();
        let agent = Self { process, address };
        eventually("the agent to collect", LIMIT, || {
            let health = agent.health(lab);
            (health["agent"]["collecting"] == true).then_some(())
        });
        agent
    }

    fn get(&self, lab: &Lab, path: &str) -> String {
        let address = self.address.clone();
        lab.device().0.run(move || {
            let mut stream = TcpStream::connect(address).expect("connect to the agent");
            let request = format!("GET {path} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).expect("ask");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("an answer");
            answer
        })
    }

    fn health(&self, lab: &Lab) -> Value {
        let answer = self.get(lab, "/health");
        let body = answer.split_once("\r\n\r\n").expect("a body").1;
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }

    /// The value of a metric's line with all of these labels.
    fn metric(&self, lab: &Lab, name: &str, labels: &[&str]) -> u64 {
        let text = self.get(lab, "/metrics");
        let mut lines = text
            .lines()
            .filter(|line| line.starts_with(name) && labels.iter().all(|label| line.contains(label)));
        let line = lines.next().unwrap_or_else(|| panic!("no {name} with {labels:?}: {text}"));
        line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
    }

    fn stop(mut self) {
        self.process.terminate();
        assert_eq!(self.process.exit_code(LIMIT), Some(0));
    }
}

fn to_folder(lab: &Lab) -> (Policy, PathBuf) {
    let folder = lab.folder().join("logs");
    let log = json!({
        "LogFormat": FORMAT,
        "MaxAggregationInterval": 1,
        "LogDestinationType": "file",
        "LogDestination": folder,
    });
    (Policy::new().allow_in("icmp", "198.51.100.7/32").flow_log(log), folder)
}

/// Every line of the files below a folder, by their names; headers are checked and left out.
fn published(folder: &Path) -> Vec<String> {
    let found = finish(Command::new("find").arg(folder).args(["-name", "*.log.gz"]), LIMIT).ok().stdout;
    let mut lines = Vec::new();
    for file in found.lines() {
        assert!(file.contains("/AWSLogs/111122223333/vpcflowlogs/"), "{file}");
        let text = finish(Command::new("zcat").arg(file), LIMIT).ok().stdout;
        let mut rows = text.lines().map(str::to_owned);
        assert_eq!(rows.next().as_deref(), Some("srcaddr dstaddr protocol packets action log-status"));
        lines.extend(rows);
    }
    lines
}

/// Packets of what was published from one address to another.
fn packets(folder: &Path, from: &str, to: &str) -> u64 {
    let of = |line: &String| {
        let words: Vec<_> = line.split(' ').collect();
        (words[..2] == [from, to]).then(|| words[3].parse::<u64>().expect("packets"))
    };
    published(folder).iter().filter_map(of).sum()
}

fn ping(lab: &Lab, count: u32) {
    assert_eq!(tools::ping(&lab.remote, HOST.v4, WORKLOAD.v4, count), count);
}

#[test]
fn a_folder_has_every_packet_after_a_stop_and_a_restart_has_neither_gap_nor_double() {
    let mut lab = Lab::new(Hook::Auto, Side::Workload);
    let (policy, folder) = to_folder(&lab);
    lab.attach(&policy);
    // Before there is an agent: the records are in the kernel or in the spool.
    ping(&lab, 2);
    assert!(!lab.flows().is_empty());
    ping(&lab, 1);

    let agent = Agent::start(&lab, &[]);
    ping(&lab, 3);
    agent.stop();
    let (host, workload) = (HOST.v4.to_string(), WORKLOAD.v4.to_string());
    assert_eq!(packets(&folder, &host, &workload), 6);
    assert_eq!(packets(&folder, &workload, &host), 6);

    // While none runs, then with another one.
    ping(&lab, 4);
    let agent = Agent::start(&lab, &[]);
    ping(&lab, 5);
    agent.stop();
    let both = [packets(&folder, &host, &workload), packets(&folder, &workload, &host)];
    assert_eq!(both, [15, 15], "{:#?}", published(&folder));

    // One with nothing new to tell.
    Agent::start(&lab, &[]).stop();
    assert_eq!(packets(&folder, &host, &workload), 15);
}

#[test]
fn a_killed_agent_leaves_no_gap() {
    let mut lab = Lab::new(Hook::Auto, Side::Workload);
    let (policy, folder) = to_folder(&lab);
    lab.attach(&policy);
    let agent = Agent::start(&lab, &[]);
    ping(&lab, 3);
    let handed = || agent.health(&lab)["agent"]["flow_logs"][0]["records"].as_u64().unwrap_or(0);
    eventually("records to be handed over", LIMIT, || (handed() >= 2).then_some(()));
    signal(agent.process.id(), libc::SIGKILL).expect("SIGKILL");
    drop(agent);
    let (host, workload) = (HOST.v4.to_string(), WORKLOAD.v4.to_string());
    assert_eq!(packets(&folder, &host, &workload), 0, "no file was due, and none is half-written");

    let agent = Agent::start(&lab, &[]);
    ping(&lab, 1);
    agent.stop();
    assert_eq!(packets(&folder, &host, &workload), 4);
}

#[test]
fn metrics_have_the_numbers_of_the_traffic() {
    let mut lab = Lab::new(Hook::Auto, Side::Workload);
    let (policy, _) = to_folder(&lab);
    lab.attach(&policy);
    let agent = Agent::start(&lab, &[]);
    ping(&lab, 3);
    assert_eq!(tools::ping(&lab.remote, tests::lab::STRANGER.v4, WORKLOAD.v4, 2), 0);
    let ingress = "direction=\"ingress\"";
    assert_eq!(agent.metric(&lab, "filter_packets_total", &[ingress, "reason=\"security-group\""]), 2);
    assert_eq!(agent.metric(&lab, "filter_bytes_total", &[ingress, "reason=\"security-group\""]), 168);
    assert_eq!(agent.metric(&lab, "filter_connections{", &[]), 1);
    assert_eq!(agent.metric(&lab, "filter_enforcing{", &[]), 1);
    assert_eq!(agent.metric(&lab, "filter_lost_packets_total", &[ingress]), 0);
    eventually("the records to be handed over", LIMIT, || {
        let handed = agent.get(&lab, "/health").contains("\"records\": 0");
        (!handed).then_some(())
    });
    assert!(agent.metric(&lab, "filter_flow_log_records_total", &["destination=\"file\""]) > 0);
    let text = agent.get(&lab, "/metrics");
    assert!(text.contains("content-type: application/openmetrics-text"), "{text}");
    assert!(agent.get(&lab, "/else").starts_with("HTTP/1.1 404"));
    agent.stop();
}

#[test]
fn a_document_is_applied_on_sighup_and_a_bad_one_changes_nothing() {
    let mut lab = Lab::new(Hook::Auto, Side::Workload);
    let (policy, _) = to_folder(&lab);
    let path = lab.write(&policy);
    let _ = lab.try_attach(&path, &[]).ok();
    let agent = Agent::start(&lab, &["--policy", path.to_str().expect("a path")]);
    agent.process.line("applied, nothing changed", LIMIT);
    ping(&lab, 1);

    signal(agent.process.id(), libc::SIGHUP).expect("SIGHUP");
    agent.process.line("applied, nothing changed", LIMIT);

    let (closed, _) = to_folder(&lab);
    let mut closed = closed.document();
    closed["SecurityGroups"][0]["IpPermissions"] = json!([]);
    fs::write(&path, closed.to_string()).expect("write the document");
    signal(agent.process.id(), libc::SIGHUP).expect("SIGHUP");
    agent.process.line("applied, changed eni-", LIMIT);
    assert_eq!(tools::ping(&lab.remote, tests::lab::STRANGER.v4, WORKLOAD.v4, 1), 0);
    let generation = |lab: &Lab| {
        lab.filter_ctl(["status", "--output", "json"]).ok().json()["interfaces"][0]["generation_in_force"]
            .clone()
    };
    let before = generation(&lab);

    fs::write(&path, "{").expect("write the document");
    // Nobody asks: the change is seen.
    agent.process.line("not applied, what was in force still is", LIMIT);
    eventually("health to tell", LIMIT, || {
        agent.get(&lab, "/health").starts_with("HTTP/1.1 503").then_some(())
    });
    assert_eq!(agent.metric(&lab, "filter_policy_good", &[]), 0);
    assert_eq!(generation(&lab), before);
    agent.stop();
}

#[test]
fn flows_beside_an_agent_shows_what_it_collects() {
    let mut lab = Lab::new(Hook::Auto, Side::Workload);
    let (policy, folder) = to_folder(&lab);
    lab.attach(&policy);
    let agent = Agent::start(&lab, &[]);
    ping(&lab, 2);
    // Both directions; the counts of the open interval, too.
    let told = lab.filter_ctl(["flows"]).ok();
    let note = format!("the agent (process {}) collects", agent.process.id());
    assert!(told.stderr.contains(&note), "{}", told.stderr);
    assert_eq!(lab.flows().iter().map(|record| record.packets).sum::<u64>(), 4);
    let summary = lab.filter_ctl(["flows", "summary", "--output", "json"]).ok();
    assert!(summary.stderr.contains(&note), "{}", summary.stderr);

    let log = "fl-0123456789abcde00";
    let mut followers =
        [&["flows", "--follow"][..], &["flows", "--follow", "--flow-log", log]].map(|words| {
            let follower = Background::start(lab.filter_ctl_command().args(words));
            follower.line(&note, LIMIT);
            follower
        });
    ping(&lab, 3);
    followers[0].line(" ACCEPT OK", LIMIT);
    followers[1].line("198.51.100.7 10.0.1.20 1 ", LIMIT);
    for follower in &mut followers {
        follower.terminate();
        assert_eq!(follower.exit_code(LIMIT), Some(0));
    }

    let status = lab.filter_ctl(["status", "--output", "json"]).ok().json();
    assert_eq!(status["agent"]["pid"], agent.process.id());
    assert_eq!(status["agent"]["flow_logs"][0]["id"], log);
    let table = lab.filter_ctl(["status"]).ok().stdout;
    assert!(table.contains(&format!("\nagent  process {}, since ", agent.process.id())), "{table}");
    agent.stop();
    // Nobody's reading has taken anything from the destination.
    assert_eq!(packets(&folder, &HOST.v4.to_string(), &WORKLOAD.v4.to_string()), 5);
    let alone = lab.filter_ctl(["flows"]).ok();
    assert!(!alone.stderr.contains("the agent"), "{}", alone.stderr);
    assert_eq!(lab.filter_ctl(["status", "--output", "json"]).ok().json()["agent"], Value::Null);
}

#[test]
fn systemd_is_told_when_the_agent_is_ready_alive_and_stopping() {
    let mut lab = Lab::new(Hook::Auto, Side::Workload);
    let (policy, _) = to_folder(&lab);
    lab.attach(&policy);
    let path = lab.folder().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(LIMIT)).expect("a timeout");
    let mut command = lab.filter_ctl_command();
    command.args(["agent", "--no-listen"]).env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "3000000");
    let mut process = Background::start(&mut command);
    let hears = |what: &str| {
        let mut buffer = [0; 256];
        while !std::str::from_utf8(&buffer).expect("text").contains(what) {
            buffer = [0; 256];
            socket.recv(&mut buffer).unwrap_or_else(|error| panic!("{what}: {error}"));
        }
    };
    hears("READY=1");
    hears("WATCHDOG=1");
    process.terminate();
    hears("STOPPING=1");
    assert_eq!(process.exit_code(LIMIT), Some(0));
}

#[test]
fn there_is_one_agent_and_it_waits_for_devices() {
    let mut lab = Lab::new(Hook::Auto, Side::Workload);
    let (policy, folder) = to_folder(&lab);
    lab.attach(&policy);
    let agent = Agent::start(&lab, &[]);
    let second = lab.filter_ctl(["agent", "--no-listen"]).code(5);
    assert!(second.stderr.contains(&format!("an agent runs already: process {}", agent.process.id())));

    ping(&lab, 2);
    let _ = lab.detach();
    let (host, workload) = (HOST.v4.to_string(), WORKLOAD.v4.to_string());
    // What the interface counted last is handed over with the detach.
    eventually("the interface's records", LIMIT, || (packets(&folder, &host, &workload) == 2).then_some(()));
    lab.attach(&policy);
    eventually("the agent to collect again", LIMIT, || {
        (agent.health(&lab)["agent"]["collecting"] == true).then_some(())
    });
    ping(&lab, 1);
    agent.stop();
    assert_eq!(packets(&folder, &host, &workload), 3);
}
