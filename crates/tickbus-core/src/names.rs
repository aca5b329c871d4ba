//! The names of a bus: symbols, sources and event types, each a number everywhere but at the edge.
//!
//! A table in the bus's memory holds each name once; its place is its number, 0 is "none". Entries
//! are only ever added, under the admin lock, and counted after they are written: a process killed
//! while adding leaves nothing behind, and two that add the same name at once get the same number.
//! Every process keeps a copy that it extends when it meets a number or a name it does not know, so
//! a look-up costs no shared memory traffic.

use crate::lane::layout::{COUNTS, Layout, MAX_NAME, NAME_CELLS, SOURCES, SYMBOLS, TYPE_CELLS};
use crate::lane::memory::{Cells, Memory};
use crate::sync::{AtomicU64, Ordering};
use crate::sys::{AdminLock, LockTimeout};
use crate::taxonomy::{ALL_ENCODINGS, Encoding, TABLE};
use crate::text;
use crate::topic::{self, NameError};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Why a name was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamingError {
    Invalid(NameError),
    /// The table is full.
    Capacity {
        table: &'static str,
        limit: usize,
        name: String,
    },
    /// The number or the name of a type stands for something else already.
    TypeTaken {
        number: u8,
        name: String,
        holder: String,
    },
    Lock(LockTimeout),
}

impl From<LockTimeout> for NamingError {
    fn from(timeout: LockTimeout) -> Self {
        NamingError::Lock(timeout)
    }
}

/// An event type as the bus knows it, built in or registered by a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeRow {
    pub number: u8,
    pub name: String,
    pub value: String,
    pub metadata: String,
    pub encoding: Encoding,
}

#[derive(Default)]
struct Known {
    names: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
}

/// One table of names.
struct Table {
    what: &'static str,
    cells: Cells,
    header: Cells,
    count_at: usize,
    known: RwLock<Known>,
}

impl Table {
    fn limit(&self) -> usize {
        self.cells.len() / NAME_CELLS - 1
    }

    fn count(&self) -> &AtomicU64 {
        &self.header[self.count_at]
    }

    /// Take over what others have added.
    fn catch_up(&self, known: &mut Known) {
        let count = (self.count().load(Ordering::Acquire) as usize).min(self.limit());
        for number in known.names.len() + 1..=count {
            let at = number * NAME_CELLS;
            let name: Arc<str> = text::read(&self.cells[at..at + NAME_CELLS]).into();
            known.names.push(Arc::clone(&name));
            known.numbers.insert(name, number as u32);
        }
    }

    fn number(&self, name: &str) -> Option<u32> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.numbers.get(name).copied()
    }

    fn name(&self, number: u32) -> Option<Arc<str>> {
        let at = (number as usize).checked_sub(1)?;
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = known.names.get(at) {
            return Some(Arc::clone(name));
        }
        drop(known);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        self.catch_up(&mut known);
        known.names.get(at).map(Arc::clone)
    }

    fn intern(&self, name: &str, lock: &AdminLock) -> Result<u32, NamingError> {
        if let Some(number) = self.number(name) {
            return Ok(number);
        }
        topic::valid_name(name, MAX_NAME).map_err(NamingError::Invalid)?;
        let _guard = lock.lock()?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        self.catch_up(&mut known);
        if let Some(&number) = known.numbers.get(name) {
            return Ok(number);
        }
        let number = known.names.len() + 1;
        if number > self.limit() {
            let (table, limit, name) = (self.what, self.limit(), name.to_owned());
            return Err(NamingError::Capacity { table, limit, name });
        }
        let at = number * NAME_CELLS;
        text::write(&self.cells[at..at + NAME_CELLS], name);
        self.count().store(number as u64, Ordering::Release);
        self.catch_up(&mut known);
        Ok(number as u32)
    }
}

/// All names of one bus.
pub struct BusNames {
    symbols: Table,
    sources: Table,
    types: Cells,
    lock: Arc<AdminLock>,
}

// A registered type in its cells: encoding + 1 (0: free), then three texts of five cells each.
const TYPE_TEXT_CELLS: usize = 5;
/// Longest name of a registered type or of one of its fields, in bytes.
pub const MAX_TYPE_NAME: usize = text::capacity(TYPE_TEXT_CELLS);

impl BusNames {
    pub fn new(memory: &Arc<Memory>, layout: &Layout, lock: Arc<AdminLock>) -> BusNames {
        let cells = |region: crate::lane::layout::Region| memory.cells(region.at, region.len);
        let table = |what, cells: Cells, count_at| Table {
            what,
            cells,
            header: memory.cells(layout.header.at, layout.header.len),
            count_at,
            known: RwLock::default(),
        };
        let symbols = memory.cells(layout.symbols.at, SYMBOLS * NAME_CELLS);
        let sources = memory.cells(layout.sources.at, SOURCES * NAME_CELLS);
        BusNames {
            symbols: table("symbols", symbols, COUNTS),
            sources: table("sources", sources, COUNTS + 1),
            types: cells(layout.types),
            lock,
        }
    }

