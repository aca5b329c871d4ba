//! Opening what a crash, a power cut or a clean end has left.
//!
//! What was acknowledged as durable is there afterwards or opening fails; what was not may end
//! anywhere, and is cut at the first batch that is missing or invalid. A later batch that calls a
//! position durable tells the two apart. Nothing is ever thrown away: what is cut is kept as
//! `*.torn`.
//!
//! Every step may be interrupted and done again: files are moved before they are replaced, cut from
//! the last to the first, and the directory is synced between steps that build on each other.

use super::disk::{Disk, DiskFile, read_full, sync_data, uninterrupted, write_all, write_zeros};
use super::error::{Damage, JournalError};
use super::format::{
    BatchHeader, HEADER, HeaderState, Kind, LANES, SLOT, SegmentHeader, Sequences, record,
    segment_name,
};
use super::log::SEGMENT_BYTES;
use super::spares::Spare;
use super::walk::{Ahead, Step, Walk, follow, look_ahead, read_header, segments, written_bytes};
use std::sync::Arc;

/// Segments that may not be on the disk as they are in the cache: the two last written ones, the
/// spare, and what an interrupted recovery may have left behind that.
const UNSURE: usize = 4;

/// What was cut off the end of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// Position at which the log ends now.
    pub position: u64,
    pub bytes: u64,
    /// Files that keep what was cut.
    pub files: Vec<String>,
}

/// What opening a log has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// First position in the log.
    pub first: u64,
    /// Position behind the last batch; it and everything before is on the disk.
    pub position: u64,
    /// For each lane the sequence behind the last one in the log.
    pub next: Sequences,
    /// The log had been closed.
    pub clean: bool,
    /// There was no log.
    pub new: bool,
    pub torn: Option<Torn>,
}

/// Where the log goes on.
pub(super) struct Tail<F> {
    pub head: SegmentHeader,
    pub file: Arc<F>,
    pub position: u64,
    pub chain: u32,
    pub next: Sequences,
}

pub(super) struct Found<F> {
    /// `None`: there is no segment yet.
    pub tail: Option<Tail<F>>,
    /// First and end positions of the segments before.
    pub finished: Vec<(u64, u64)>,
    pub ready: Option<Spare<F>>,
    pub recovered: Recovered,
}

struct Entry<F> {
    first: u64,
    file: Arc<F>,
    state: HeaderState,
}

impl<F> Entry<F> {
    fn whole(&self) -> Option<&SegmentHeader> {
        match &self.state {
            HeaderState::Whole(head) => Some(head),
            _ => None,
        }
    }
}

fn damage(
    head_first: u64,
    offset: u64,
    position: u64,
    why: &'static str,
    from: Option<Sequences>,
    ahead: &Ahead,
) -> JournalError {
    let sequence = |lane: usize| (from.map(|next| next[lane]), ahead.sequences[lane]);
    JournalError::Corrupt(Box::new(Damage {
        file: segment_name(head_first),
        offset,
        position,
        until: ahead.next,
        sequences: std::array::from_fn(sequence),
        why,
    }))
}

pub(super) fn recover<D: Disk>(
    disk: &Arc<D>,
    slots: u64,
    sealed_to: u64,
) -> Result<Found<D::File>, JournalError> {
    remove_unfinished(&**disk)?;
    let entries = entries(&**disk)?;
    match entries.first() {
        Some(entry) if entry.first > sealed_to => {
            return Err(JournalError::MissingSegment { first: sealed_to, end: entry.first });
        }
        None if sealed_to > 0 => {
            return Err(JournalError::MissingSegment { first: sealed_to, end: u64::MAX });
        }
        _ => {}
    }
    check_headers(&entries)?;
    let walked = walk(&entries)?;
    let ahead = behind(&entries, &walked)?;
    if ahead.durable > walked.position {
        return Err(walked.damage(&entries, &ahead));
    }
    settle(&**disk, entries, walked, slots)
}

