//! All parts of a journal as one log: what is still in the log, sealed and packed segments.
//!
//! ```text
//! 00.segz 01.segz 02.seg 03.seg 04.log 05.log ─► parts in order ─► query
//! packed          sealed        hot: scanned once, the last one goes on
//! ```
//!
//! Others append, seal, pack, recycle and delete meanwhile. A query ends at what was written when it
//! began, and what it began with it reads to its end (held.rs).
//!
//! **Damage** is an error of the query, before or while it reads. A query that salvages leaves out
//! what cannot be read and lists it.
//!
//! **Memory.** For each part what its footer says of the lanes (300 bytes), the index of each log
//! segment (hot.rs), up to 64 open files with an index of 0.1 % of their events, the names, and what
//! the query itself takes (query.rs).

use super::catalog::{Catalog, Hole, Part, PartForm, Stored};
use super::dictionary::Dictionary;
use super::disk::open_to_read;
use super::fault::{Damage, SegmentError};
use super::folder::parse;
use super::format::{HeaderState, JournalId, SegmentHeader, segment_first};
use super::held::{Files, Held};
use super::hot::{Hot, fault};
use super::query::{Query, Results, Rows};
use super::scan::{Scan, is_of_names};
use super::walk::{look_ahead, read_header};
use crate::event::{PRIORITIES, Priority};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Looks at a directory that others change, with a pause between them.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(2);

/// A journal's parts at one moment.
pub struct View {
    pub id: JournalId,
    pub parts: Vec<Arc<Held>>,
    /// What is known to be missing or damaged, without reading all events.
    pub faults: Vec<SegmentError>,
}

/// What a query finds.
pub struct Answer {
    results: Results,
    salvage: bool,
    /// What could not be read, when salvaging.
    pub left_out: Vec<SegmentError>,
}

impl Answer {
    /// As [`Results::read`]; a query that salvages goes on behind damage.
    pub fn read(&mut self, rows: &mut Rows, max: usize) -> Result<usize, SegmentError> {
        loop {
            match self.results.read(rows, max) {
                Err(error) if self.salvage && !matches!(error, SegmentError::Io { .. }) => {
                    self.left_out.push(error);
                }
                read => return read,
            }
        }
    }
}

/// A journal's directory, to be asked; shared by threads.
pub struct Archive {
    files: Arc<Files>,
    state: Mutex<State>,
}

struct State {
    catalog: Catalog,
    /// Sealed and packed parts.
    stored: BTreeMap<u64, Arc<Held>>,
    /// Log segments that take no more.
    finished: BTreeMap<u64, (SegmentHeader, Arc<Hot>)>,
    /// Those that do.
    scans: BTreeMap<u64, Scan>,
    /// Records of names from log segments that the dictionary has not taken in yet.
    names: BTreeMap<u64, Vec<Name>>,
    dictionary: Dictionary,
    /// Names of parts before this position are known.
    named_to: u64,
    bad_names: Vec<Damage>,
}

/// What stands where the catalogue says that a part is.
enum Stands {
    Held(Arc<Held>),
    Log(Part, SegmentHeader, File),
}

impl Archive {
    /// The journal in a directory.
    pub fn open(path: &Path) -> Result<Archive, SegmentError> {
        let state = State {
            catalog: Catalog::of(path).map_err(|error| fault(path, error))?,
            stored: BTreeMap::new(),
            finished: BTreeMap::new(),
            scans: BTreeMap::new(),
            names: BTreeMap::new(),
            dictionary: Dictionary::default(),
            named_to: 0,
            bad_names: Vec::new(),
        };
        let files = Arc::new(Files::new(path.to_path_buf()));
        let archive = Archive { files, state: Mutex::new(state) };
        archive.view()?;
        Ok(archive)
    }

    pub fn path(&self) -> &Path {
        &self.files.path
    }

    /// What there is now.
    pub fn view(&self) -> Result<View, SegmentError> {
        self.look(&mut self.state())
    }