    /// The number of a symbol, given one if it is new.
    pub fn symbol(&self, name: &str) -> Result<u32, NamingError> {
        self.symbols.intern(name, &self.lock)
    }

    /// The number of a source, given one if it is new.
    pub fn source(&self, name: &str) -> Result<u16, NamingError> {
        // The table is smaller than u16 can count.
        Ok(self.sources.intern(name, &self.lock)? as u16)
    }

    pub fn symbol_text(&self, number: u32) -> Option<Arc<str>> {
        self.symbols.name(number)
    }

    pub fn source_text(&self, number: u16) -> Option<Arc<str>> {
        self.sources.name(u32::from(number))
    }

    /// How many symbols and sources have numbers.
    pub fn counts(&self) -> (u64, u64) {
        let count = |table: &Table| table.count().load(Ordering::Acquire);
        (count(&self.symbols), count(&self.sources))
    }

    fn type_cells(&self, number: u8) -> &[AtomicU64] {
        let at = usize::from(number) * TYPE_CELLS;
        &self.types[at..at + TYPE_CELLS]
    }

    /// The row of a registered type.
    pub fn type_row(&self, number: u8) -> Option<TypeRow> {
        if let Some(info) = crate::taxonomy::builtin(number) {
            return Some(TypeRow {
                number,
                name: info.name.to_owned(),
                value: info.value.to_owned(),
                metadata: info.metadata.to_owned(),
                encoding: info.encoding,
            });
        }
        let cells = self.type_cells(number);
        let code = cells[0].load(Ordering::Acquire) as usize;
        let encoding = *ALL_ENCODINGS.get(code.checked_sub(1)?)?;
        let part = |i: usize| text::read(&cells[1 + i * TYPE_TEXT_CELLS..][..TYPE_TEXT_CELLS]);
        Some(TypeRow { number, name: part(0), value: part(1), metadata: part(2), encoding })
    }

    /// Every registered type, by number.
    pub fn type_rows(&self) -> Vec<TypeRow> {
        (0..=255).filter_map(|number| self.type_row(number)).collect()
    }

    /// Bit set of the registered types.
    pub fn type_mask(&self) -> [u64; 4] {
        let mut mask = [0; 4];
        for info in &TABLE {
            mask[usize::from(info.number >> 6)] |= 1 << (info.number & 63);
        }
        for number in 0..=255u8 {
            if self.type_cells(number)[0].load(Ordering::Acquire) != 0 {
                mask[usize::from(number >> 6)] |= 1 << (number & 63);
            }
        }
        mask
    }

    /// Give a free number a meaning. Registering the same row again is fine.
    pub fn register_type(&self, row: &TypeRow) -> Result<(), NamingError> {
        topic::valid_name(&row.name, MAX_TYPE_NAME).map_err(NamingError::Invalid)?;
        topic::valid_name(&row.value, MAX_TYPE_NAME).map_err(NamingError::Invalid)?;
        if !row.metadata.is_empty() {
            topic::valid_name(&row.metadata, MAX_TYPE_NAME).map_err(NamingError::Invalid)?;
        }
        let _guard = self.lock.lock()?;
        let clash = |holder: &TypeRow| NamingError::TypeTaken {
            number: row.number,
            name: row.name.clone(),
            holder: format!("{} = {}", holder.name, holder.number),
        };
        for holder in self.type_rows() {
            if holder == *row {
                return Ok(());
            }
            if holder.number == row.number || holder.name == row.name {
                return Err(clash(&holder));
            }
        }
        let cells = self.type_cells(row.number);
        for (i, part) in [&row.name, &row.value, &row.metadata].into_iter().enumerate() {
            text::write(&cells[1 + i * TYPE_TEXT_CELLS..][..TYPE_TEXT_CELLS], part);
        }
        let code = ALL_ENCODINGS.iter().position(|e| *e == row.encoding).expect("listed") + 1;
        cells[0].store(code as u64, Ordering::Release);
        Ok(())
    }
}

impl topic::Names for BusNames {
    fn type_number(&self, name: &str) -> Option<u8> {
        self.type_rows().into_iter().find(|row| row.name == name).map(|row| row.number)
    }

    fn type_name(&self, number: u8) -> Option<String> {
        self.type_row(number).map(|row| row.name)
    }

    fn registered_types(&self) -> [u64; 4] {
        self.type_mask()
    }

    fn intern_source(&self, name: &str) -> Result<u16, String> {
        self.source(name).map_err(|error| format!("{error:?}"))
    }

    fn intern_symbol(&self, name: &str) -> Result<u32, String> {
        self.symbol(name).map_err(|error| format!("{error:?}"))
    }

    fn symbol_name(&self, id: u32) -> Option<String> {
        self.symbol_text(id).map(|name| name.to_string())
    }

    fn source_name(&self, id: u16) -> Option<String> {
        self.source_text(id).map(|name| name.to_string())
    }
}
