//! Names for Python: a number per table, so that an event need not hold a reference.
//!
//! Table 0 is the process's own, shared by its private buses; every named bus adds one. A table
//! keeps its texts when its bus is closed, so that events that outlive it still say what they are.

use crate::gil::GilCell;
use pyo3::prelude::*;
use pyo3::types::PyString;
use std::sync::Arc;
use tickbus_core::names::{BusNames, TypeRow};

/// Texts of one bus's numbers, as Python strings made once.
pub struct Table {
    live: Option<Arc<BusNames>>,
    symbols: Vec<Py<PyString>>,
    sources: Vec<Py<PyString>>,
    types: Vec<TypeRow>,
}

static TABLES: GilCell<Vec<Table>> = GilCell::new(Vec::new());

/// Number of the table of `names`, added when it is new.
pub fn add(py: Python<'_>, names: &Arc<BusNames>) -> u32 {
    TABLES.with(py, |tables| {
        let same = |table: &Table| table.live.as_ref().is_some_and(|live| Arc::ptr_eq(live, names));
        if let Some(at) = tables.iter().position(same) {
            return at as u32;
        }
        tables.push(Table {
            live: Some(Arc::clone(names)),
            symbols: Vec::new(),
            sources: Vec::new(),
            types: Vec::new(),
        });
        (tables.len() - 1) as u32
    })
}

/// Keep the texts but let go of the bus.
pub fn retire(py: Python<'_>, table: u32) {
    TABLES.with(py, |tables| {
        let table = &mut tables[table as usize];
        if let Some(names) = table.live.take() {
            let (symbols, sources) = names.counts();
            table.types = names.type_rows();
            text_of(py, &mut table.symbols, symbols as u32, |n| names.symbol_text(n));
            text_of(py, &mut table.sources, sources as u32, |n| names.source_text(n as u16));
        }
    });
}

/// Text number `number`, after making all up to it.
fn text_of(
    py: Python<'_>,
    texts: &mut Vec<Py<PyString>>,
    number: u32,
    text: impl Fn(u32) -> Option<Arc<str>>,
) -> Option<Py<PyString>> {
    let at = (number as usize).checked_sub(1)?;
    while texts.len() <= at {
        let next = text(texts.len() as u32 + 1)?;
        texts.push(PyString::new(py, &next).unbind());
    }
    Some(texts[at].clone_ref(py))
}

/// The symbol's text; `None` for number 0 or one the table does not have.
pub fn symbol(py: Python<'_>, table: u32, number: u32) -> Option<Py<PyString>> {
    TABLES.with(py, |tables| {
        let table = tables.get_mut(table as usize)?;
        let live = table.live.clone();
        text_of(py, &mut table.symbols, number, |n| live.as_ref()?.symbol_text(n))
    })
}

/// The source's text, likewise.
pub fn source(py: Python<'_>, table: u32, number: u16) -> Option<Py<PyString>> {
    TABLES.with(py, |tables| {
        let table = tables.get_mut(table as usize)?;
        let live = table.live.clone();
        text_of(py, &mut table.sources, number.into(), |n| live.as_ref()?.source_text(n as u16))
    })
}

/// What a type's fields mean.
pub fn type_row(py: Python<'_>, table: u32, number: u8) -> Option<TypeRow> {
    TABLES.with(py, |tables| {
        let table = tables.get(table as usize)?;
        match &table.live {
            Some(names) => names.type_row(number),
            None => table.types.iter().find(|row| row.number == number).cloned(),
        }
    })
}
