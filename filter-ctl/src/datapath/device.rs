//! Network devices, as rtnetlink describes them.

use std::{fs, net::IpAddr, os::unix::fs::MetadataExt};

use aya::programs::loaded_programs;
use filter_common::abi::Link;
use futures_util::{StreamExt, TryStreamExt};
use rtnetlink::{
    Handle, new_connection,
    packet_route::{
        address::AddressAttribute,
        link::{LinkAttribute, LinkInfo, LinkLayerType, LinkMessage, LinkXdp},
        tc::{TcAttribute, TcMessage},
    },
};

use super::error::Error;

/// A device of this process's network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Its index.
    pub ifindex: u32,
    /// Inode of its network namespace.
    pub netns: u64,
    /// What its frames begin with; `Err` holds the name of a link type that cannot be filtered.
    pub link: Result<Link, String>,
    /// What kind of software device it is (`veth`, `tun`); `None`: a driver's own.
    pub kind: Option<String>,
    /// Id of the XDP program on it.
    pub xdp: Option<u32>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

impl Device {
    /// Finds a device by name.
    ///
    /// # Errors
    ///
    /// If there is none, or netlink fails.
    pub fn find(name: &str) -> Result<Self, Error> {
        let netns = current_netns()?;
        on_netlink(async |handle| {
            let missing = || Error::NoDevice { device: name.to_owned(), hint: String::new() };
            let message = match handle.link().get().match_name(name).execute().try_next().await {
                Ok(message) => message.ok_or_else(missing)?,
                Err(error) if code(&error) == Some(libc::ENODEV) => return Err(missing()),
                // A name that is too long to be one.
                Err(error) if code(&error) == Some(libc::ERANGE) => return Err(missing()),
                Err(error) => return Err(netlink(&format!("device {name}"), &error)),
            };
            let mut device = Self::from_message(name, netns, &message);
            device.addresses = addresses(&handle, device.ifindex).await?;
            Ok(device)
        })
    }

