//! The top level of a file.

use std::{path::Path, sync::Arc};

use super::{Decoder, Object, acl, flat_rule, flow_log, group, interface, network, prefix_list};
use crate::{
    closest::closest,
    document::{
        diagnostic::{Diagnostic, Source},
        limits::{self, LimitNumbers},
        model::{Model, Spanned},
        tree::{Node, Parsed, Value},
    },
    policy::Exemptions,
};

/// The keys that are read.
const KEYS: &[&str] = &[
    "Vpcs",
    "Subnets",
    "NetworkInterfaces",
    "SecurityGroups",
    "SecurityGroupRules",
    "NetworkAcls",
    "ManagedPrefixLists",
    "PrefixLists",
    "Entries",
    "FlowLogs",
    "Limits",
    "Exemptions",
];

/// Adds what a file holds to the model.
pub(in crate::document) fn decode(
    path: &Path,
    source: &Arc<Source>,
    parsed: &Parsed<'_>,
    model: &mut Model,
    found: &mut Vec<Diagnostic>,
) {
    let number = model.sources.0.len() as u32;
    model.sources.0.push(Arc::clone(source));
    let mut decoder = Decoder { source, number, path: Vec::new(), found, model };
    for root in &parsed.roots {
        decoder.root(path, root);
    }
}

/// The limits in a file of their own: `Limits: {…}`, or only what would stand there.
pub(in crate::document) fn decode_limits(
    source: &Arc<Source>,
    parsed: &Parsed<'_>,
    found: &mut Vec<Diagnostic>,
) -> LimitNumbers {
    let mut model = Model::default();
    let mut decoder = Decoder { source, number: 0, path: Vec::new(), found, model: &mut model };
    let mut numbers = LimitNumbers::AWS;
    for root in &parsed.roots {
        let Some(object) = decoder.object(root) else { continue };
        numbers = match decoder.nested(&object, "Limits", Decoder::limits) {
            Some(numbers) => numbers,
            None => decoder.limits(&object),
        };
    }
    numbers
}

impl Decoder<'_> {
    fn root(&mut self, path: &Path, root: &Node<'_>) {
        if root.value == Value::Null {
            self.found.push(Diagnostic::file("empty-file", &self.source.name, "the file holds nothing"));
            return;
        }
        let Value::Object(fields) = &root.value else {
            let message = format!("a document is an object, not {}", root.value.kind());
            let error = self.error("not-an-object", root.span, "", message);
            error.help = Some("as in { \"SecurityGroups\": […], \"NetworkInterfaces\": […] }".to_owned());
            return;
        };
        let object = Object { span: root.span, fields };
        for field in fields.iter().filter(|field| !KEYS.contains(&&*field.name)) {
            if let Some(key) = closest(&field.name, KEYS) {
                let message = format!("there is no `{}` in a document", field.name);
                self.error("unknown-key", field.span, &field.name, message).help =
                    Some(format!("did you mean `{key}`?"));
            }
        }
        let top = &object;
        self.once(top, "Vpcs", "VpcId", network::VPC_FIELDS, |decoder, object, _| decoder.vpc(object));
        self.once(top, "Subnets", "SubnetId", network::SUBNET_FIELDS, |decoder, object, _| {
            decoder.subnet(object);
        });
        self.once(top, "NetworkInterfaces", "NetworkInterfaceId", interface::FIELDS, |decoder, object, _| {
            decoder.network_interface(object);
        });
        self.once(top, "SecurityGroups", "GroupId", group::FIELDS, |decoder, object, _| {
            decoder.security_group(object);
        });
        self.once(
            top,
            "SecurityGroupRules",
            "SecurityGroupRuleId",
            flat_rule::FIELDS,
            |decoder, object, index| {
                decoder.flat_rule(object, index);
            },
        );
        self.once(top, "NetworkAcls", "NetworkAclId", acl::FIELDS, |decoder, object, _| {
            decoder.network_acl(object);
        });
        for key in ["ManagedPrefixLists", "PrefixLists"] {
            self.once(top, key, "PrefixListId", prefix_list::FIELDS, |decoder, object, _| {
                decoder.prefix_list(object);
            });
        }
        self.once(top, "FlowLogs", "FlowLogId", flow_log::FIELDS, |decoder, object, _| {
            decoder.flow_log(object);
        });
        if let Some(field) = object.field("Entries") {
            match path.file_stem().and_then(|stem| stem.to_str()).filter(|stem| stem.starts_with("pl-")) {
                Some(id) => self.prefix_list_file(&object, id),
                None => {
                    let message = "these entries do not say of which prefix list they are";
                    self.error("entries-without-list", field.span, "Entries", message).help =
                        Some("name the file after the list, as in pl-0123456789abcdef0.json".to_owned());
                }
            }
        }
        self.own_limits(&object);
        self.exemptions(&object);
    }

    /// `Limits`: one choice for the whole document.
    fn own_limits(&mut self, object: &Object<'_>) {
        const NAME: &str = "Limits";
        let Some(value) = self.nested(object, NAME, Self::limits) else { return };
        let span = object.field(NAME).map_or(object.span, |field| field.span);
        if self.model.limits.as_ref().is_some_and(|known| known.value != value) {
            let message = "another file of the document says otherwise";
            self.error("two-limits", span, NAME, message).expected =
                Some("one choice for the whole document".to_owned());
        }
        self.model.limits = Some(Spanned { value, at: self.at(span) });
    }

    /// `Exemptions`: one choice for the whole document.
    fn exemptions(&mut self, object: &Object<'_>) {
        const NAME: &str = "Exemptions";
        let Some(text) = self.text(object, NAME) else { return };
        let value = match text.value {
            "ranges" => Exemptions::Ranges,
            "services" => Exemptions::Services,
            other => {
                let message = format!("`{other}` is no choice of what is exempt");
                self.error("bad-exemptions", text.at.span, NAME, message).expected =
                    Some("ranges or services".to_owned());
                return;
            }
        };
        if self.model.exemptions.as_ref().is_some_and(|known| known.value != value) {
            let message = "another file of the document says otherwise";
            self.error("two-exemptions", text.at.span, NAME, message).expected =
                Some("one choice for the whole document".to_owned());
        }
        self.model.exemptions = Some(Spanned { value, at: text.at });
    }

    /// `Limits`: own numbers instead of AWS's.
    fn limits(&mut self, object: &Object<'_>) -> LimitNumbers {
        self.only(object, &limits::FIELDS);
        let mut numbers = LimitNumbers::AWS;
        for (name, number) in numbers.fields() {
            if let Some(given) = self.integer(object, name, 1, i64::from(u32::MAX)) {
                *number = given.value as u32;
            }
        }
        numbers
    }
}
