//! Which of a document's interfaces a device is attached as.

use std::{collections::HashMap, net::IpAddr};

use super::{Document, model::Interface};

/// Why no interface was selected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// There is none.
    #[error("the document describes no network interface")]
    Empty,
    /// The wanted one is not there.
    #[error("the document has no network interface {wanted}; it has {}", known.join(", "))]
    Unknown {
        /// The one that was asked for.
        wanted: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// None has its primary address on the device.
    #[error("no network interface of the document has its primary address on the device; name one of {}", known.join(", "))]
    NoneFits {
        /// Those that there are, with their addresses.
        known: Vec<String>,
    },
    /// Several have.
    #[error("several network interfaces have their primary address on the device; name one of {}", fitting.join(", "))]
    SeveralFit {
        /// Those that have, with their addresses.
        fitting: Vec<String>,
    },
}

impl Document {
    /// The wanted interface; else the only one; else the only one whose primary address (IPv4 or
    /// IPv6) is among the device's.
    ///
    /// # Errors
    ///
    /// If that is none or several; the error lists them.
    pub fn select(&self, wanted: Option<&str>, device_addresses: &[IpAddr]) -> Result<&str, SelectError> {
        let all = &self.model.interfaces;
        if let Some(wanted) = wanted {
            return self
                .index
                .interface(&self.model, wanted)
                .map(|interface| interface.id.as_str())
                .ok_or_else(|| SelectError::Unknown { wanted: wanted.to_owned(), known: list(all.iter()) });
        }
        match all.as_slice() {
            [] => return Err(SelectError::Empty),
            [only] => return Ok(&only.id),
            _ => {}
        }
        let on_device =
            |interface: &&Interface| primary(interface).any(|address| device_addresses.contains(&address));
        let fitting: Vec<&Interface> = all.iter().filter(on_device).collect();
        match fitting.as_slice() {
            [one] => Ok(&one.id),
            [] => Err(SelectError::NoneFits { known: list(all.iter()) }),
            several => Err(SelectError::SeveralFit { fitting: list(several.iter().copied()) }),
        }
    }

    /// The interfaces by their primary addresses, without those addresses that several have.
    #[must_use]
    pub fn by_primary_address(&self) -> HashMap<IpAddr, String> {
        let mut known: HashMap<IpAddr, Option<&str>> = HashMap::new();
        for interface in &self.model.interfaces {
            for address in primary(interface) {
                let several = known.insert(address, Some(&interface.id)).is_some();
                if several {
                    known.insert(address, None);
                }
            }
        }
        known.into_iter().filter_map(|(address, id)| Some((address, id?.to_owned()))).collect()
    }
}

/// An interface's primary addresses, IPv4 and IPv6.
fn primary(interface: &Interface) -> impl Iterator<Item = IpAddr> {
    let v4 = interface.primary_v4.map(IpAddr::V4);
    let v6 = interface.primary_v6.map(IpAddr::V6);
    v4.into_iter().chain(v6)
}

/// The interfaces for a message; of very many, the first.
fn list<'m>(interfaces: impl Iterator<Item = &'m Interface>) -> Vec<String> {
    const SHOWN: usize = 20;
    let mut names: Vec<String> = interfaces
        .map(|interface| {
            let v4 = interface.primary_v4.map(IpAddr::V4);
            let address = v4.or(interface.primary_v6.map(IpAddr::V6));
            address.map_or(interface.id.clone(), |address| format!("{} ({address})", interface.id))
        })
        .collect();
    if names.len() > SHOWN {
        let more = names.len() - SHOWN;
        names.truncate(SHOWN);
        names.push(format!("and {more} more"));
    }
    names
}
