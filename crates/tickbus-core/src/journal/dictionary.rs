//! What the numbers in a journal stand for.
//!
//! A bus gives symbols and sources numbers as they come, so they differ from run to run. A journal
//! has its own, which never change: its dictionary. Whoever writes translates from the bus's numbers
//! to the journal's, whoever reads back from the journal's to its own bus's. Both are a look into a
//! table; the same number on both sides, the usual case, costs the same.

use crate::event::Event;
use crate::names::{BusNames, NamingError, TypeRow};
use crate::taxonomy::{self, Encoding};
use std::collections::HashMap;
use std::sync::Arc;

/// Kinds of records that name things.
pub const SYMBOL: u32 = 1;
pub const SOURCE: u32 = 2;
pub const TYPE: u32 = 3;

/// One table: texts by number, from 1, and back.
#[derive(Default, Clone)]
struct Texts {
    texts: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
}

impl Texts {
    fn text(&self, number: u32) -> Option<&Arc<str>> {
        self.texts.get((number as usize).checked_sub(1)?)
    }

    fn set(&mut self, number: u32, text: &str) -> bool {
        match self.text(number) {
            Some(known) => **known == *text,
            // Numbers are given one after the other, so a hole is damage.
            None if number as usize != self.texts.len() + 1 => false,
            None => {
                let text: Arc<str> = text.into();
                self.texts.push(Arc::clone(&text));
                self.numbers.insert(text, number);
                true
            }
        }
    }

    /// The number of a text, and whether it is new.
    fn number(&mut self, text: &Arc<str>) -> (u32, bool) {
        if let Some(&number) = self.numbers.get(text) {
            return (number, false);
        }
        let number = self.texts.len() as u32 + 1;
        self.texts.push(Arc::clone(text));
        self.numbers.insert(Arc::clone(text), number);
        (number, true)
    }
}

/// The names of a journal.
#[derive(Default, Clone)]
pub struct Dictionary {
    symbols: Texts,
    sources: Texts,
    types: Vec<TypeRow>,
}

/// A record that names something and cannot be read, or names it differently than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadRecord;

impl Dictionary {
    /// Whether records of this kind are names.
    pub fn knows(kind: u32) -> bool {
        matches!(kind, SYMBOL | SOURCE | TYPE)
    }

    /// Take in a record; the same one again is fine.
    pub fn read(&mut self, kind: u32, bytes: &[u8]) -> Result<(), BadRecord> {
        let good = match kind {
            SYMBOL => match bytes.split_first_chunk() {
                Some((number, text)) => str::from_utf8(text)
                    .is_ok_and(|text| self.symbols.set(u32::from_le_bytes(*number), text)),
                None => false,
            },
            SOURCE => match bytes.split_first_chunk() {
                Some((number, text)) => str::from_utf8(text)
                    .is_ok_and(|text| self.sources.set(u16::from_le_bytes(*number).into(), text)),
                None => false,
            },
            TYPE => decode_type(bytes).is_some_and(|row| self.set_type(row)),
            _ => true,
        };
        if good { Ok(()) } else { Err(BadRecord) }
    }

    fn set_type(&mut self, row: TypeRow) -> bool {
        match self.types.iter().find(|known| known.number == row.number) {
            Some(known) => *known == row,
            None => {
                self.types.push(row);
                true
            }
        }
    }

    /// Whether the names of an event are known.
    pub fn has(&self, event: &Event) -> bool {
        (event.symbol == 0 || self.symbols.text(event.symbol).is_some())
            && (event.source == 0 || self.sources.text(event.source.into()).is_some())
    }

    /// Every name as a record, for the head of a segment: each can then be read alone.
    pub fn records(&self) -> impl Iterator<Item = (u32, Vec<u8>)> + '_ {
        let symbols = (1u32..).zip(&self.symbols.texts);
        let sources = (1u32..).zip(&self.sources.texts);
        symbols
            .map(|(number, text)| (SYMBOL, symbol_record(number, text)))
            .chain(sources.map(|(number, text)| (SOURCE, source_record(number as u16, text))))
            .chain(self.types.iter().map(|row| (TYPE, encode_type(row))))
    }

    /// Numbers and texts of the symbols.
    pub fn symbols(&self) -> impl ExactSizeIterator<Item = (u32, &str)> {
        let texts = self.symbols.texts.iter().enumerate();
        texts.map(|(place, text)| (place as u32 + 1, &**text))
    }

    /// Numbers and texts of the sources.
    pub fn sources(&self) -> impl ExactSizeIterator<Item = (u32, &str)> {
        let texts = self.sources.texts.iter().enumerate();
        texts.map(|(place, text)| (place as u32 + 1, &**text))
    }

    /// The event types that were registered.
    pub fn types(&self) -> &[TypeRow] {
        &self.types
    }

    /// Give a bus the names and types of this journal, in their order: on a new bus they get the
    /// same numbers.
    pub fn teach(&self, names: &BusNames) -> Result<(), NamingError> {
        for row in &self.types {
            names.register_type(row)?;
        }
        for text in &self.symbols.texts {
            names.symbol(text)?;
        }
        for text in &self.sources.texts {
            names.source(text)?;
        }
        Ok(())
    }
}

