//! A warm decoder works on the frame alone: no allocation for a trade or a top of book.

use tickbus_core::exchange::{Decoder, Market, Outcome};

const FRAMES: [(Market, &str); 6] = [
    (
        Market::BinanceSpot,
        r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1,"s":"BTCUSDT","t":3,"p":"61837.63000000","q":"0.02000000","T":1,"m":true,"M":true}}"#,
    ),
    (
        Market::BinanceSpot,
        r#"{"stream":"btcusdt@bookTicker","data":{"u":5,"s":"BTCUSDT","b":"61837.63000000","B":"3.78826000","a":"61837.74000000","A":"1.54698000"}}"#,
    ),
    (
        Market::Coinbase,
        r#"{"channel":"market_trades","timestamp":"2026-08-09T21:05:48.2Z","sequence_num":9,"events":[{"type":"update","trades":[{"product_id":"BTC-USD","trade_id":"1","price":"65083.67","size":"0.01034361","time":"2026-08-09T21:05:48.1Z","side":"SELL"}]}]}"#,
    ),
    (
        Market::Kraken,
        r#"[321,[["58721.20000","0.02798644","1617666461.465618","s","m",""],["58721.30000","0.12749400","1617666461.466773","b","l",""]],"trade","XBT/USD"]"#,
    ),
    (
        Market::Kraken,
        r#"[2500,{"a":["0.000023630",7289,"7289.86759215"],"b":["0.000023610",1173,"1173.00000000"]},"ticker","ALGO/XBT"]"#,
    ),
    (
        Market::Kraken,
        r#"{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"sell","price":64013.10,"qty":0.0045,"trade_id":4,"timestamp":"2023-09-25T07:49:37.708706Z"}]}"#,
    ),
];

#[test]
fn a_warm_decoder_allocates_nothing() {
    for (market, frame) in FRAMES {
        let mut decoder = Decoder::of_market(market);
        let mut sum = 0.0;
        let first = decoder.decode(frame.as_bytes(), &mut |event| sum += event.value);
        assert!(matches!(first, Outcome::Events(_)), "{frame}");

        let allocations = allocation_counter::measure(|| {
            for _ in 0..100 {
                decoder.decode(frame.as_bytes(), &mut |event| sum += event.value);
            }
        });

        assert_eq!(allocations.count_total, 0, "{frame}");
    }
}
