//! Columns alone, on recorded data: `TICKBUS_DATA=... cargo bench -p tickbus-core --bench pack`.

#[path = "../tests/segments/recorded.rs"]
mod recorded;

use rustix::time::{ClockId, clock_gettime};
use tickbus_core::Event;
use tickbus_core::journal::columns::{Columns, FRAME_EVENTS};

const ROUNDS: usize = 15;

/// Best of some rounds, in millions of events a second of this thread's time: what else runs on the
/// machine slows it down less.
fn rate(events: usize, mut run: impl FnMut()) -> f64 {
    let thread_s = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    };
    let seconds = (0..ROUNDS).map(|_| {
        let begin = thread_s();
        run();
        thread_s() - begin
    });
    events as f64 / seconds.fold(f64::MAX, f64::min) / 1e6
}

fn main() {
    let Some(folder) = recorded::folder() else {
        println!("no recorded data; set TICKBUS_DATA");
        return;
    };
    for (name, events) in recorded::all(&folder) {
        let rows: Vec<u8> = events.iter().flat_map(Event::to_bytes).collect();
        let (mut columns, mut frames) = (Columns::default(), Vec::new());
        let encode = rate(events.len(), || {
            frames.clear();
            for rows in rows.chunks(FRAME_EVENTS * 32) {
                let mut frame = Vec::new();
                columns.encode(rows, &mut frame).expect("memory");
                frames.push((rows.len() / 32, frame));
            }
        });
        let mut back = Vec::new();
        let decode = rate(events.len(), || {
            for (count, frame) in &frames {
                columns.decode(frame, *count, &mut back).expect("a whole frame");
            }
        });
        let bytes: usize = frames.iter().map(|(_, frame)| frame.len()).sum();
        println!(
            "{name:24} {:7} events {:5.2} bytes an event, pack {encode:5.1} M/s, unpack {decode:5.1} M/s",
            events.len(),
            bytes as f64 / events.len() as f64,
        );
    }
}
