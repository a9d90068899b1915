//! The state folder: what is attached, and what was about to be.
//!
//! A command may be killed at any moment. So `attach` writes an entry in the phase *attaching*
//! before it touches the device, and `detach` one in the phase *detaching*; whoever takes the lock
//! next finishes what such an entry began (see `session.rs`). Files are replaced as a whole.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{error::Error, places::Places, rules::Rules, sys};
use crate::state::Attachment;

/// How far an attachment has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Begun; valid once its folder of pins has its final name.
    Attaching,
    /// In force.
    Attached,
    /// On its way out.
    Detaching,
}

/// One attached device with all that is needed to change it or take it off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What other parts of the crate know of it.
    #[serde(flatten)]
    pub attachment: Attachment,
    /// How far it has come.
    pub phase: Phase,
    /// Shortest flow-log interval that `--log` asked for, in seconds.
    pub log_seconds: Option<u32>,
    /// Whether `--strict-tcp` was given; the document may say so, too.
    #[serde(default)]
    pub strict_tcp: bool,
    /// Whether a clsact qdisc was added for us, and goes when we go.
    pub clsact_added: bool,
    /// Whether its programs log what they drop.
    #[serde(default)]
    pub debug: bool,
    /// The document that the rules come from.
    pub document: PathBuf,
    /// What the rules are, for people.
    pub rules: Rules,
    /// Connections that it may track.
    pub allowance: Option<u32>,
    /// Unix seconds of the last change of the rules.
    pub applied_at: u64,
}

impl Entry {
    /// The name of its folder of pins and of its state file, without the ending.
    #[must_use]
    pub fn key(&self) -> String {
        key(self.attachment.netns, self.attachment.ifindex)
    }

    fn path(&self, places: &Places) -> PathBuf {
        places.attachments().join(format!("{}.json", self.key()))
    }

    /// Writes it.
    pub(super) fn save(&self, places: &Places) -> Result<(), Error> {
        write_json(&self.path(places), self)
    }

    /// Removes it.
    pub(super) fn remove(&self, places: &Places) -> Result<(), Error> {
        remove_file(&self.path(places))
    }
}

/// How a device is named in bpffs and in the state folder: names change, and every network
/// namespace has its own.
#[must_use]
pub fn key(netns: u64, ifindex: u32) -> String {
    format!("{netns}-{ifindex}")
}

/// The ending of a file that is being written.
const UNFINISHED: &str = "new";

/// Removes what a killed write left.
pub(super) fn remove_unfinished(places: &Places) -> Result<(), Error> {
    let Ok(files) = fs::read_dir(places.attachments()) else { return Ok(()) };
    for path in files.flatten().map(|file| file.path()) {
        if path.extension().is_some_and(|ending| ending == UNFINISHED) {
            remove_file(&path)?;
        }
    }
    Ok(())
}

/// The ending that a file gets which cannot be understood.
const DAMAGED: &str = "damaged";

/// Reads all entries, by slot. Files that cannot be understood are left out: their slots are safe,
/// as their pins name them too.
///
/// # Errors
///
/// If a file cannot be read.
pub fn entries(places: &Places) -> Result<Vec<Entry>, Error> {
    Ok(read_all(places)?.0)
}

/// What is wrong with entries that cannot be understood.
pub(super) fn damaged(places: &Places) -> Result<Vec<Error>, Error> {
    Ok(read_all(places)?.1)
}

/// Entries, and what is wrong with those that cannot be understood.
fn read_all(places: &Places) -> Result<(Vec<Entry>, Vec<Error>), Error> {
    let folder = places.attachments();
    let files = match fs::read_dir(&folder) {
        Ok(files) => files,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Default::default()),
        Err(error) => return Err(Error::system(format!("read {}", folder.display()))(error)),
    };
    let (mut entries, mut damaged) = (Vec::<Entry>::new(), Vec::new());
    for file in files {
        let path = file.map_err(Error::system(format!("read {}", folder.display())))?.path();
        if path.extension().is_none_or(|ending| ending != "json") {
            continue;
        }
        match read_json::<Entry>(&path) {
            Ok(Some(entry)) if entry.path(places) == path => entries.push(entry),
            Ok(Some(_)) => damaged.push(Error::State { path, reason: "of another device".into() }),
            Ok(None) => {}
            Err(error @ Error::State { .. }) => damaged.push(error),
            Err(error) => return Err(error),
        }
    }
    entries.sort_by_key(|entry| entry.attachment.slot);
    Ok((entries, damaged))
}

/// Gives what cannot be understood another name, and says so; other errors stay errors.
pub(super) fn set_aside(error: Error) -> Result<String, Error> {
    let Error::State { path, reason } = error else { return Err(error) };
    let mut name = path.clone().into_os_string();
    name.push(format!(".{DAMAGED}"));
    let aside = PathBuf::from(name);
    // An earlier one that is a folder would be in the way.
    let _ = fs::remove_dir_all(&aside);
    fs::rename(&path, &aside).map_err(Error::system(format!("rename {}", path.display())))?;
    Ok(format!("{} was damaged ({reason}) and is now {}", path.display(), aside.display()))
}