fn remove_unfinished(disk: &impl Disk) -> Result<(), JournalError> {
    for name in disk.list().map_err(JournalError::io("list", &disk.place()))? {
        if name.ends_with(".log.new") || name.ends_with(".torn.new") {
            disk.unlink(&name).map_err(JournalError::io("remove", &name))?;
        }
    }
    // Also for the names that a killed process has made and not synced.
    sync_dir(disk)
}

fn sync_dir(disk: &impl Disk) -> Result<(), JournalError> {
    uninterrupted(|| disk.sync_dir()).map_err(JournalError::io("sync", &disk.place()))
}

fn entries<D: Disk>(disk: &D) -> Result<Vec<Entry<D::File>>, JournalError> {
    let firsts = segments(disk)?;
    let sure = firsts.len().saturating_sub(UNSURE);
    let mut id = None;
    let mut entries = Vec::with_capacity(firsts.len());
    for (index, first) in firsts.into_iter().enumerate() {
        let name = segment_name(first);
        let file = disk.open(&name, true).map_err(JournalError::io("open", &name))?;
        if index >= sure {
            // Written pages of a killed process go to the disk, then all are forgotten: what is
            // read from here on is on the disk, also after a sync that failed before.
            sync_data(&file).map_err(JournalError::io("sync", &name))?;
            file.drop_cache().map_err(JournalError::io("forget the cache of", &name))?;
        }
        let state = read_header(&file, first, id)?;
        if let HeaderState::Whole(head) = state {
            id = Some(head.id);
        }
        entries.push(Entry { first, file: Arc::new(file), state });
    }
    Ok(entries)
}

/// Segments follow each other, are as long as they should be, and have a header if anything
/// follows it.
fn check_headers<F: DiskFile>(entries: &[Entry<F>]) -> Result<(), JournalError> {
    let wholes = entries
        .iter()
        .rposition(|entry| entry.whole().is_some())
        .map_or(0, |last| last + 1);
    let mut before: Option<SegmentHeader> = None;
    for (index, entry) in entries.iter().enumerate() {
        let name = segment_name(entry.first);
        let len = entry.file.len().map_err(JournalError::io("look at", &name))?;
        let next = entries[index + 1..].iter().find_map(Entry::whole);
        let broken = |offset: u64, why| {
            let ahead = Ahead {
                durable: 0,
                next: next.map(|head| head.first),
                sequences: std::array::from_fn(|lane| next.map(|head| head.next[lane])),
            };
            let position = entry.first + offset.saturating_sub(HEADER as u64) / SLOT as u64;
            let known = entry.whole().copied().or(before).map(|head| head.next);
            Err(damage(entry.first, offset, position, why, known, &ahead))
        };
        let Some(head) = entry.whole() else {
            if len < HEADER as u64 + *SEGMENT_BYTES.start() {
                return broken(len, "the file is too short");
            }
            let batches = written_bytes(&*entry.file, HEADER as u64..len)
                .map_err(JournalError::io("read", &name))?;
            // A header is on the disk before the first batch is written.
            if index >= wholes && batches == 0 {
                continue;
            }
            if entry.state == HeaderState::Foreign {
                return Err(JournalError::NotAJournal { file: name });
            }
            return broken(0, "the header is wrong");
        };
        if let Some(before) = before
            && before.end() < entry.first
        {
            return Err(JournalError::MissingSegment { first: before.end(), end: entry.first });
        }
        if before.is_some_and(|before| before.end() > entry.first) {
            return broken(0, "the segment begins inside the one before");
        }
        if len < head.file_len() {
            return broken(len, "the file is too short");
        }
        before = Some(*head);
    }
    Ok(())
}

/// How far the log can be followed.
struct Walked {
    /// Entry that the log ends in; `None` if it has no segment.
    index: Option<usize>,
    position: u64,
    chain: u32,
    next: Sequences,
    /// The last batch says that the log was closed.
    closed: bool,
    why: &'static str,
}