    fn from_message(name: &str, netns: u64, message: &LinkMessage) -> Self {
        let mut device = Self {
            name: name.to_owned(),
            ifindex: message.header.index,
            netns,
            link: match message.header.link_layer_type {
                LinkLayerType::Ether | LinkLayerType::Loopback => Ok(Link::Ethernet),
                LinkLayerType::None => Ok(Link::Ip),
                other => Err(other.to_string()),
            },
            kind: None,
            xdp: None,
            addresses: Vec::new(),
        };
        for attribute in &message.attributes {
            match attribute {
                // The kernel also finds a device by an alternative name: its own one counts.
                LinkAttribute::IfName(name) => device.name.clone_from(name),
                LinkAttribute::LinkInfo(facts) => {
                    device.kind = facts.iter().find_map(|fact| match fact {
                        LinkInfo::Kind(kind) => Some(kind.to_string()),
                        _ => None,
                    });
                }
                LinkAttribute::Xdp(facts) => {
                    device.xdp = facts.iter().find_map(|fact| match fact {
                        LinkXdp::ProgId(id)
                        | LinkXdp::DrvProgId(id)
                        | LinkXdp::SkbProgId(id)
                        | LinkXdp::HwProgId(id) => Some(*id).filter(|id| *id != 0),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
        device
    }
}

/// Names of the devices of this namespace by index.
pub(super) fn name_of(ifindex: u32) -> Result<Option<String>, Error> {
    on_netlink(async |handle| match handle.link().get().match_index(ifindex).execute().try_next().await {
        Ok(message) => Ok(message.map(|message| Device::from_message("", 0, &message).name)),
        Err(error) if code(&error) == Some(libc::ENODEV) => Ok(None),
        Err(error) => Err(netlink(&format!("device {ifindex}"), &error)),
    })
}

/// What hangs on a device's clsact hooks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Clsact {
    /// Whether the qdisc is there.
    pub(super) present: bool,
    /// The filters on it.
    pub(super) filters: Vec<Filter>,
}

/// A filter of the clsact qdisc.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) egress: bool,
    pub(super) priority: u16,
    pub(super) handle: u32,
}

/// Looks at a device's clsact qdisc.
pub(super) fn clsact(ifindex: u32) -> Result<Clsact, Error> {
    let index = ifindex.cast_signed();
    on_netlink(async |handle| {
        let of_kind = |message: &TcMessage, wanted: &str| {
            let kind =
                |attribute: &TcAttribute| matches!(attribute, TcAttribute::Kind(kind) if kind == wanted);
            message.header.index == index && message.attributes.iter().any(kind)
        };
        let mut found = Clsact::default();
        let mut qdiscs = handle.qdisc().get().index(index).execute().boxed_local();
        while let Some(message) =
            qdiscs.try_next().await.map_err(|error| netlink("queueing disciplines", &error))?
        {
            found.present |= of_kind(&message, "clsact");
        }
        if found.present {
            let filters = handle.traffic_filter(index);
            for (request, egress) in
                [(filters.clone().get().ingress(), false), (filters.clone().get().egress(), true)]
            {
                let mut messages = request.execute().boxed_local();
                while let Some(message) =
                    messages.try_next().await.map_err(|error| netlink("filters", &error))?
                {
                    let handle = u32::from(message.header.handle);
                    // Besides its filters, the dump names each priority once, with no handle.
                    if handle != 0 {
                        let priority = (message.header.info >> 16) as u16;
                        found.filters.push(Filter { egress, priority, handle });
                    }
                }
            }
        }
        Ok(found)
    })
}

/// Removes a device's clsact qdisc.
pub(super) fn remove_clsact(ifindex: u32) -> Result<(), Error> {
    use rtnetlink::packet_route::tc::TcHandle;
    on_netlink(async |handle| {
        let mut request = handle.qdisc().del(ifindex.cast_signed());
        request.message_mut().header.parent = TcHandle::CLSACT;
        request.execute().await.map_err(|error| netlink("removing the clsact qdisc", &error))
    })
}

/// Inode of this process's network namespace.
///
/// # Errors
///
/// If `/proc` is not there.
pub fn current_netns() -> Result<u64, Error> {
    let path = "/proc/thread-self/ns/net";
    Ok(fs::metadata(path).map_err(Error::system(format!("stat {path}")))?.ino())
}

/// Name and id of a loaded program, for messages.
#[must_use]
pub fn program_name(id: u32) -> String {
    let info = loaded_programs().filter_map(Result::ok).find(|info| info.id() == id);
    let name = info.as_ref().and_then(|info| info.name_as_str()).unwrap_or("unnamed");
    format!("{name}, id {id}")
}

async fn addresses(handle: &Handle, ifindex: u32) -> Result<Vec<IpAddr>, Error> {
    let mut messages = handle.address().get().set_link_index_filter(ifindex).execute().boxed_local();
    let mut addresses = Vec::new();
    while let Some(message) = messages.try_next().await.map_err(|error| netlink("addresses", &error))? {
        let local = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(address) => Some(*address),
            _ => None,
        });
        // On a point-to-point link `Address` is the peer's; for IPv6 there is only `Address`.
        let address = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        });
        addresses.extend(local.or(address));
    }
    Ok(addresses)
}

/// Runs a conversation over a netlink socket of its own.
fn on_netlink<T>(talk: impl AsyncFnOnce(Handle) -> Result<T, Error>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(Error::system("epoll_create1"))?;
    runtime.block_on(async {
        let (connection, handle, _) = new_connection().map_err(Error::system("socket(AF_NETLINK)"))?;
        let driver = tokio::spawn(connection);
        let answer = talk(handle).await;
        driver.abort();
        answer
    })
}

fn code(error: &rtnetlink::Error) -> Option<i32> {
    match error {
        rtnetlink::Error::NetlinkError(message) => Some(message.raw_code().saturating_neg()),
        _ => None,
    }
}

fn netlink(what: &str, error: &rtnetlink::Error) -> Error {
    let reason = match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io().to_string(),
        other => other.to_string(),
    };
    Error::Netlink { what: what.to_owned(), reason }
}
