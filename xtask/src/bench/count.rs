//! The packets that the far end counts are the packets that the records count.
//!
//! The counters are the kernel's own, of the two ends' network stacks. With the offloads on, one
//! buffer stands for many packets on the wire, and only the end that sends knows for how many:
//! TCP's segment counters of either sender are compared. With the offloads off, every packet is
//! a buffer of its own, and the far end's IP layer counts packets and bytes in both directions.
//! A packet that is lost between the far end and the hook is counted by the device that lost it.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Report, iperf};
use crate::lab::{DEVICE, Family, Hook, Host, Lab, Namespace};
use crate::shell;

/// The flow log's interval in the example policy, in seconds.
const INTERVAL: u64 = 60;

/// Packets and bytes in one direction, seen from the workload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    packets: u64,
    /// None where the counter does not know them.
    bytes: Option<u64>,
}

/// One way to send and to count.
struct Pass {
    name: &'static str,
    source: IpAddr,
    offloads: bool,
    traffic: &'static [&'static [&'static str]],
}

/// Sends TCP and UDP both ways and adds the comparison to the report.
pub(super) fn compare(
    lab: &Lab,
    policy: &Path,
    hook: Hook,
    variant: &str,
    report: &mut Report,
) -> Result<()> {
    // Addresses of their own, so that their records are told from all others.
    let host = if hook == Hook::Auto { 20 } else { 30 };
    let passes = [
        Pass {
            name: "offloads on, TCP segments sent",
            source: IpAddr::V4(Ipv4Addr::new(198, 51, 100, host)),
            offloads: true,
            traffic: &[&[], &["--reverse"]],
        },
        Pass {
            name: "offloads off, IP at the far end",
            source: IpAddr::V4(Ipv4Addr::new(198, 51, 100, host + 1)),
            offloads: false,
            traffic: &[&[], &["--reverse"], &["--udp", "--bitrate", "200M", "--length", "1200"]],
        },
    ];
    lab.filter.attach(policy, hook)?;
    let mut counted = Vec::new();
    for pass in &passes {
        lab.remote.address(pass.source, 32, "lo")?;
        counted.push(pass.send(lab)?);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    thread::sleep(Duration::from_secs(INTERVAL + 1 - now % INTERVAL));
    let lines = lab.filter.flows()?;
    lab.filter.detach()?;
    writeln!(report.table, "\nPackets in the records and in the ends' own counters, --hook {variant}")?;
    for (pass, far) in passes.iter().zip(counted) {
        for (direction, far) in ["ingress", "egress"].into_iter().zip(far) {
            pass.judge(&lines, direction, far, variant, report)?;
        }
    }
    Ok(())
}

impl Pass {
    /// Sends the traffic; the answer is what the far end sent and received.
    fn send(&self, lab: &Lab) -> Result<[Count; 2]> {
        for namespace in [&lab.workload, &lab.remote] {
            let mut offloads = namespace.command("ethtool");
            offloads.args(["-K", DEVICE]);
            for feature in ["tso", "gso", "gro"] {
                offloads.args([feature, if self.offloads { "on" } else { "off" }]);
            }
            shell::read(&mut offloads)?;
        }
        // Else TCP hands buffers of many segments to the IP layer, which counts them as packets.
        let segments = if self.offloads { "65535" } else { "1" };
        let mut buffers = lab.remote.command("ip");
        shell::read(buffers.args(["link", "set", DEVICE, "gso_max_segs", segments]))?;
        let before = self.read(lab)?;
        for options in self.traffic {
            iperf::client(lab, self.source, 2, options)?;
        }
        // The last acknowledgements are on their way.
        thread::sleep(Duration::from_millis(500));
        let after = self.read(lab)?;
        let since = |direction: usize| {
            let (before, after): (Count, Count) = (before[direction], after[direction]);
            let bytes = after.bytes.zip(before.bytes).map(|(after, before)| after - before);
            Count { packets: after.packets - before.packets, bytes }
        };
        Ok([since(0), since(1)])
    }

    /// What the far end has sent (less what was lost on the way) and received so far.
    fn read(&self, lab: &Lab) -> Result<[Count; 2]> {
        let lost = lost(&lab.remote, "tx", "dropped")? + lost(&lab.workload, "rx", "dropped")?;
        let [sent, received] = if self.offloads {
            let sent = |namespace: &Namespace| -> Result<Count> {
                let text = namespace.proc_net("snmp")?;
                let packets = counter(&text, "Tcp:", "OutSegs")? + counter(&text, "Tcp:", "RetransSegs")?;
                Ok(Count { packets, bytes: None })
            };
            [sent(&lab.remote)?, sent(&lab.workload)?]
        } else {
            let (ip, more) = (lab.remote.proc_net("snmp")?, lab.remote.proc_net("netstat")?);
            let of = |packets, bytes| -> Result<Count> {
                let bytes = Some(counter(&more, "IpExt:", bytes)?);
                Ok(Count { packets: counter(&ip, "Ip:", packets)?, bytes })
            };
            [of("OutRequests", "OutOctets")?, of("InReceives", "InOctets")?]
        };
        Ok([Count { packets: sent.packets.saturating_sub(lost), ..sent }, received])
    }

    fn judge(
        &self,
        lines: &[String],
        direction: &str,
        far: Count,
        variant: &str,
        report: &mut Report,
    ) -> Result<()> {
        let workload = Host::Workload.address(Family::V4);
        let ends = if direction == "ingress" { (self.source, workload) } else { (workload, self.source) };
        let (packets, bytes) = total(lines, ends)?;
        let equal = packets == far.packets && far.bytes.is_none_or(|far| far == bytes);
        let octets = |bytes: Option<u64>| bytes.map_or(String::new(), |bytes| format!(", {bytes} bytes"));
        let line = format!(
            "{:<32} {direction:<8} records {packets} packets{}, counted {} packets{}: {}",
            self.name,
            octets(far.bytes.map(|_| bytes)),
            far.packets,
            octets(far.bytes),
            if equal { "equal" } else { "DIFFERENT" }
        );
        writeln!(report.table, "  {line}")?;
        let row = json!({
            "filter": variant, "pass": self.name, "direction": direction, "equal": equal,
            "records": { "packets": packets, "bytes": bytes },
            "counted": { "packets": far.packets, "bytes": far.bytes },
        });
        match &mut report.numbers["counts"] {
            Value::Array(rows) => rows.push(row),
            empty => *empty = json!([row]),
        }
        if !equal {
            report.wrong.push(format!("--hook {variant}: {line}"));
        }
        Ok(())
    }
}

/// Packets and bytes of the flow-log lines between two addresses.
fn total(lines: &[String], (source, destination): (IpAddr, IpAddr)) -> Result<(u64, u64)> {
    let (source, destination) = (source.to_string(), destination.to_string());
    let mut sum = (0, 0);
    for line in lines {
        let fields: Vec<&str> = line.split(' ').collect();
        if fields.get(3) == Some(&source.as_str()) && fields.get(4) == Some(&destination.as_str()) {
            let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
            let (packets, bytes) =
                number(8).zip(number(9)).with_context(|| format!("a strange line: {line}"))?;
            sum = (sum.0 + packets, sum.1 + bytes);
        }
    }
    Ok(sum)
}

/// Packets that a device has lost on one side.
fn lost(namespace: &Namespace, side: &str, counter: &str) -> Result<u64> {
    let text = shell::read(namespace.command("ip").args(["-json", "-stats", "link", "show", DEVICE]))?;
    let parsed: Value = serde_json::from_str(&text).context("ip wrote what is not JSON")?;
    parsed[0]["stats64"][side][counter].as_u64().context("ip names no dropped packets")
}

/// A counter out of a file whose lines come in pairs: names, then values.
pub(super) fn counter(text: &str, kind: &str, name: &str) -> Result<u64> {
    let mut lines = text.lines().filter(|line| line.split(' ').next() == Some(kind));
    let (names, values) = lines.next().zip(lines.next()).with_context(|| format!("no {kind} counters"))?;
    let mut pairs = names.split(' ').zip(values.split(' '));
    let (_, value) =
        pairs.find(|(found, _)| *found == name).with_context(|| format!("no counter {kind} {name}"))?;
    Ok(value.parse()?)
}

#[cfg(test)]
mod tests {
    use super::{counter, total};

    #[test]
    fn counters_come_in_pairs_of_lines() {
        let text = "Ip: InReceives OutRequests\nIp: 7 9\nTcp: InSegs OutSegs\nTcp: 3 4\n";
        assert_eq!(counter(text, "Tcp:", "OutSegs").ok(), Some(4));
        assert_eq!(counter(text, "Ip:", "InReceives").ok(), Some(7));
        assert!(counter(text, "Udp:", "InDatagrams").is_err());
    }

    #[test]
    fn lines_of_one_direction_are_added_up() {
        let line = |from: &str, to: &str| format!("2 1 eni-1 {from} {to} 1 2 6 10 1000 1 2 ACCEPT OK");
        let lines =
            [line("192.0.2.1", "192.0.2.2"), line("192.0.2.1", "192.0.2.2"), line("192.0.2.2", "192.0.2.1")];
        let ends = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        assert_eq!(total(&lines, ends).ok(), Some((20, 2000)));
    }
}
