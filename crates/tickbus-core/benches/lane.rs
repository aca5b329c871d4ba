//! The lanes alone: `cargo bench -p tickbus-core`.

fn main() {
    for _ in 0..5 {
        println!("{:#.2?}", tickbus_core::measure::lane(1 << 24).expect("a private bus"));
    }
}
