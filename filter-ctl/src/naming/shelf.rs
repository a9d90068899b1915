//! Where books are kept: one file per interface slot and generation.
//!
//! `rules/SLOT-GENERATION-HASH.json` below the state folder. Generations are never used twice on a
//! host, so slot and generation name one policy. A book that another slot or generation has
//! already is not written again but linked (`link(2)`): an apply that changes the rules of one
//! interface of a hundred, or only a flow log, writes one book or none. Each name stands for
//! itself, so a book that nobody names is gone with its last link, whoever comes in between.
//!
//! A book goes when no record to come can need it ([`Shelf::keep`]); in any case the oldest go when
//! there are too many different ones or they take too much room. Another name for a book that stays
//! costs a line of the folder only, so names go by a bound of their own, which is far away. Records
//! that need a book that went are told without names.

use std::{
    collections::{BTreeMap, HashSet},
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::{Book, book::Encoded};

/// Different books of a slot that are kept at most, under however many generations each.
const BOOKS: usize = 64;

/// Names of books at most, all slots together: whoever looks one up reads them all.
const NAMES: usize = 8192;

/// Of each slot the last two stay whatever room they take: one is in force, the other is about to be.
const NEWEST: usize = 2;

/// Bytes of all books, but for those that have to stay.
const BYTES: u64 = 64 << 20;

/// The folder of books.
#[derive(Clone, Debug)]
pub struct Shelf {
    folder: PathBuf,
}

/// A book's file.
#[derive(Debug)]
struct Kept {
    slot: u32,
    generation: u32,
    hash: u64,
    path: PathBuf,
}

impl Shelf {
    /// The shelf below a state folder.
    #[must_use]
    pub fn new(state: &Path) -> Self {
        Self { folder: state.join("rules") }
    }

    /// Where it is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn path(&self, slot: u32, generation: u32, hash: u64) -> PathBuf {
        self.folder.join(format!("{slot}-{generation}-{hash:016x}.json"))
    }

    /// All books, in the order of their generations. Other files are left alone.
    fn list(&self) -> io::Result<Vec<Kept>> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut books = Vec::new();
        for entry in entries {
            let path = entry?.path();
            let name =
                path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".json"));
            let mut parts = name.unwrap_or_default().split('-');
            let numbers = (parts.next(), parts.next(), parts.next());
            let (Some(slot), Some(generation), Some(hash)) = numbers else { continue };
            let hash = u64::from_str_radix(hash, 16);
            if let (Ok(slot), Ok(generation), Ok(hash)) = (slot.parse(), generation.parse(), hash) {
                books.push(Kept { slot, generation, hash, path });
            }
        }
        books.sort_by_key(|book| (book.generation, book.slot));
        Ok(books)
    }

    /// Whether a slot's book of a generation is this one.
    #[must_use]
    pub fn holds(&self, slot: u32, generation: u32, book: &Encoded) -> bool {
        self.path(slot, generation, book.hash).exists()
    }

    /// Puts a book on the shelf, as a whole, before its policy is put into force.
    ///
    /// # Errors
    ///
    /// If the folder cannot be written.
    pub fn put(&self, slot: u32, generation: u32, book: &Encoded) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let known = self.list()?;
        let path = self.path(slot, generation, book.hash);
        let alike = known.iter().find(|known| known.hash == book.hash && known.path != path);
        let linked = alike.is_some_and(|known| fs::hard_link(&known.path, &path).is_ok());
        if !linked {
            let partial = path.with_extension("partial");
            let mut options = fs::OpenOptions::new();
            let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
            io::Write::write_all(&mut file, &book.bytes)?;
            fs::rename(&partial, &path)?;
        }
        self.bound()
    }

    /// Opens the book of a generation; `None` if it is gone or damaged.
    ///
    /// # Errors
    ///
    /// If the folder cannot be read.
    pub fn open(&self, slot: u32, generation: u32) -> io::Result<Option<Book>> {
        let known = self.list()?;
        let Some(known) = known.iter().find(|book| (book.slot, book.generation) == (slot, generation)) else {
            return Ok(None);
        };
        match fs::read(&known.path) {
            Ok(bytes) => Ok(Book::decode(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes the books that are not wanted any more.
    ///
    /// # Errors
    ///
    /// If the folder cannot be read or written.
    pub fn keep(&self, wanted: impl Fn(u32, u32) -> bool) -> io::Result<()> {
        let books = self.list()?;
        books
            .iter()
            .filter(|book| !wanted(book.slot, book.generation))
            .try_for_each(|book| remove(&book.path))
    }

    /// Removes the oldest books that are too many or take too much room, and what a killed write left.
    fn bound(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|ending| ending == "partial") {
                remove(&path)?;
            }
        }
        // What stays of each slot: how many names, and which books they stand for.
        let mut slots: BTreeMap<u32, (usize, HashSet<u64>)> = BTreeMap::new();
        let mut seen = HashSet::new();
        let (mut names, mut bytes) = (0, 0);
        // From the newest on.
        for book in self.list()?.iter().rev() {
            let (newer, books) = slots.entry(book.slot).or_default();
            let Ok(file) = fs::metadata(&book.path) else { continue };
            let room = if seen.contains(&file.ino()) { 0 } else { file.len() };
            let is_one_more = !books.contains(&file.ino()) && books.len() >= BOOKS;
            if *newer >= NEWEST && (names >= NAMES || is_one_more || bytes + room > BYTES) {
                remove(&book.path)?;
                continue;
            }
            *newer += 1;
            names += 1;
            books.insert(file.ino());
            seen.insert(file.ino());
            bytes += room;
        }
        Ok(())
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::naming::book::tests::policy;

    fn generations(shelf: &Shelf, slot: u32) -> Vec<u32> {
        let books = shelf.list().expect("a folder");
        books.iter().filter(|book| book.slot == slot).map(|book| book.generation).collect()
    }

    fn other() -> Encoded {
        let mut policy = policy();
        policy.groups.clear();
        Encoded::of(&policy)
    }

    #[test]
    fn a_book_is_found_by_slot_and_generation() -> io::Result<()> {
        let place = tempfile::tempdir()?;
        let shelf = Shelf::new(place.path());
        assert!(shelf.open(0, 1)?.is_none());
        let book = Encoded::of(&policy());
        shelf.put(0, 1, &book)?;
        shelf.put(1, 2, &other())?;
        assert_eq!(shelf.open(0, 1)?.map(|book| book.groups().len()), Some(2));
        assert_eq!(shelf.open(1, 2)?.map(|book| book.groups().len()), Some(0));
        assert!(shelf.open(1, 1)?.is_none());
        assert!(shelf.holds(0, 1, &book) && !shelf.holds(0, 1, &other()) && !shelf.holds(0, 2, &book));
        Ok(())
    }

    #[test]
    fn equal_books_share_their_bytes() -> io::Result<()> {
        let place = tempfile::tempdir()?;
        let shelf = Shelf::new(place.path());
        let book = Encoded::of(&policy());
        for generation in 1..=3 {
            shelf.put(generation % 2, generation, &book)?;
        }
        let files: HashSet<_> =
            shelf.list()?.iter().map(|book| fs::metadata(&book.path).map(|file| file.ino()).ok()).collect();
        assert_eq!((files.len(), shelf.list()?.len()), (1, 3));
        shelf.keep(|_, generation| generation == 3)?;
        assert!(shelf.open(1, 3)?.is_some(), "each name stands for itself");
        Ok(())
    }

    #[test]
    fn the_oldest_books_go_when_there_are_too_many_and_never_the_last_two_of_a_slot() -> io::Result<()> {
        let place = tempfile::tempdir()?;
        let shelf = Shelf::new(place.path());
        shelf.put(7, 1, &other())?;
        for generation in 2..=100 {
            shelf.put(0, generation, &Encoded { bytes: Vec::new(), hash: generation.into() })?;
        }
        assert_eq!(generations(&shelf, 0), (37..=100).collect::<Vec<_>>());
        assert_eq!(generations(&shelf, 7), [1]);
        Ok(())
    }

    #[test]
    fn two_books_in_turn_are_two_however_often_they_change() -> io::Result<()> {
        let place = tempfile::tempdir()?;
        let shelf = Shelf::new(place.path());
        let books = [Encoded::of(&policy()), other()];
        for generation in 1..=200 {
            shelf.put(0, generation, &books[generation as usize % 2])?;
        }
        assert_eq!(generations(&shelf, 0), (1..=200).collect::<Vec<_>>());
        Ok(())
    }

    #[test]
    fn names_are_bounded_too_and_the_last_two_of_a_slot_stay() -> io::Result<()> {
        let place = tempfile::tempdir()?;
        let shelf = Shelf::new(place.path());
        let book = other();
        shelf.put(7, 1, &book)?;
        let last = NAMES as u32 + 2;
        for generation in 2..last {
            fs::hard_link(shelf.path(7, 1, book.hash), shelf.path(0, generation, book.hash))?;
        }
        shelf.put(0, last, &book)?;
        let kept = generations(&shelf, 0);
        assert_eq!((kept.len(), kept[0], generations(&shelf, 7)), (NAMES, 3, vec![1]));
        Ok(())
    }

    #[test]
    fn the_oldest_books_go_when_they_take_too_much_room() -> io::Result<()> {
        let place = tempfile::tempdir()?;
        let shelf = Shelf::new(place.path());
        let large = |hash| Encoded { bytes: vec![b' '; 20 << 20], hash };
        for generation in 1..=5 {
            shelf.put(0, generation, &large(generation.into()))?;
        }
        assert_eq!(generations(&shelf, 0), [3, 4, 5], "60 MiB");
        Ok(())
    }

    #[test]
    fn what_a_killed_write_left_goes_and_a_damaged_book_is_none() -> io::Result<()> {
        let place = tempfile::tempdir()?;
        let shelf = Shelf::new(place.path());
        shelf.put(0, 1, &other())?;
        fs::write(shelf.folder.join("0-2-00.partial"), "{")?;
        fs::write(shelf.path(0, 3, 9), "{")?;
        shelf.put(0, 4, &Encoded::of(&policy()))?;
        assert!(!shelf.folder.join("0-2-00.partial").exists());
        assert!(shelf.open(0, 3)?.is_none());
        Ok(())
    }
}
