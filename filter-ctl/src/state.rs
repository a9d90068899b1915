//! What `filter-ctl` remembers about attached devices between its runs.

use filter_common::abi;
use serde::{Deserialize, Serialize};

use crate::policy::{FlowLog, Interface};

/// One attached device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Slot of the interface in every per-interface map.
    pub slot: u32,
    /// The device's name when it was attached.
    pub device: String,
    /// The device's index in its network namespace.
    pub ifindex: u32,
    /// Inode of the device's network namespace.
    pub netns: u64,
    /// The network interface that it is attached as.
    pub interface: Interface,
    /// Which end of the link the device is.
    pub side: Side,
    /// What the receive side is hooked by.
    pub receive: Hook,
    /// What the send side is hooked by.
    pub send: Hook,
    /// Why these hooks: one sentence for people.
    pub reason: String,
    /// Whether it was attached with `--log`; a flow log of the document may cover it all the same.
    #[serde(rename = "log_ordered", alias = "log")]
    pub log: bool,
    /// The kernel's flow-log interval in seconds; `None`: not logged.
    #[serde(rename = "flow_log_interval", alias = "interval")]
    pub interval: Option<u32>,
    /// The flow logs that cover it.
    #[serde(default)]
    pub flow_logs: Vec<ActiveLog>,
    /// Generation of the policy that enforces.
    pub generation: u32,
    /// Fingerprint of that policy: an apply that would change nothing is seen by it. A string in
    /// JSON, where many programs' numbers end at 2^53.
    #[serde(with = "decimal")]
    pub fingerprint: u64,
    /// Unix seconds of the attachment.
    pub attached_at: u64,
}

/// A flow log that covers an attached interface. It says nothing about what came before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveLog {
    /// Since when it covers the interface as it is, in Unix seconds.
    pub since: u64,
    /// The flow log.
    #[serde(flatten)]
    pub log: FlowLog,
}

impl ActiveLog {
    /// The flow logs that cover an interface from now on; those that did so `before`, and have not
    /// changed, go on. A changed one begins anew: AWS's cannot be changed at all.
    #[must_use]
    pub fn renewed(before: &[Self], logs: &[FlowLog], now: u64) -> Vec<Self> {
        let since =
            |log: &FlowLog| before.iter().find(|known| known.log == *log).map_or(now, |known| known.since);
        logs.iter().map(|log| Self { since: since(log), log: log.clone() }).collect()
    }
}

/// Which end of the link a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The workload's own device: what it receives is the interface's ingress.
    Workload,
    /// The host's end of the workload's link: what it receives is the interface's egress.
    Host,
}

impl From<Side> for abi::Side {
    fn from(side: Side) -> Self {
        match side {
            Side::Workload => Self::Workload,
            Side::Host => Self::Host,
        }
    }
}

/// Where the kernel calls a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hook {
    /// XDP in the driver.
    XdpNative,
    /// XDP in the generic receive path.
    XdpGeneric,
    /// TCX (kernel 6.6).
    Tcx,
    /// A filter of the clsact qdisc.
    Clsact,
}

/// A number as a string; what earlier versions wrote as a number is read, too.
mod decimal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(u64),
        Text(String),
    }

    pub(super) fn serialize<S: Serializer>(number: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(number)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        match Written::deserialize(from)? {
            Written::Number(number) => Ok(number),
            Written::Text(text) => text.parse().map_err(D::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flowlog::fake::attachment;

    #[test]
    fn an_attachment_says_what_cannot_be_misread_and_what_was_written_earlier_is_read()
    -> Result<(), Box<dyn std::error::Error>> {
        let attachment = Attachment { fingerprint: u64::MAX, ..attachment(0, "eni-0a1") };
        let mut json = serde_json::to_value(&attachment)?;
        assert_eq!(json["fingerprint"], "18446744073709551615");
        assert_eq!((&json["log_ordered"], &json["flow_log_interval"]), (&true.into(), &60.into()));
        assert_eq!(serde_json::from_value::<Attachment>(json.clone())?, attachment);

        let fields = json.as_object_mut().ok_or("an object")?;
        fields.insert("fingerprint".to_owned(), u64::MAX.into());
        for (now, earlier) in [("log_ordered", "log"), ("flow_log_interval", "interval")] {
            let value = fields.remove(now).ok_or(now)?;
            fields.insert(earlier.to_owned(), value);
        }
        assert_eq!(serde_json::from_value::<Attachment>(json)?, attachment);
        Ok(())
    }
}