fn symbol_record(number: u32, text: &str) -> Vec<u8> {
    [&number.to_le_bytes(), text.as_bytes()].concat()
}

fn source_record(number: u16, text: &str) -> Vec<u8> {
    [&number.to_le_bytes(), text.as_bytes()].concat()
}

/// Number, then encoding, name, value and metadata as texts after their length.
fn encode_type(row: &TypeRow) -> Vec<u8> {
    let mut bytes = vec![row.number];
    for text in [row.encoding.name(), &row.name, &row.value, &row.metadata] {
        bytes.push(text.len() as u8);
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

/// The row of a registered type that a record describes.
pub fn decode_type(bytes: &[u8]) -> Option<TypeRow> {
    let (&number, mut rest) = bytes.split_first()?;
    let mut text = || {
        let (&len, tail) = rest.split_first()?;
        let (text, tail) = tail.split_at_checked(usize::from(len))?;
        rest = tail;
        str::from_utf8(text).ok().map(str::to_owned)
    };
    let (encoding, name, value, metadata) = (text()?, text()?, text()?, text()?);
    let encoding = Encoding::from_name(&encoding)?;
    rest.is_empty().then_some(TypeRow { number, name, value, metadata, encoding })
}

/// Translates numbers by a table that is filled as they come.
#[derive(Default)]
struct Table(Vec<u32>);

impl Table {
    #[inline(always)]
    fn get(&self, number: u32) -> Option<u32> {
        match self.0.get(number as usize) {
            Some(&to @ 1..) => Some(to),
            _ => None,
        }
    }

    fn set(&mut self, number: u32, to: u32) {
        let at = number as usize;
        if self.0.len() <= at {
            self.0.resize(at + 1, 0);
        }
        self.0[at] = to;
    }
}

/// From a bus's numbers to a journal's.
#[derive(Default)]
pub struct ToJournal {
    dictionary: Dictionary,
    symbols: Table,
    sources: Table,
    types: [u64; 4],
}

impl ToJournal {
    /// With what the journal knows already.
    pub fn new(dictionary: Dictionary) -> ToJournal {
        ToJournal { dictionary, ..ToJournal::default() }
    }

    pub fn dictionary(&self) -> &Dictionary {
        &self.dictionary
    }

    /// Give an event the journal's numbers; `name` is called with each new one's record first.
    #[inline]
    pub fn translate(
        &mut self,
        event: &mut Event,
        names: &BusNames,
        mut name: impl FnMut(u32, &[u8]),
    ) {
        if event.symbol != 0 {
            event.symbol = match self.symbols.get(event.symbol) {
                Some(number) => number,
                None => self.new_symbol(event.symbol, names, &mut name),
            };
        }
        if event.source != 0 {
            event.source = match self.sources.get(event.source.into()) {
                Some(number) => number as u16,
                None => self.new_source(event.source, names, &mut name),
            };
        }
        let (word, bit) = (usize::from(event.event_type >> 6), 1 << (event.event_type & 63));
        if self.types[word] & bit == 0 {
            self.types[word] |= bit;
            self.new_type(event.event_type, names, &mut name);
        }
    }

    #[cold]
    fn new_symbol(
        &mut self,
        number: u32,
        names: &BusNames,
        name: &mut impl FnMut(u32, &[u8]),
    ) -> u32 {
        let Some(text) = names.symbol_text(number) else {
            return 0;
        };
        let (to, is_new) = self.dictionary.symbols.number(&text);
        if is_new {
            name(SYMBOL, &symbol_record(to, &text));
        }
        self.symbols.set(number, to);
        to
    }

    #[cold]
    fn new_source(
        &mut self,
        number: u16,
        names: &BusNames,
        name: &mut impl FnMut(u32, &[u8]),
    ) -> u16 {
        let Some(text) = names.source_text(number) else {
            return 0;
        };
        let (to, is_new) = self.dictionary.sources.number(&text);
        if is_new {
            name(SOURCE, &source_record(to as u16, &text));
        }
        self.sources.set(number.into(), to);
        to as u16
    }

    #[cold]
    fn new_type(&mut self, number: u8, names: &BusNames, name: &mut impl FnMut(u32, &[u8])) {
        if taxonomy::builtin(number).is_some() {
            return;
        }
        if let Some(row) = names.type_row(number)
            && !self.dictionary.types.contains(&row)
        {
            name(TYPE, &encode_type(&row));
            self.dictionary.set_type(row);
        }
    }
}

/// From a journal's numbers to a bus's.
#[derive(Default)]
pub struct FromJournal {
    symbols: Table,
    sources: Table,
}

impl FromJournal {
    /// Give events a bus's numbers, naming there what is new to it.
    pub fn translate(
        &mut self,
        events: &mut [Event],
        dictionary: &Dictionary,
        names: &BusNames,
    ) -> Result<(), NamingError> {
        for event in events {
            if event.symbol != 0 {
                event.symbol = match self.symbols.get(event.symbol) {
                    Some(number) => number,
                    None => {
                        let text = dictionary.symbols.text(event.symbol);
                        let to = text.map_or(Ok(0), |text| names.symbol(text))?;
                        self.symbols.set(event.symbol, to);
                        to
                    }
                };
            }
            if event.source != 0 {
                event.source = match self.sources.get(event.source.into()) {
                    Some(number) => number as u16,
                    None => {
                        let text = dictionary.sources.text(event.source.into());
                        let to = text.map_or(Ok(0), |text| names.source(text))?;
                        self.sources.set(event.source.into(), to.into());
                        to
                    }
                };
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::Bus;
    use crate::lane::layout::Sizes;
    use proptest::prelude::*;

    fn names() -> Arc<BusNames> {
        let sizes = Sizes { lanes: [64; 3], payload_cells: 64 };
        let name = format!("dictionary-{}-{:?}", std::process::id(), std::thread::current().id());
        let name: String =
            name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        Arc::clone(Bus::named(&name, sizes, &[None; 4]).unwrap().names())
    }

    fn event(symbol: u32, source: u16) -> Event {
        Event { symbol, source, event_type: 0, ..Event::default() }
    }

    #[test]
    fn another_bus_reads_the_same_names_whatever_their_numbers() {
        let (writer, reader) = (names(), {
            let other = Bus::private(Sizes { lanes: [64; 3], payload_cells: 64 }).unwrap();
            Arc::clone(other.names())
        });
        let texts = ["BTC-USDT", "ETH-USDT", "SOL-USDT"];
        let written = texts.map(|text| writer.symbol(text).unwrap());
        let venue = writer.source("binance").unwrap();
        reader.symbol("SOL-USDT").unwrap();
        let mut to = ToJournal::default();
        let mut records = Vec::new();
        let mut events: Vec<Event> = [2, 0, 2, 1].map(|i| event(written[i], venue)).to_vec();
        for event in &mut events {
            to.translate(event, &writer, |kind, bytes| records.push((kind, bytes.to_vec())));
        }
        // Each name once, in the order of its first event.
        assert_eq!(records.len(), 4);
        let mut dictionary = Dictionary::default();
        for (kind, bytes) in &records {
            dictionary.read(*kind, bytes).unwrap();
            dictionary.read(*kind, bytes).expect("the head of a segment repeats it");
        }
        FromJournal::default().translate(&mut events, &dictionary, &reader).unwrap();
        let read = |event: &Event| reader.symbol_text(event.symbol).unwrap().to_string();
        assert_eq!(events.iter().map(read).collect::<Vec<_>>(), [2, 0, 2, 1].map(|i| texts[i]));
        assert_eq!(&*reader.source_text(events[0].source).unwrap(), "binance");
        assert_eq!(dictionary.records().collect::<Vec<_>>().len(), 4);
    }

    #[test]
    fn types_of_ones_own_keep_their_meaning() {
        let row = TypeRow {
            number: 200,
            name: "kill_switch".to_owned(),
            value: "level".to_owned(),
            metadata: String::new(),
            encoding: Encoding::Unused,
        };
        let mut dictionary = Dictionary::default();
        dictionary.read(TYPE, &encode_type(&row)).unwrap();
        let other = TypeRow { name: "other".to_owned(), ..row.clone() };
        assert_eq!(dictionary.read(TYPE, &encode_type(&other)), Err(BadRecord));
        let names = names();
        dictionary.teach(&names).unwrap();
        assert_eq!(names.type_row(200), Some(row));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(kind in 0u32..6, bytes: Vec<u8>) {
            let mut dictionary = Dictionary::default();
            let _ = dictionary.read(kind, &bytes);
            // What it took in, it can write and take in again.
            let mut again = Dictionary::default();
            for (kind, bytes) in dictionary.records() {
                prop_assert_eq!(again.read(kind, &bytes), Ok(()));
            }
        }
    }
}
