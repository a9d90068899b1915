//! `apply`: new rules for attached interfaces, all or none.

use std::path::Path;

use super::{
    Session,
    error::Error,
    host::Host,
    journal::{self, Entry, HostFacts},
    places::Places,
    policy::{self, Prepared},
    rules::Rules,
};
use crate::{compile::Compiled, naming::book::Encoded, policy::EffectivePolicy, state::ActiveLog};

/// An attached interface and the policy that it shall have.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The attachment as it is.
    pub entry: Entry,
    /// The new policy.
    pub policy: EffectivePolicy,
    /// The same, compiled.
    pub compiled: Compiled,
}

/// What happens, or would happen, to an interface.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The attachment as it was.
    pub before: Entry,
    /// The attachment as it is now; in a dry run its generation is the old one.
    pub after: Entry,
    /// Whether other rules enforce now.
    pub changed: bool,
}

/// Says what `apply` would do.
///
/// # Errors
///
/// If the maps cannot be read.
pub fn dry_run(places: &Places, wanted: &[Wanted], document: &Path) -> Result<Vec<Applied>, Error> {
    let host = Host::open_in(places)?;
    wanted
        .iter()
        .map(|wanted| {
            let changed = differs(&host, places, wanted, &Encoded::of(&wanted.policy))?;
            let mut after = updated(wanted, document, changed.then_some(0), wanted.entry.applied_at);
            after.attachment.generation = wanted.entry.attachment.generation;
            Ok(Applied { before: wanted.entry.clone(), after, changed })
        })
        .collect()
}

impl Session {
    /// Gives the interfaces their new policies. All blocks are made, and all rules written down by
    /// which records will be named, before the first is put into force; should the kernel then
    /// refuse one, the earlier ones are put back.
    ///
    /// # Errors
    ///
    /// If the kernel refuses; the old policies are in force then.
    pub fn apply(&self, wanted: &[Wanted], document: &Path) -> Result<Vec<Applied>, Error> {
        let host = Host::open_in(&self.places)?;
        let mut changed = Vec::with_capacity(wanted.len());
        let mut books = Vec::new();
        for wanted in wanted {
            let book = Encoded::of(&wanted.policy);
            changed.push(differs(&host, &self.places, wanted, &book)?);
            if changed.last() == Some(&true) {
                books.push((wanted.entry.attachment.slot, book));
            }
        }
        let clock = host.clock()?;
        let mut generation = 0;
        if changed.contains(&true) {
            // One number for all that change together.
            let known = journal::entries(&self.places)?;
            let known = known.iter().map(|entry| entry.attachment.generation).max().unwrap_or(0);
            generation = HostFacts::next_generation(&self.places, known)?;
        }
        let mut prepared = Vec::new();
        for (wanted, _) in wanted.iter().zip(&changed).filter(|(_, changed)| **changed) {
            prepared
                .push((wanted.entry.attachment.slot, Prepared::new(&wanted.compiled, &clock, generation)?));
        }
        let written = books.iter().try_for_each(|(slot, book)| self.put_book(*slot, generation, book));
        let mut begun = 0;
        if let Err(error) = written.and_then(|()| commit_all(&host, &prepared, &mut begun)) {
            // Nobody will ever ask for the rules of those whose turn never came; the others judged
            // packets by them for a moment. The error that matters is the one that made us give up.
            let judged = |slot| prepared[..begun].iter().any(|(other, _)| *other == slot);
            let _ = self.places.shelf().keep(|slot, other| other != generation || judged(slot));
            return Err(error);
        }

        let now = clock.unix_nanos / 1_000_000_000;
        let mut applied = Vec::with_capacity(wanted.len());
        for (wanted, changed) in wanted.iter().zip(changed) {
            let after = updated(wanted, document, changed.then_some(generation), now);
            // Names and paths may change where no rule does.
            if after != wanted.entry {
                after.save(&self.places)?;
            }
            applied.push(Applied { before: wanted.entry.clone(), after, changed });
        }
        Ok(applied)
    }
}

/// Puts policies into force one after the other; puts the earlier ones back if one fails. Counts
/// those that were in force, or may have been, for however short.
fn commit_all(host: &Host, prepared: &[(u32, Prepared)], begun: &mut usize) -> Result<(), Error> {
    let mut before = Vec::new();
    for (slot, new) in prepared {
        let old = policy::in_force(host, *slot)?;
        *begun += 1;
        if let Err(error) = new.commit(host, *slot) {
            before.push((*slot, old));
            for (slot, old) in before.into_iter().rev() {
                if let Some(old) = old {
                    old.commit(host, slot)?;
                }
            }
            return Err(error);
        }
        before.push((*slot, old));
    }
    Ok(())
}

/// Whether other rules would enforce, or the same ones by other names: a generation has one text.
/// Where the kernel's generation is not the one that the state knows, a command was killed between
/// the two, and what enforces is not known.
fn differs(host: &Host, places: &Places, wanted: &Wanted, book: &Encoded) -> Result<bool, Error> {
    let attachment = &wanted.entry.attachment;
    let named = places.shelf().holds(attachment.slot, attachment.generation, book);
    let in_force = policy::in_force(host, attachment.slot)?;
    let known = in_force.is_some_and(|policy| policy.generation() == attachment.generation);
    Ok(!known || !named || attachment.fingerprint != wanted.compiled.fingerprint)
}

fn updated(wanted: &Wanted, document: &Path, generation: Option<u32>, now: u64) -> Entry {
    let mut entry = wanted.entry.clone();
    entry.attachment.interface = wanted.policy.interface.clone();
    entry.attachment.flow_logs =
        ActiveLog::renewed(&wanted.entry.attachment.flow_logs, &wanted.policy.flow_logs, now);
    entry.document = document.to_owned();
    entry.rules = Rules::of(&wanted.policy, &wanted.compiled);
    entry.allowance = wanted.policy.allowance;
    if let Some(generation) = generation {
        entry.attachment.generation = generation;
        entry.attachment.fingerprint = wanted.compiled.fingerprint;
        entry.attachment.interval = wanted.policy.flow_log_interval;
        entry.applied_at = now;
    }
    entry
}
