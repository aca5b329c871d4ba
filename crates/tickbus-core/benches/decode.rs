//! Wire frames to events: `cargo bench -p tickbus-core --bench decode`.

use std::hint::black_box;
use std::time::Instant;
use tickbus_core::exchange::{Decoder, Market};

const ROUNDS: u32 = 500_000;

const FRAMES: [(&str, Market, &str); 6] = [
    (
        "binance trade",
        Market::BinanceSpot,
        r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}}"#,
    ),
    (
        "binance bookTicker",
        Market::BinanceSpot,
        r#"{"stream":"btcusdt@bookTicker","data":{"u":50093239212,"s":"BTCUSDT","b":"61837.63000000","B":"3.78826000","a":"61837.64000000","A":"1.54698000"}}"#,
    ),
    (
        "coinbase market_trades",
        Market::Coinbase,
        r#"{"channel":"market_trades","timestamp":"2026-08-09T21:05:48.251397169Z","sequence_num":9,"events":[{"type":"update","trades":[{"product_id":"BTC-USD","trade_id":"1068572091","price":"65083.67","size":"0.01034361","time":"2026-08-09T21:05:48.167634Z","side":"SELL"}]}]}"#,
    ),
    (
        "kraken v1 trade",
        Market::Kraken,
        r#"[321,[["58721.20000","0.02798644","1617666461.465618","s","m",""]],"trade","XBT/USD"]"#,
    ),
    (
        "kraken v2 ticker",
        Market::Kraken,
        r#"{"channel":"ticker","type":"update","data":[{"symbol":"ALGO/USD","bid":0.10025,"bid_qty":740.0,"ask":0.10036,"ask_qty":1361.44813783,"last":0.10035,"volume":997038.98383185}]}"#,
    ),
    (
        "binance depth, ignored",
        Market::BinanceSpot,
        r#"{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1723161255308,"s":"BTCUSDT","U":50093239203,"u":50093239207,"b":[["55653.87000000","0.00000000"]],"a":[["61838.04000000","0.32332000"],["61844.30000000","0.40163000"],["61862.50000000","0.05019000"],["61862.51000000","0.00000000"]]}}"#,
    ),
];

fn main() {
    for (name, market, frame) in FRAMES {
        let mut decoder = Decoder::of_market(market);
        let mut runs_ns: Vec<u128> = (0..5)
            .map(|_| {
                let begin = Instant::now();
                for _ in 0..ROUNDS {
                    decoder.decode(black_box(frame.as_bytes()), &mut |event| {
                        black_box(event);
                    });
                }
                begin.elapsed().as_nanos() / u128::from(ROUNDS)
            })
            .collect();
        runs_ns.sort_unstable();
        println!("{name:24} {:4} ns ({} bytes), of five: {runs_ns:?}", runs_ns[2], frame.len());
    }
}