    /// Ask for what is written by now.
    ///
    /// # Errors
    /// Whatever is damaged or missing, and a sequence to begin with that is no longer there, unless it
    /// salvages.
    pub fn query(&self, query: &Query, salvage: bool) -> Result<Answer, SegmentError> {
        let view = self.view()?;
        let mut left_out = view.faults;
        for (lane, sequence) in PRIORITIES.into_iter().zip(query.from) {
            let first = view.parts.first().map_or(0, |part| part.span(lane).first_sequence);
            if (1..first).contains(&sequence) {
                left_out.push(SegmentError::Gone { lane, sequence, first });
            }
        }
        if !salvage && !left_out.is_empty() {
            return Err(left_out.swap_remove(0));
        }
        Ok(Answer { results: query.run(&view.parts)?, salvage, left_out })
    }

    /// The names that are known by now; what could not be read of them is among the faults of a view.
    pub fn names(&self) -> Result<Dictionary, SegmentError> {
        let mut state = self.state();
        self.look(&mut state)?;
        Ok(state.dictionary.clone())
    }

    /// How many symbols, sources and types these are.
    pub fn named(&self) -> Result<(usize, usize, usize), SegmentError> {
        let mut state = self.state();
        self.look(&mut state)?;
        let names = &state.dictionary;
        Ok((names.symbols().count(), names.sources().count(), names.types().len()))
    }