/// Facts about the host that outlive every attachment, until it boots again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// Clock ticks per second; 0: not measured yet.
    #[serde(default)]
    pub hz: u32,
    /// The last generation that was given to a policy; 0: none yet.
    #[serde(default)]
    pub generation: u32,
}

impl HostFacts {
    /// Reads them; all zero before the first attachment, and while the file is damaged.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn read(places: &Places) -> Result<Self, Error> {
        match read_json(&places.host()) {
            Err(Error::State { .. }) => Ok(Self::default()),
            facts => Ok(facts?.unwrap_or_default()),
        }
    }

    /// What is wrong with the file, if something is.
    pub(super) fn damaged(places: &Places) -> Option<Error> {
        read_json::<Self>(&places.host()).err().filter(|error| matches!(error, Error::State { .. }))
    }

    /// Writes them.
    pub(super) fn save(&self, places: &Places) -> Result<(), Error> {
        write_json(&places.host(), self)
    }

    /// The next generation, kept before anybody uses it: a connection must never meet one number
    /// with two meanings.
    pub(super) fn next_generation(places: &Places, known: u32) -> Result<u32, Error> {
        let mut facts = Self::read(places)?;
        facts.generation = facts.generation.max(known).checked_add(1).unwrap_or(1);
        facts.save(places)?;
        Ok(facts.generation)
    }
}

/// The right to change something, for as long as it lives.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Waits a little for others to finish.
    ///
    /// # Errors
    ///
    /// If they do not.
    pub fn take(places: &Places) -> Result<Self, Error> {
        const PATIENCE: Duration = Duration::from_secs(10);
        let path = places.lock();
        create_folder(places.state())?;
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(Error::system(format!("open {}", path.display())))?;
        let start = Instant::now();
        while !sys::try_lock(&file).map_err(Error::system("flock"))? {
            if start.elapsed() > PATIENCE {
                return Err(Error::Locked(path));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(Self { _file: file })
    }
}

/// Creates a folder that only root may enter: the state tells who talks to whom.
pub(super) fn create_folder(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(Error::system(format!("mkdir {}", path.display())))
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
            return Err(Error::State { path: path.to_owned(), reason: error.to_string() });
        }
        Err(error) => return Err(Error::system(format!("read {}", path.display()))(error)),
    };
    let damaged =
        |error: serde_json::Error| Error::State { path: path.to_owned(), reason: error.to_string() };
    serde_json::from_slice(&text).map(Some).map_err(damaged)
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let failed = |error| Error::system(format!("write {}", path.display()))(error);
    let folder = path.parent().unwrap_or(path);
    create_folder(folder)?;
    let mut text = serde_json::to_vec_pretty(value).map_err(io::Error::other).map_err(failed)?;
    text.push(b'\n');
    // Only who holds the lock writes, so one name serves; a killed write's is overwritten.
    let new = path.with_extension(UNFINISHED);
    let mut file = File::create(&new).map_err(failed)?;
    file.write_all(&text).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    fs::rename(&new, path).map_err(failed)?;
    Ok(())
}

fn remove_file(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::system(format!("remove {}", path.display()))(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(root: &tempfile::TempDir) -> Places {
        Places::new(root.path().join("state"), root.path().join("bpf"))
    }

    #[test]
    fn a_damaged_entry_is_left_out_and_can_be_set_aside() {
        let root = tempfile::tempdir().expect("a folder");
        let places = places(&root);
        create_folder(&places.attachments()).expect("made");
        let path = places.attachments().join("4026-7.json");
        fs::write(&path, "{").expect("written");
        assert!(entries(&places).expect("readable").is_empty());
        let damaged = damaged(&places).expect("readable");
        assert_eq!(damaged.len(), 1);
        for error in damaged {
            assert!(set_aside(error).expect("renamed").contains("4026-7.json.damaged"));
        }
        assert!(!path.exists() && path.with_extension("json.damaged").exists());
        assert!(super::damaged(&places).expect("readable").is_empty());
    }

    #[test]
    fn damaged_facts_about_the_host_are_as_good_as_none() {
        let root = tempfile::tempdir().expect("a folder");
        let places = places(&root);
        assert!(HostFacts::damaged(&places).is_none(), "there is no file yet");
        create_folder(places.state()).expect("made");
        fs::write(places.host(), "garbage").expect("written");
        assert_eq!(HostFacts::read(&places).expect("readable"), HostFacts::default());
        set_aside(HostFacts::damaged(&places).expect("damaged")).expect("renamed");
        assert_eq!(HostFacts::next_generation(&places, 4).expect("written"), 5);
    }
}
