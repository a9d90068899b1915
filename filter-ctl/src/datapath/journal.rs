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
    /// Whether a clsact qdisc was added for us, and goes when we go.
    pub clsact_added: bool,
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

/// Reads all entries, by slot.
///
/// # Errors
///
/// If one cannot be read: acting on the others would risk its slot.
pub fn entries(places: &Places) -> Result<Vec<Entry>, Error> {
    let folder = places.attachments();
    let files = match fs::read_dir(&folder) {
        Ok(files) => files,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::system(format!("read {}", folder.display()))(error)),
    };
    let mut entries = Vec::new();
    for file in files {
        let path = file.map_err(Error::system(format!("read {}", folder.display())))?.path();
        if path.extension().is_some_and(|ending| ending == "json") {
            entries.extend(read_json::<Entry>(&path)?);
        }
    }
    entries.sort_by_key(|entry| entry.attachment.slot);
    Ok(entries)
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
    /// Reads them; all zero before the first attachment.
    ///
    /// # Errors
    ///
    /// If the file is damaged.
    pub fn read(places: &Places) -> Result<Self, Error> {
        Ok(read_json(&places.host())?.unwrap_or_default())
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