    /// The payload that the event at a sequence refers to; `None` when it was not kept. Where a
    /// reference was used twice within a sealed segment, since the bus began anew, it is the later one's.
    pub fn payload(
        &self,
        lane: Priority,
        sequence: u64,
        reference: u64,
    ) -> Result<Option<Vec<u8>>, SegmentError> {
        let parts = self.view()?.parts;
        let behind = parts.partition_point(|part| part.span(lane).first_sequence <= sequence);
        // Its record stands before it, so perhaps at the end of the part before.
        for part in parts[behind.saturating_sub(2)..behind].iter().rev() {
            if let Some(payload) = part.payload(lane, sequence, reference)? {
                return Ok(Some(payload));
            }
        }
        Ok(None)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self, state: &mut State) -> Result<View, SegmentError> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.try_look(state) {
                // What is listed may have got another form since.
                Err(SegmentError::Removed { .. }) if tries < TRIES => std::thread::sleep(PAUSE),
                view => return view,
            }
        }
    }

    fn try_look(&self, state: &mut State) -> Result<View, SegmentError> {
        let wrong = |error| fault(&self.files.path, error);
        state.catalog.refresh().map_err(wrong)?;
        let catalog = state.catalog.clone();
        let parts = catalog.parts();
        let form_of = |first: u64| {
            let at = parts.binary_search_by_key(&first, Part::first).ok()?;
            Some(parts[at].form)
        };
        self.files.keep_only(|first, form| form_of(first) == Some(form));
        state.stored.retain(|first, held| form_of(*first) == Some(held.form));
        state.finished.retain(|first, _| form_of(*first) == Some(PartForm::Log));
        state.scans.retain(|first, _| form_of(*first) == Some(PartForm::Log));
        let Some(id) = parts.last().map(|part| part.identity.journal) else {
            return Err(no_journal(&catalog));
        };
        let mut faults = Vec::new();
        let mut standing = Vec::new();
        for part in parts {
            match self.stands(state, part) {
                Ok(stands) => standing.push(stands),
                Err(error @ (SegmentError::Damaged(_) | SegmentError::Foreign { .. })) => {
                    faults.push(error);
                }
                Err(error) => return Err(error),
            }
        }
        let held = self.scan(state, standing)?;
        for hot in held.iter().filter_map(|held| held.hot.as_ref()) {
            faults.extend(hot.damage().into_iter().map(SegmentError::Damaged));
        }
        let hole = |hole: &Hole| SegmentError::Missing {
            path: catalog.directory().to_path_buf(),
            first: hole.first,
            end: hole.end,
            why: hole.why.clone(),
        };
        faults.extend(catalog.holes().iter().map(hole));
        follow(&held, &mut faults)?;
        self.learn(state, &held)?;
        faults.extend(state.bad_names.iter().cloned().map(SegmentError::Damaged));
        Ok(View { id, parts: held, faults })
    }

    fn stands(&self, state: &mut State, part: &Part) -> Result<Stands, SegmentError> {
        let first = part.first();
        if part.form != PartForm::Log {
            if let Some(held) = state.stored.get(&first) {
                return Ok(Stands::Held(Arc::clone(held)));
            }
            match self.files.open(first) {
                Ok(stored) => {
                    let held = Arc::new(Held::stored(&self.files, &stored, part.form));
                    state.stored.insert(first, Arc::clone(&held));
                    return Ok(Stands::Held(held));
                }
                Err(error) => {
                    // Damaged, but what it was made of may still be there.
                    return self.log(part).map_err(|_| error);
                }
            }
        }
        self.log(part)
    }

    fn log(&self, part: &Part) -> Result<Stands, SegmentError> {
        let path = self.files.path.join(PartForm::Log.file(part.first()));
        // Once more, since it may be renamed and overwritten between the two calls.
        for pause in [PAUSE, Duration::ZERO] {
            let file = open_to_read(&path).map_err(|error| match error.kind() {
                ErrorKind::NotFound => SegmentError::Removed { path: path.clone() },
                _ => SegmentError::io("open", &path)(error),
            })?;
            let state = read_header(&file, part.first(), None);
            if let HeaderState::Whole(head) = state.map_err(|error| fault(&path, error))? {
                return Ok(Stands::Log(*part, head, file));
            }
            std::thread::sleep(pause);
        }
        Err(SegmentError::damaged(&path, 0, "the header is wrong"))
    }

    /// Read what is new in the log.
    fn scan(
        &self,
        state: &mut State,
        standing: Vec<Stands>,
    ) -> Result<Vec<Arc<Held>>, SegmentError> {
        let mut parts = Vec::new();
        let mut standing = standing.into_iter();
        while let Some(stands) = standing.next() {
            let (part, head, file) = match stands {
                Stands::Held(held) => {
                    parts.push(held);
                    continue;
                }
                Stands::Log(part, head, file) => (part, head, file),
            };
            let known = state.finished.get(&head.first).filter(|(known, _)| *known == head);
            if let Some((_, hot)) = known {
                parts.push(Arc::new(Held::hot(&self.files, part.identity, hot)));
                continue;
            }
            let path = self.files.path.join(PartForm::Log.file(head.first));
            let later: Vec<(&SegmentHeader, &File)> = standing
                .as_slice()
                .iter()
                .filter_map(|stands| match stands {
                    Stands::Log(_, head, file) => Some((head, file)),
                    Stands::Held(_) => None,
                })
                .collect();
            let mut vouched = |position| {
                for (head, file) in &later {
                    let ahead = look_ahead(*file, head, head.first);
                    if ahead.map_err(|error| fault(&path, error))?.durable > position {
                        return Ok(true);
                    }
                }
                Ok(false)
            };
            let known = state.scans.remove(&head.first).filter(|scan| *scan.head() == head);
            let scan = match known {
                Some(mut scan) => {
                    let holes = scan.holes();
                    scan.go_on(&mut vouched)?;
                    // What was read before a failed sync may have been cut, and written anew.
                    if scan.holes() > holes { None } else { Some(scan) }
                }
                None => None,
            };
            if scan.is_none() {
                state.names.remove(&head.first);
            }
            let mut scan = scan.unwrap_or_else(|| Scan::new(path.clone(), file, head));
            scan.go_on(&mut vouched)?;
            state.names.entry(head.first).or_default().append(&mut scan.names);
            let hot = Arc::new(scan.hot());
            parts.push(Arc::new(Held::hot(&self.files, part.identity, &hot)));
            if scan.finished {
                state.finished.insert(head.first, (head, hot));
                continue;
            }
            state.scans.insert(head.first, scan);
            if !later.is_empty() {
                // What follows an end that nobody vouches for was never acknowledged: recovery cuts it.
                break;
            }
        }
        Ok(parts)
    }

    /// Take in the names of segments that are new.
    fn learn(&self, state: &mut State, parts: &[Arc<Held>]) -> Result<(), SegmentError> {
        let new = parts.partition_point(|part| part.end() <= state.named_to);
        let mut start = new;
        for (at, part) in parts.iter().enumerate().skip(new).rev() {
            // The head of a segment repeats all names before.
            if part.first() > state.named_to && self.has_all_names(state, part)? {
                start = at;
                break;
            }
        }
        let first = parts.get(start).map_or(0, |part| part.first());
        state.names.retain(|position, _| *position >= first);
        for part in &parts[start..] {
            let records = match &part.hot {
                Some(_) => state.names.remove(&part.first()).unwrap_or_default(),
                None => {
                    let (records, damage) = names_of(&*self.files.open(part.first())?)?;
                    state.bad_names.extend(damage);
                    records
                }
            };
            let mut bad = false;
            for (kind, bytes) in records.iter().filter(|(kind, _)| Dictionary::knows(*kind)) {
                bad |= state.dictionary.read(*kind, bytes).is_err();
            }
            if bad {
                let why = "a name contradicts one before, or one is missing";
                let path = part.path.clone();
                let damage = Damage { path, offset: 0, lane: None, sequences: None, why };
                state.bad_names.push(damage);
            }
            state.named_to = if part.hot.is_some() { part.first() } else { part.end() };
        }
        Ok(())
    }

    fn has_all_names(&self, state: &State, part: &Held) -> Result<bool, SegmentError> {
        let has_all = |records: &[Name]| {
            let count = records.first().filter(|(kind, _)| !Dictionary::knows(*kind));
            let count = count.and_then(|(_, bytes)| bytes.first_chunk().copied());
            count.is_some_and(|count| records.len() > u32::from_le_bytes(count) as usize)
        };
        match &part.hot {
            Some(_) => Ok(state.names.get(&part.first()).is_some_and(|records| has_all(records))),
            None => Ok(has_all(&names_of(&*self.files.open(part.first())?)?.0)),
        }
    }
}

