//! Prefix lists: `ManagedPrefixLists`, `PrefixLists`, and the entries of a file `pl-….json`.

use ipnet::IpNet;

use super::{Decoder, Object, cidr};
use crate::document::{
    diagnostic::Severity,
    model::{ListKind, PrefixList, Spanned},
    tree::{Field, Node},
};

pub(super) const FIELDS: &[&str] =
    &["PrefixListId", "PrefixListName", "AddressFamily", "MaxEntries", "Entries", "Cidrs", "OwnerId", "Tags"];

impl Decoder<'_> {
    /// An element of `PrefixLists` or `ManagedPrefixLists`. AWS calls both by the former name:
    /// `describe-managed-prefix-lists` tells all but the entries, `describe-prefix-lists` the
    /// `Cidrs` of AWS's own lists. Documents written by hand put `Entries` into the list.
    pub(super) fn prefix_list(&mut self, object: &Object<'_>) {
        self.misspelt(object, Severity::Error, FIELDS);
        let place = self.place(object);
        let id = self.own_id(object, "PrefixListId", "pl");
        let name = self
            .text(object, "PrefixListName")
            .map(|name| Spanned { value: name.value.to_owned(), at: name.at });
        let owner = self.owned(object, "OwnerId");
        self.tags(object, "Tags");
        let max_entries = self
            .integer(object, "MaxEntries", 1, i64::from(u32::MAX))
            .map(|max| Spanned { value: max.value as u32, at: max.at });
        let v6 = self.text(object, "AddressFamily").and_then(|family| match family.value {
            "IPv4" => Some(false),
            "IPv6" => Some(true),
            other => {
                let message = format!("`{other}` is no address family");
                self.error("bad-family", family.at.span, "AddressFamily", message).expected =
                    Some("IPv4 or IPv6".to_owned());
                None
            }
        });
        let cidrs = self.cidrs(object);
        let kind = if cidrs.is_some() { ListKind::Cidrs } else { ListKind::Managed };
        let entries = self.entries(object).or(cidrs);
        self.model.prefix_lists.push(PrefixList { place, kind, id, name, owner, max_entries, v6, entries });
    }

    /// The output of `get-managed-prefix-list-entries`, which does not say of which list.
    pub(super) fn prefix_list_file(&mut self, object: &Object<'_>, id: &str) {
        let place = self.place(object);
        let entries = self.entries(object);
        self.model.prefix_lists.push(PrefixList {
            place,
            kind: ListKind::File,
            id: id.to_owned(),
            name: None,
            owner: None,
            max_entries: None,
            v6: None,
            entries,
        });
    }

    fn entries(&mut self, object: &Object<'_>) -> Option<Vec<Spanned<IpNet>>> {
        let mut entries = Vec::new();
        self.objects(object, "Entries", |decoder, object, _| {
            decoder.only(object, &["Cidr", "Description"]);
            entries.extend(decoder.required_cidr(object, "Cidr", cidr::Family::Either));
        })?;
        Some(entries)
    }

    /// `Cidrs`: plain strings.
    fn cidrs(&mut self, object: &Object<'_>) -> Option<Vec<Spanned<IpNet>>> {
        let mut entries = Vec::new();
        self.each(object, "Cidrs", |decoder, node: &Node<'_>, _| {
            // A string is read as the field of an object would be.
            let field = Field { name: "".into(), span: node.span, value: node.clone() };
            let object = Object { span: node.span, fields: std::slice::from_ref(&field) };
            entries.extend(decoder.cidr(&object, "", cidr::Family::Either));
        })?;
        Some(entries)
    }
}
