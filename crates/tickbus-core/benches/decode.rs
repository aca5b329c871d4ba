//! Wire frames to events and book messages: `cargo bench -p tickbus-core --bench decode [FILTER]`.

#[path = "../tests/frames/mod.rs"]
mod frames;

use frames::SAMPLES;
use std::hint::black_box;
use std::time::Instant;
use tickbus_core::exchange::Decoder;

const ROUNDS: u32 = 200_000;

fn main() {
    // Cargo itself passes `--bench`.
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let filter = filter.unwrap_or_default();
    for sample in SAMPLES.iter().filter(|sample| sample.name.contains(&filter)) {
        let mut decoder = Decoder::of_market(sample.market);
        let mut runs_ns: Vec<u128> = (0..5)
            .map(|_| {
                let begin = Instant::now();
                for _ in 0..ROUNDS {
                    decoder.decode(black_box(sample.frame.as_bytes()), &mut |event| {
                        black_box(event);
                    });
                    black_box(decoder.levels());
                }
                begin.elapsed().as_nanos() / u128::from(ROUNDS)
            })
            .collect();
        runs_ns.sort_unstable();
        let bytes = sample.frame.len();
        println!("{:24} {:4} ns ({bytes} bytes), of five: {runs_ns:?}", sample.name, runs_ns[2]);
    }
}
