//! Prefix lists: `ManagedPrefixLists`, `PrefixLists`, and the entries of a file `pl-….json`.

use ipnet::IpNet;

use super::{Decoder, Object, cidr};
use crate::document::{
    diagnostic::Severity,
    model::{PrefixList, Spanned},
};

impl Decoder<'_> {
    pub(super) fn managed_prefix_list(&mut self, object: &Object<'_>) {
        self.misspelt(
            object,
            Severity::Error,
            &["PrefixListId", "PrefixListName", "AddressFamily", "MaxEntries", "Entries", "OwnerId"],
        );
        let place = self.place(object);
        let id = self.own_id(object, "PrefixListId", "pl");
        let name = self.owned(object, "PrefixListName");
        let max_entries = self.integer(object, "MaxEntries", 1, i64::from(u32::MAX));
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
        let entries = self.entries(object, "Entries");
        if let (Some(max), Some(entries)) = (&max_entries, &entries)
            && entries.len() as i64 > max.value
        {
            let message = format!("the list has {} entries, more than MaxEntries", entries.len());
            self.report(Severity::Warning, "too-many-entries", max.at.span, "MaxEntries", message);
        }
        let max_entries = max_entries.map(|max| max.value as u32);
        self.model.prefix_lists.push(PrefixList { place, id, name, max_entries, v6, entries });
    }

    /// An element of `PrefixLists`: AWS's own lists, with plain strings.
    pub(super) fn prefix_list(&mut self, object: &Object<'_>) {
        self.misspelt(object, Severity::Error, &["PrefixListId", "PrefixListName", "Cidrs"]);
        let place = self.place(object);
        let id = self.own_id(object, "PrefixListId", "pl");
        let name = self.owned(object, "PrefixListName");
        let mut entries = Vec::new();
        let given = self.each(object, "Cidrs", |decoder, node, _| {
            // A string is read as the field of an object would be.
            let field = super::Field { name: "".into(), span: node.span, value: node.clone() };
            let object = Object { span: node.span, fields: std::slice::from_ref(&field) };
            entries.extend(decoder.cidr(&object, "", cidr::Family::Either));
        });
        let entries = given.map(|()| entries);
        self.model.prefix_lists.push(PrefixList { place, id, name, max_entries: None, v6: None, entries });
    }

    /// The output of `get-managed-prefix-list-entries`, which does not say of which list.
    pub(super) fn prefix_list_file(&mut self, object: &Object<'_>, id: &str) {
        let place = self.place(object);
        let entries = self.entries(object, "Entries");
        let id = id.to_owned();
        self.model.prefix_lists.push(PrefixList {
            place,
            id,
            name: None,
            max_entries: None,
            v6: None,
            entries,
        });
    }

    fn entries(&mut self, object: &Object<'_>, name: &'static str) -> Option<Vec<Spanned<IpNet>>> {
        let mut entries = Vec::new();
        self.objects(object, name, |decoder, object, _| {
            decoder.only(object, &["Cidr", "Description"]);
            entries.extend(decoder.required_cidr(object, "Cidr", cidr::Family::Either));
        })?;
        Some(entries)
    }
}
