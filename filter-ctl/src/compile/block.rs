//! Puts the tables into one block, and the block into memory.
//!
//! The layout is [`filter_common::policy`]'s. The order of the tables is that of their use and
//! size: what every packet reads stands first, so that the small tables share pages.

use std::mem::{offset_of, size_of};

use filter_common::policy::{HEADER_WORDS, PolicyHeader, TIERS, flags};

use super::{CompileError, Limits, addresses::Range, cells::Decisions, dxr, services};

/// A block and what its header says about the places in it.
pub(super) struct Block {
    pub(super) header: PolicyHeader,
    pub(super) words: Vec<u32>,
    pub(super) tier: usize,
    pub(super) cells_bytes: usize,
}

/// Lays out decisions and own addresses.
pub(super) fn lay_out(
    decisions: &Decisions,
    own: &[Vec<Range>; 2],
    limits: &Limits,
) -> Result<Block, CompileError> {
    let mut words = vec![0; HEADER_WORDS];
    let pages = services::pages(&decisions.classes);
    let mut header = PolicyHeader {
        columns: decisions.columns as u32,
        directory: append_halves(&mut words, pages.directory),
        pages: append_halves(&mut words, pages.pages),
        own_v4: dxr::append(&mut words, &own[0])?,
        own_v6: dxr::append(&mut words, &own[1])?,
        v4: dxr::append(&mut words, &decisions.v4)?,
        v6: dxr::append(&mut words, &decisions.v6)?,
        ..PolicyHeader::default()
    };

    let addresses = words.len() * 4;
    let (dense, sparse) = (decisions.dense_bytes(), decisions.sparse_bytes());
    let tier = |cells: usize| TIERS.iter().position(|&size| addresses + cells <= size);
    // Speed is bought with memory only where that memory has to be paid for anyway.
    let is_dense = dense <= limits.dense_bytes
        && tier(dense).is_some()
        && (tier(dense) == tier(sparse) || dense <= sparse);
    let cells_bytes = if is_dense { dense } else { sparse };
    let Some(tier) = tier(cells_bytes) else {
        return Err(CompileError::TooLarge {
            bytes: addresses + cells_bytes,
            limit: TIERS[TIERS.len() - 1],
            addresses,
            cells: cells_bytes,
            rows: decisions.rows.len(),
            columns: decisions.columns,
        });
    };
    if is_dense {
        header.cells = append_dense(&mut words, decisions);
    } else {
        header.flags |= flags::SPARSE;
        header.cells = append_sparse(&mut words, decisions);
    }
    Ok(Block { header, words, tier, cells_bytes })
}

/// Appends 16-bit halves, beginning with a whole word; returns their place in halves.
fn append_halves(words: &mut Vec<u32>, halves: impl IntoIterator<Item = u16>) -> u32 {
    let place = 2 * words.len() as u32;
    let mut halves = halves.into_iter();
    while let Some(low) = halves.next() {
        words.push(u32::from(low) | u32::from(halves.next().unwrap_or(0)) << 16);
    }
    place
}

fn append_dense(words: &mut Vec<u32>, decisions: &Decisions) -> u32 {
    let cells = decisions.rows.iter().flat_map(|row| {
        let ends = row.iter().skip(1).map(|run| run.0).chain([decisions.columns as u32]);
        row.iter().zip(ends).flat_map(|(&(start, cell), end)| (start..end).map(move |_| cell))
    });
    append_halves(words, cells)
}

fn append_sparse(words: &mut Vec<u32>, decisions: &Decisions) -> u32 {
    let place = words.len();
    words.resize(place + decisions.rows.len(), 0);
    for (index, row) in decisions.rows.iter().enumerate() {
        words[place + index] = words.len() as u32;
        words.push(row.len() as u32);
        words.extend(row.iter().map(|run| run.0));
        words.extend(row.iter().map(|run| u32::from(run.1)));
    }
    place as u32
}

/// Writes a header's bytes as the programs read it. Field by field: the structure has padding,
/// whose bytes must not leave this process as they happen to be.
pub(super) fn write_header(header: &PolicyHeader, target: &mut [u8]) {
    let PolicyHeader {
        generation,
        flags,
        allowance,
        interval_ticks,
        interval_phase,
        v4,
        v6,
        own_v4,
        own_v6,
        directory,
        pages,
        cells,
        columns,
        timeouts,
    } = *header;
    let target = &mut target[..size_of::<PolicyHeader>()];
    target.fill(0);
    let mut put = |offset: usize, word: u32| target[offset..offset + 4].copy_from_slice(&word.to_ne_bytes());
    put(offset_of!(PolicyHeader, generation), generation);
    put(offset_of!(PolicyHeader, flags), flags);
    put(offset_of!(PolicyHeader, allowance), allowance);
    put(offset_of!(PolicyHeader, interval_ticks), interval_ticks);
    for (offset, root) in [
        (offset_of!(PolicyHeader, v4), v4),
        (offset_of!(PolicyHeader, v6), v6),
        (offset_of!(PolicyHeader, own_v4), own_v4),
        (offset_of!(PolicyHeader, own_v6), own_v6),
    ] {
        put(offset, root.place);
        put(offset + 4, root.bits);
    }
    put(offset_of!(PolicyHeader, directory), directory);
    put(offset_of!(PolicyHeader, pages), pages);
    put(offset_of!(PolicyHeader, cells), cells);
    put(offset_of!(PolicyHeader, columns), columns);
    for (index, timeout) in timeouts.into_iter().enumerate() {
        put(offset_of!(PolicyHeader, timeouts) + 4 * index, timeout);
    }
    let offset = offset_of!(PolicyHeader, interval_phase);
    target[offset..offset + 8].copy_from_slice(&interval_phase.to_ne_bytes());
}
