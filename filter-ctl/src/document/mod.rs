//! Policy documents: what the EC2 API would describe, in JSON or YAML files.
//!
//! The way of a document: `read` finds its files, `json` and `yaml` parse them into one kind of
//! `tree`, `decode` makes objects of it and collects every error, `defaults` completes what was
//! left out, `index` connects the objects. [`load`] does all of that. [`Document::effective`]
//! then checks what one interface needs (`reach`) and resolves its policy (`resolve`).
//!
//! The format is described in `docs/documents.md`.

mod check;
mod decode;
mod defaults;
mod diagnostic;
mod exempt;
mod flat_rules;
mod index;
mod json;
mod limits;
mod lint;
mod model;
mod placement;
mod reach;
mod read;
mod resolve;
mod select;
mod tree;
mod yaml;

#[cfg(test)]
mod tests;

use std::path::Path;

pub use check::{Checked, Summary};
pub use diagnostic::{Diagnostic, Diagnostics, RuleName, Severity};
pub use limits::{LimitNumbers, Limits};
pub use select::SelectError;

use crate::policy::{EffectivePolicy, FlowLog};

/// A document whose files are read and whose objects are well-formed.
///
/// Whether the objects fit together is asked for each interface that is used
/// ([`Document::effective`]) or for all of them ([`Document::check`]).
#[derive(Clone, Debug)]
pub struct Document {
    model: model::Model,
    index: index::Index,
    quotas: limits::Quotas,
    rule_counts: limits::RuleCounts,
}

/// What [`load`] yields.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The document.
    pub document: Document,
    /// Warnings and notes about single objects.
    pub warnings: Vec<Diagnostic>,
}

/// Loads a document from a file, or from all `*.json`, `*.yaml` and `*.yml` files of a folder.
///
/// # Errors
///
/// All errors of all files: syntax, fields, values, ids that are given twice.
pub fn load(path: &Path, limits: &Limits) -> Result<Loaded, Diagnostics> {
    let mut found = Vec::new();
    let mut model = model::Model::default();
    for file in read::files(path, &mut found)? {
        match read::source(&file) {
            Ok(source) => {
                let parsed = read::parse(&file, &source, &mut found);
                decode::decode(&file, &source, &parsed, &mut model, &mut found);
            }
            Err(error) => found.push(*error),
        }
    }
    flat_rules::join(&mut model, &mut found);
    defaults::complete(&mut model, &mut found);
    let index = index::Index::new(&model, &mut found);
    let quotas = limits::Quotas::new(limits, model.limits.as_ref().map(|given| given.value));
    let rule_counts = limits::RuleCounts::new(&model, |id| index.prefix_list(&model, id));
    quotas.check_rules(&model, &rule_counts, &mut found);
    quotas.check_lists(&model, &mut found);
    limits.refuse(&mut found);
    let warnings = Diagnostics::split(found)?;
    Ok(Loaded { document: Document { model, index, quotas, rule_counts }, warnings })
}

impl Document {
    /// The ids of all network interfaces, in the document's order.
    #[must_use]
    pub fn interface_ids(&self) -> Vec<&str> {
        self.model.interfaces.iter().map(|interface| interface.id.as_str()).collect()
    }

    /// The tags of a network interface, in the document's order.
    #[must_use]
    pub fn tags(&self, interface_id: &str) -> &[(String, String)] {
        self.index.interface(&self.model, interface_id).map_or(&[], |interface| interface.tags.as_slice())
    }

    /// The limits that the document itself sets.
    #[must_use]
    pub fn limits(&self) -> Option<LimitNumbers> {
        self.model.limits.as_ref().map(|given| given.value)
    }

    /// The policy of one interface, and warnings about what it reaches.
    ///
    /// # Errors
    ///
    /// What the interface needs and the document lacks, and what does not fit together.
    pub fn effective(&self, interface_id: &str) -> Result<(EffectivePolicy, Vec<Diagnostic>), Diagnostics> {
        let Some(interface) = self.index.interface(&self.model, interface_id) else {
            let file = self.model.sources.0.first().map_or("", |source| source.name.as_str());
            let message = format!("the document has no network interface {interface_id}");
            return Err(Diagnostic::file("unknown-interface", file, message).into());
        };
        let mut found = Vec::new();
        let reached = self.examine(interface, &mut found);
        let warnings = Diagnostics::split(found)?;
        match reached {
            Some(reached) => Ok((self.resolve(&reached), warnings)),
            // Unreachable as long as `reach` says why it finds nothing; never apply half a policy.
            None => {
                let message = format!("{interface_id} lacks a part of its policy");
                Err(Diagnostic::file("incomplete", &self.model.sources.0[0].name, message).into())
            }
        }
    }

    /// Finds what an interface needs, with all that is to say about it.
    fn examine<'d>(
        &'d self,
        interface: &'d model::Interface,
        found: &mut Vec<Diagnostic>,
    ) -> Option<reach::Reached<'d>> {
        let reached = self.reach(interface, found);
        for group in reached.iter().flat_map(|reached| &reached.groups) {
            if let index::GroupOf::Written(_, group) = group {
                self.check_references(group, found);
            }
        }
        self.check_intervals(interface, found);
        reached
    }

    /// The flow logs that cover an interface: its own, its subnet's, its VPC's.
    #[must_use]
    pub fn flow_logs_for(&self, interface_id: &str) -> Vec<&FlowLog> {
        let Some(interface) = self.index.interface(&self.model, interface_id) else { return Vec::new() };
        self.covering(interface).map(|placed| &placed.log).collect()
    }

    fn covering<'d>(
        &'d self,
        interface: &'d model::Interface,
    ) -> impl Iterator<Item = &'d model::PlacedFlowLog> {
        let id = |spanned: &'d Option<model::Spanned<String>>| spanned.as_ref().map(|id| id.value.as_str());
        let covered = [Some(interface.id.as_str()), id(&interface.subnet_id), id(&interface.vpc_id)];
        self.model
            .flow_logs
            .iter()
            .filter(move |placed| placed.active && covered.contains(&Some(placed.log.resource_id.as_str())))
    }
}
