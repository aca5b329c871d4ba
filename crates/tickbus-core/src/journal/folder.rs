//! The file operations that writing a segment takes, and how segments are called.
//!
//! A segment appears whole or not at all: it is written as `*.new`, synced, renamed, and the
//! folder is synced. The operations stand behind a trait, so that tests can stop after each.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// What a file name ends with until the file is whole.
pub const NEW: &str = ".new";

/// The two forms of a segment that is written once and then only read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    Sealed,
    Packed,
}

impl Form {
    pub const fn suffix(self) -> &'static str {
        match self {
            Form::Sealed => ".seg",
            Form::Packed => ".segz",
        }
    }

    /// First bytes of header and footer; the last one is the version.
    pub const fn magic(self) -> [u8; 8] {
        match self {
            Form::Sealed => *b"TBSEAL\0\x01",
            Form::Packed => *b"TBPACK\0\x01",
        }
    }

    /// The file with this first position.
    pub fn name(self, first_position: u64) -> String {
        format!("{first_position:020}{}", self.suffix())
    }
}

/// File operations of one directory, each either done or an error. Names are relative to it.
pub trait Folder {
    type File;

    fn path(&self, name: &str) -> PathBuf;
    /// An empty file, whatever stood there.
    fn create(&self, name: &str) -> io::Result<Self::File>;
    fn write_at(&self, file: &Self::File, bytes: &[u8], offset: u64) -> io::Result<()>;
    fn sync(&self, file: &Self::File) -> io::Result<()>;
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes created, renamed and removed names survive a power cut.
    fn sync_names(&self) -> io::Result<()>;
}

/// A directory of the file system.
#[derive(Debug, Clone)]
pub struct Directory(pub PathBuf);

impl Folder for Directory {
    type File = File;

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn create(&self, name: &str) -> io::Result<File> {
        // Readable as well: what was written is read back before it counts.
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(self.path(name))
    }

    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.path(name)) {
            // Somebody was faster, or a crash came between this and the sync.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}

/// Sealed and packed segments of a directory by first position. Where a crash left both forms, the
/// sealed one is named: it goes last. Everything that is called otherwise is passed over.
pub fn list(directory: &Path) -> io::Result<Vec<(u64, Form)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        if let Some(segment) = entry?.file_name().to_str().and_then(parse) {
            found.push(segment);
        }
    }
    found.sort_unstable();
    found.dedup_by_key(|(first, _)| *first);
    Ok(found)
}

/// First position and form of a file that is called like a segment.
pub fn parse(name: &str) -> Option<(u64, Form)> {
    [Form::Sealed, Form::Packed].into_iter().find_map(|form| {
        let first = name.strip_suffix(form.suffix())?.parse().ok()?;
        // Only the one spelling: "7.seg" or "+07.seg" is not ours.
        (form.name(first) == name).then_some((first, form))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_segments_are_listed_each_once_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let sealed = Form::Sealed;
        let names = [
            sealed.name(9),
            sealed.name(1 << 40),
            Form::Packed.name(9),
            Form::Packed.name(2),
            sealed.name(3) + NEW,
            Form::Packed.name(4) + NEW,
            "7.seg".into(),
            "+0000000000000000007.seg".into(),
            "LOCK".into(),
        ];
        for name in names {
            fs::write(folder.path().join(name), b"").unwrap();
        }
        let found = list(folder.path()).unwrap();
        assert_eq!(found, [(2, Form::Packed), (9, sealed), (1 << 40, sealed)]);
    }
}
