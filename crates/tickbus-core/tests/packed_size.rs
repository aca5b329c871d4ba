//! Recorded market data packs to the sizes the documentation states, and comes back to the bit.

#![cfg(not(loom))]

#[path = "segments/recorded.rs"]
mod recorded;

use tickbus_core::Event;
use tickbus_core::journal::columns::{Columns, FRAME_EVENTS};

/// Bytes an event, by what was recorded.
const LIMITS: [(&str, f64); 6] = [
    ("ES trades", 0.9),
    ("ES orders", 2.9),
    ("SPY trades", 1.5),
    ("XAUUSD quotes", 4.1),
    ("Binance spot BTCUSDT", 4.9),
    ("Binance futures BTCUSDT", 4.3),
];

#[test]
fn recorded_data_packs_to_a_few_bytes_an_event() {
    let Some(folder) = recorded::folder() else {
        eprintln!("skipped: no recorded data; set TICKBUS_DATA");
        return;
    };
    let (mut columns, mut back) = (Columns::default(), Vec::new());
    for ((name, events), (limited, limit)) in recorded::all(&folder).into_iter().zip(LIMITS) {
        assert_eq!(name, limited);
        let rows: Vec<u8> = events.iter().flat_map(Event::to_bytes).collect();
        let mut packed_len = 0;
        for rows in rows.chunks(FRAME_EVENTS * 32) {
            let mut frame = Vec::new();
            columns.encode(rows, &mut frame).unwrap();
            packed_len += frame.len();
            columns.decode(&frame, rows.len() / 32, &mut back).expect("a whole frame");
            assert!(back == rows, "{name} does not come back");
        }
        let bytes = packed_len as f64 / events.len() as f64;
        eprintln!("{name}: {} events, {bytes:.2} bytes each", events.len());
        assert!(bytes <= limit, "{name}: {bytes:.2} bytes an event");
    }
}