fn no_journal(catalog: &Catalog) -> SegmentError {
    let path = catalog.directory().to_path_buf();
    match catalog.holes().first() {
        Some(Hole { first, end, why }) => {
            SegmentError::Missing { path, first: *first, end: *end, why: why.clone() }
        }
        None => SegmentError::Foreign { path, why: "no journal: there is no segment" },
    }
}

/// A record's kind and bytes.
type Name = (u32, Vec<u8>);

/// The records of names in a part, in their order, up to the first that is damaged.
fn names_of(stored: &Stored) -> Result<(Vec<Name>, Option<Damage>), SegmentError> {
    let mut records = stored.opened().records();
    let mut found = Vec::new();
    loop {
        match records.next() {
            Ok(Some(record)) if is_of_names(record.kind) => {
                found.push((record.kind, record.bytes.to_vec()));
            }
            Ok(Some(_)) => {}
            Ok(None) => return Ok((found, None)),
            Err(SegmentError::Damaged(damage)) => return Ok((found, Some(damage))),
            Err(error) => return Err(error),
        }
    }
}

/// Whether each part goes on with the sequences that the one before ends with.
fn follow(parts: &[Arc<Held>], faults: &mut Vec<SegmentError>) -> Result<(), SegmentError> {
    for pair in parts.windows(2) {
        for lane in PRIORITIES {
            let next = pair[0].span(lane).next_sequence;
            let first = pair[1].span(lane).first_sequence;
            if first < next {
                return Err(SegmentError::Order { lane, sequence: first });
            }
            if first > next {
                faults.push(SegmentError::Damaged(Damage {
                    path: pair[0].path.clone(),
                    offset: 0,
                    lane: Some(lane),
                    sequences: Some((next, first - 1)),
                    why: "sequences are missing behind this segment",
                }));
            }
        }
    }
    Ok(())
}

/// Whether a directory has files called as a journal's parts are, whatever is in them.
pub fn is_journal(path: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(path) else {
        return false;
    };
    let is_part = |name: &str| segment_first(name).is_some() || parse(name).is_some();
    entries.flatten().any(|entry| entry.file_name().to_str().is_some_and(is_part))
}