impl Walked {
    fn damage<F>(&self, entries: &[Entry<F>], ahead: &Ahead) -> JournalError {
        // At the end of a segment it is the next one that is wrong.
        let head = self.index.and_then(|index| entries[index].whole());
        match head {
            Some(head) if self.position < head.end() => {
                let offset = head.offset_of(self.position);
                damage(head.first, offset, self.position, self.why, Some(self.next), ahead)
            }
            _ => damage(self.position, 0, self.position, self.why, Some(self.next), ahead),
        }
    }
}

fn walk<F: DiskFile>(entries: &[Entry<F>]) -> Result<Walked, JournalError> {
    let sound = entries.iter().take_while(|entry| entry.whole().is_some()).count();
    let first = entries.first().map_or(0, |entry| entry.first);
    let why = "nothing is there";
    let mut at =
        Walked { index: None, position: first, chain: 0, next: [0; LANES], closed: false, why };
    // All others were synced before the last one was begun.
    let from = sound.saturating_sub(2);
    for (index, entry) in entries[..sound].iter().enumerate().skip(from) {
        let Some(head) = entry.whole() else { break };
        if index == from {
            (at.position, at.chain, at.next) = (head.first, head.chain, head.next);
        } else if (head.chain, head.next) != (at.chain, at.next) {
            // Both are whole, so neither was torn; a log that was cut has no segments behind.
            let ahead =
                Ahead { durable: 0, next: Some(head.first), sequences: head.next.map(Some) };
            let why = "the segment does not follow the one before";
            return Err(damage(head.first, 0, head.first, why, Some(at.next), &ahead));
        }
        at.index = Some(index);
        at.closed = false;
        let mut walk = Walk::new(Arc::clone(&entry.file), *head);
        loop {
            match walk.step(|_| true)? {
                Step::Batch(position, header) => {
                    follow(&mut at.next, &header, walk.payload()).map_err(|why| {
                        let ahead = Ahead { durable: 0, next: None, sequences: [None; LANES] };
                        let offset = head.offset_of(position);
                        damage(head.first, offset, position, why, Some(at.next), &ahead)
                    })?;
                    at.closed = is_closing(&header) || (at.closed && header.kind == Kind::Padding);
                }
                Step::Done => break,
                Step::Blank => {
                    (at.position, at.chain) = (walk.position, walk.chain.unwrap_or(at.chain));
                    at.why = "zeros where a batch was";
                    return Ok(at);
                }
                Step::Bad(why) => {
                    (at.position, at.chain) = (walk.position, walk.chain.unwrap_or(at.chain));
                    at.why = why;
                    return Ok(at);
                }
            }
        }
        (at.position, at.chain) = (walk.position, walk.chain.unwrap_or(at.chain));
    }
    Ok(at)
}

fn is_closing(header: &BatchHeader) -> bool {
    header.kind == Kind::Record && header.record_kind() == record::CLOSED
}

/// What lies behind the place where the walk ended: in its segment and in all later ones.
fn behind<F: DiskFile>(entries: &[Entry<F>], at: &Walked) -> Result<Ahead, JournalError> {
    let mut all = Ahead { durable: 0, next: None, sequences: [None; LANES] };
    for (index, entry) in entries.iter().enumerate().skip(at.index.unwrap_or(0)) {
        let Some(head) = entry.whole() else {
            continue;
        };
        let from = if at.index == Some(index) { at.position } else { head.first };
        let ahead = look_ahead(&*entry.file, head, from)?;
        all.durable = all.durable.max(ahead.durable);
        all.next = all.next.or(ahead.next);
        for (known, seen) in all.sequences.iter_mut().zip(ahead.sequences) {
            *known = known.or(seen);
        }
    }
    Ok(all)
}

