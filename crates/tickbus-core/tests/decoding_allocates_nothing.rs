//! A warm decoder works on the frame alone: no allocation for a trade, a top of book or a book message.

mod frames;

use frames::SAMPLES;
use tickbus_core::exchange::{Decoder, Outcome};

#[test]
fn a_warm_decoder_allocates_nothing() {
    for sample in &SAMPLES {
        let mut decoder = Decoder::of_market(sample.market);
        let mut sum = 0.0;
        let frame = sample.frame.as_bytes();
        let first = decoder.decode(frame, &mut |event| sum += event.value);
        assert!(matches!(first, Outcome::Events(1) | Outcome::Books(1)), "{}", sample.name);

        let allocations = allocation_counter::measure(|| {
            for _ in 0..100 {
                decoder.decode(frame, &mut |event| sum += event.value);
            }
        });

        assert_eq!(allocations.count_total, 0, "{}", sample.name);
    }
}