/// Cut what lies behind the end, and say where the log goes on.
fn settle<D: Disk>(
    disk: &D,
    mut entries: Vec<Entry<D::File>>,
    at: Walked,
    slots: u64,
) -> Result<Found<D::File>, JournalError> {
    let mut torn = Torn { position: at.position, bytes: 0, files: Vec::new() };
    let first = entries.first().map_or(0, |entry| entry.first);
    let kept = at.index.map_or(0, |index| index + 1);
    let end = match at.index.and_then(|index| entries[index].whole()) {
        Some(head) => head.end(),
        None => at.position,
    };
    let mut ready = None;
    for entry in entries.drain(kept..).rev() {
        let name = segment_name(entry.first);
        let written =
            written_bytes(&*entry.file, 0..u64::MAX).map_err(JournalError::io("read", &name))?;
        let len = entry.file.len().map_err(JournalError::io("look at", &name))?;
        if written > 0 && entry.whole().is_some() {
            let kept_as = torn_name(disk, entry.first)?;
            disk.rename(&name, &kept_as).map_err(JournalError::io("rename", &name))?;
            torn.bytes += written;
            torn.files.push(kept_as);
            sync_dir(disk)?;
        } else if entry.state == HeaderState::Blank
            && entry.first == end
            && len == HEADER as u64 + slots * SLOT as u64
        {
            ready = Some(Spare { first: entry.first, file: entry.file });
        } else {
            disk.unlink(&name).map_err(JournalError::io("remove", &name))?;
            sync_dir(disk)?;
        }
    }
    let mut tail = None;
    if let Some(entry) = entries.pop()
        && let HeaderState::Whole(head) = entry.state
    {
        cut(disk, &*entry.file, &head, &mut torn)?;
        let (position, chain, next) = (at.position, at.chain, at.next);
        tail = Some(Tail { head, file: entry.file, position, chain, next });
    }
    let finished = entries.iter().filter_map(|entry| Some((entry.first, entry.whole()?.end())));
    let finished = finished.collect();
    let torn = (!torn.files.is_empty()).then_some(torn);
    let recovered = Recovered {
        first,
        position: at.position,
        next: at.next,
        clean: at.closed && torn.is_none(),
        new: tail.is_none(),
        torn,
    };
    Ok(Found { tail, finished, ready, recovered })
}

/// Keep what lies behind the end of the log in another file, then overwrite it with zeros.
fn cut<D: Disk>(
    disk: &D,
    file: &D::File,
    head: &SegmentHeader,
    torn: &mut Torn,
) -> Result<(), JournalError> {
    let name = segment_name(head.first);
    if torn.position == head.end() {
        return Ok(());
    }
    let start = head.offset_of(torn.position);
    let range = start..head.file_len();
    let count = written_bytes(file, range).map_err(JournalError::io("read", &name))?;
    if count == 0 {
        return Ok(());
    }
    let kept_as = torn_name(disk, torn.position)?;
    let new = format!("{kept_as}.new");
    let copy = disk.create_new(&new).map_err(JournalError::io("create", &new))?;
    let mut bytes = vec![0; (count as usize).min(1 << 20)];
    let mut done = 0;
    while done < count {
        let some = bytes.len().min((count - done) as usize);
        read_full(file, &mut bytes[..some], start + done)
            .map_err(JournalError::io("read", &name))?;
        write_all(&copy, &bytes[..some], done).map_err(JournalError::io("write", &new))?;
        done += some as u64;
    }
    sync_data(&copy).map_err(JournalError::io("sync", &new))?;
    disk.rename(&new, &kept_as).map_err(JournalError::io("rename to", &kept_as))?;
    sync_dir(disk)?;
    write_zeros(file, start..start + count).map_err(JournalError::io("write", &name))?;
    sync_data(file).map_err(JournalError::io("sync", &name))?;
    torn.bytes += count;
    torn.files.push(kept_as);
    Ok(())
}

/// A name for what is cut at a position; the same position may be cut again and again.
fn torn_name(disk: &impl Disk, position: u64) -> Result<String, JournalError> {
    let names = disk.list().map_err(JournalError::io("list", &disk.place()))?;
    let numbered = (0..).map(|number| match number {
        0 => format!("{position:020}.torn"),
        _ => format!("{position:020}-{number}.torn"),
    });
    let mut free = numbered.filter(|name| !names.contains(name));
    Ok(free.next().expect("numbers do not run out"))
}
