//! Promises of order book messages: every level as it was written, every id and checksum with it.

use tickbus_core::exchange::{Decoder, Depth, DepthKind, Exact, Market, Outcome};

/// A book message with its levels as text, `price x size`.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    symbol: String,
    bids: String,
    asks: String,
    message: Depth,
}

fn text(number: Exact) -> String {
    let scale = usize::from(number.scale);
    let digits = format!("{:0width$}", number.units, width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    if scale == 0 { whole.to_owned() } else { format!("{whole}.{fraction}") }
}

fn told(decoder: &Decoder) -> Vec<Told> {
    let side = |range: &std::ops::Range<u32>| {
        let levels = &decoder.levels()[range.start as usize..range.end as usize];
        let texts: Vec<String> = levels
            .iter()
            .map(|level| format!("{}x{}", text(level.price), text(level.size)))
            .collect();
        texts.join(" ")
    };
    decoder
        .depths()
        .iter()
        .map(|depth| Told {
            symbol: decoder.symbol(depth.instrument).unwrap().to_owned(),
            bids: side(&depth.bids),
            asks: side(&depth.asks),
            message: Depth { bids: 0..0, asks: 0..0, ..depth.clone() },
        })
        .collect()
}

fn once(market: Market, frame: &str) -> Told {
    let mut decoder = Decoder::of_market(market);
    let outcome = decoder.decode(frame.as_bytes(), &mut |_| panic!("no event"));
    assert_eq!(outcome, Outcome::Books(1), "{frame}");
    told(&decoder).remove(0)
}

fn expect(told: &Told, symbol: &str, bids: &str, asks: &str, message: Depth) {
    let message = Depth { instrument: told.message.instrument, ..message };
    let expected =
        Told { symbol: symbol.to_owned(), bids: bids.to_owned(), asks: asks.to_owned(), message };
    assert_eq!(*told, expected);
}

fn snapshot() -> Depth {
    Depth::new(0, DepthKind::Snapshot)
}

fn update() -> Depth {
    Depth::new(0, DepthKind::Update)
}

const BINANCE: &str = r#"{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1723161255308,"s":"BTCUSDT","U":50093239203,"u":50093239207,"b":[["55653.87000000","0.00000000"]],"a":[["61838.04000000","0.32332000"],["61844.30000000","0.40163000"]]}}"#;
const BINANCE_FUTURES: &str = r#"{"stream":"btcusdt@depth@0ms","data":{"e":"depthUpdate","E":1723161256299,"T":1723161256298,"s":"BTCUSDT","U":5123107832006,"u":5123107837557,"pu":5123107831937,"b":[["58710.20","0.014"]],"a":[]}}"#;
const KRAKEN_BOTH: &str = r#"[320,{"a":[["61308.50000","0.00000000","1617666539.868687"],["61800.00000","1.48600534","1617648977.752138","r"]]},{"b":[["56123.40000","0.06137256","1617666539.870272"]],"c":"1768150633"},"book-1000","XBT/USD"]"#;
const OKX: &str = r#"{"arg":{"channel":"books-l2-tbt","instId":"UNI-USD-SWAP"},"action":"update","data":[{"asks":[],"bids":[["9.617","441","0","4"],["9.5810","107","0","2"]],"ts":"1646003667640","checksum":-980833328}]}"#;
const BYBIT: &str = r#"{"topic":"orderbook.200.BTCUSDT","ts":1786310816618,"type":"delta","data":{"s":"BTCUSDT","b":[["65140.4","0.875077"]],"a":[["65154.6","0"]],"u":62505425,"seq":112488545865},"cts":1786310816585}"#;

#[test]
fn binance_changes() {
    let spot = Depth {
        first_id: Some(50_093_239_203),
        last_id: Some(50_093_239_207),
        venue_time_ns: Some(1_723_161_255_308_000_000),
        ..update()
    };
    let told = once(Market::BinanceSpot, BINANCE);
    let asks = "61838.04000000x0.32332000 61844.30000000x0.40163000";
    expect(&told, "BTC-USDT", "55653.87000000x0.00000000", asks, spot);

    let futures = Depth {
        first_id: Some(5_123_107_832_006),
        last_id: Some(5_123_107_837_557),
        previous_id: Some(5_123_107_831_937),
        venue_time_ns: Some(1_723_161_256_298_000_000),
        ..update()
    };
    let told = once(Market::BinanceUsdM, BINANCE_FUTURES);
    expect(&told, "BTC-USDT-PERP", "58710.20x0.014", "", futures);
}

#[test]
fn binance_partial_books_are_snapshots() {
    let spot = r#"{"stream":"btcusdt@depth5@100ms","data":{"lastUpdateId":160,"bids":[["0.0024","10"]],"asks":[["0.0026","100"]]}}"#;
    let whole = Depth { last_id: Some(160), limit: Some(5), ..snapshot() };
    expect(&once(Market::BinanceSpot, spot), "BTC-USDT", "0.0024x10", "0.0026x100", whole);

    // On futures the stream's name is all that tells them from changes.
    let futures = BINANCE_FUTURES.replace("@depth@", "@depth20@");
    let whole = Depth {
        last_id: Some(5_123_107_837_557),
        limit: Some(20),
        venue_time_ns: Some(1_723_161_256_298_000_000),
        ..snapshot()
    };
    let told = once(Market::BinanceUsdM, &futures);
    expect(&told, "BTC-USDT-PERP", "58710.20x0.014", "", whole);
}

#[test]
fn binance_rest_snapshots_are_of_whom_they_say_or_of_whom_the_caller_says() {
    let rest = r#"{"lastUpdateId":5,"bids":[["1.10","2"]],"asks":[]}"#;
    let mut decoder = Decoder::of_market(Market::BinanceSpot);
    assert_eq!(
        decoder.decode(rest.as_bytes(), &mut |_| {}),
        Outcome::Ignored("snapshot_of_unknown")
    );
    decoder.assume(Some("ETHUSDT"));
    assert_eq!(decoder.decode(rest.as_bytes(), &mut |_| {}), Outcome::Books(1));
    let whole = Depth { last_id: Some(5), ..snapshot() };
    expect(&told(&decoder)[0], "ETH-USDT", "1.10x2", "", whole);

    let says = r#"{"lastUpdateId":5,"E":1,"T":2,"symbol":"BTCUSD_PERP","pair":"BTCUSD","bids":[],"asks":[["3.0","4"]]}"#;
    let whole = Depth { last_id: Some(5), venue_time_ns: Some(2_000_000), ..snapshot() };
    expect(&once(Market::BinanceCoinM, says), "BTC-USD-PERP", "", "3.0x4", whole);
}

#[test]
fn coinbase_exchange() {
    let whole = r#"{"type":"snapshot","product_id":"BAND-GBP","asks":[["14.8024","12.77"]],"bids":[["14.7000","123.10"]]}"#;
    let told = once(Market::Coinbase, whole);
    expect(&told, "BAND-GBP", "14.7000x123.10", "14.8024x12.77", snapshot());

    let changes = r#"{"type":"l2update","product_id":"BTC-USD","changes":[["sell","10102.55","0.00000000"],["buy","10101.80000000","0.162567"],["sell","10103.00","1"]],"time":"2021-04-17T16:43:37.121358Z"}"#;
    let time = Depth { venue_time_ns: Some(1_618_677_817_121_358_000), ..update() };
    let asks = "10102.55x0.00000000 10103.00x1";
    expect(&once(Market::Coinbase, changes), "BTC-USD", "10101.80000000x0.162567", asks, time);
}

#[test]
fn coinbase_advanced() {
    let frame = r#"{"channel":"l2_data","timestamp":"2026-08-09T21:05:48.5Z","sequence_num":15,"events":[{"type":"update","product_id":"BTC-USD","updates":[{"side":"offer","event_time":"2026-08-09T21:05:48.264069Z","price_level":"65106.54","new_quantity":"0.15361938"},{"side":"bid","event_time":"2026-08-09T21:05:48.264069Z","price_level":"65000.0","new_quantity":"0"}]}]}"#;
    let time = Depth { venue_time_ns: Some(1_786_309_548_500_000_000), ..update() };
    let told = once(Market::Coinbase, frame);
    expect(&told, "BTC-USD", "65000.0x0", "65106.54x0.15361938", time.clone());

    let told = once(Market::Coinbase, &frame.replace("\"update\"", "\"snapshot\""));
    assert_eq!(told.message.kind, DepthKind::Snapshot);
}

#[test]
fn kraken_v1_in_one_object_or_two() {
    let both = Depth {
        checksum: Some(1_768_150_633),
        limit: Some(1000),
        venue_time_ns: Some(1_617_666_539_870_272_000),
        ..update()
    };
    let asks = "61308.50000x0.00000000 61800.00000x1.48600534";
    expect(&once(Market::Kraken, KRAKEN_BOTH), "BTC-USD", "56123.40000x0.06137256", asks, both);

    let whole = r#"[320,{"as":[["58729.40000","0.45000000","1617666423.606671"]],"bs":[["58724.80000","0.36000000","1617666424.000000"]]},"book-10","XBT/USD"]"#;
    let first =
        Depth { limit: Some(10), venue_time_ns: Some(1_617_666_424_000_000_000), ..snapshot() };
    let told = once(Market::Kraken, whole);
    expect(&told, "BTC-USD", "58724.80000x0.36000000", "58729.40000x0.45000000", first);
}

#[test]
fn kraken_v2_is_as_deep_as_its_subscription() {
    let reply = r#"{"method":"subscribe","result":{"channel":"book","depth":25,"snapshot":true,"symbol":"BTC/USD"},"success":true}"#;
    let frame = r#"{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[{"price":45283.50,"qty":0.10000000}],"asks":[],"checksum":3310070434,"timestamp":"2023-10-06T17:35:55.440295Z"}]}"#;
    let mut decoder = Decoder::of_market(Market::Kraken);
    assert_eq!(decoder.decode(reply.as_bytes(), &mut |_| {}), Outcome::Ignored("ack"));
    decoder.decode(frame.as_bytes(), &mut |_| {});

    let change = Depth {
        checksum: Some(3_310_070_434),
        limit: Some(25),
        venue_time_ns: Some(1_696_613_755_440_295_000),
        ..update()
    };
    expect(&told(&decoder)[0], "BTC-USD", "45283.50x0.10000000", "", change.clone());
    let unasked = Depth { limit: None, ..change };
    expect(&once(Market::Kraken, frame), "BTC-USD", "45283.50x0.10000000", "", unasked);
}

#[test]
fn okx_with_checksums_or_with_numbers() {
    let signed = Depth {
        checksum: Some(-980_833_328),
        limit: Some(400),
        venue_time_ns: Some(1_646_003_667_640_000_000),
        ..update()
    };
    expect(&once(Market::Okx, OKX), "UNI-USD-PERP", "9.617x441 9.5810x107", "", signed.clone());

    let ids = OKX.replace("-980833328", "0,\"seqId\":15,\"prevSeqId\":10");
    let numbered = Depth { checksum: None, last_id: Some(15), previous_id: Some(10), ..signed };
    let bids = "9.617x441 9.5810x107";
    expect(&once(Market::Okx, &ids), "UNI-USD-PERP", bids, "", numbered.clone());

    let first = ids.replace("\"update\"", "\"snapshot\"").replace("10}", "-1}");
    let first_of = Depth { kind: DepthKind::Snapshot, previous_id: None, ..numbered.clone() };
    expect(&once(Market::Okx, &first), "UNI-USD-PERP", bids, "", first_of);

    let five = ids.replace("books-l2-tbt", "books5").replace("\"action\":\"update\",", "");
    let whole = Depth { kind: DepthKind::Snapshot, limit: Some(5), ..numbered };
    expect(&once(Market::Okx, &five), "UNI-USD-PERP", bids, "", whole);
}

#[test]
fn bybit_starts_again_at_one() {
    let change = Depth {
        last_id: Some(62_505_425),
        sequence: Some(112_488_545_865),
        limit: Some(200),
        venue_time_ns: Some(1_786_310_816_585_000_000),
        ..update()
    };
    let told = once(Market::BybitSpot, BYBIT);
    expect(&told, "BTC-USDT", "65140.4x0.875077", "65154.6x0", change.clone());

    let restarted = BYBIT.replace("\"u\":62505425", "\"u\":1");
    let whole = Depth { kind: DepthKind::Snapshot, last_id: Some(1), ..change };
    let told = once(Market::BybitSpot, &restarted);
    expect(&told, "BTC-USDT", "65140.4x0.875077", "65154.6x0", whole);
}

#[test]
fn a_book_message_is_told_whole_or_not_at_all() {
    for (market, frame, fault) in [
        (Market::BinanceSpot, BINANCE.replace("61844.30000000", "NaN"), "bad_number"),
        (Market::BinanceSpot, BINANCE.replace("61844.30000000", "-1"), "bad_number"),
        (
            Market::BinanceSpot,
            BINANCE.replace("61844.30000000", "184467440737.09551616"),
            "too_many_digits",
        ),
        (Market::BinanceSpot, BINANCE.replace("\"U\":50093239203,", ""), "bad_field"),
        (Market::BinanceSpot, BINANCE.replace(",\"0.40163000\"", ""), "bad_field"),
        (Market::BinanceSpot, BINANCE.replace("\"0.40163000\"", "1e999"), "too_many_digits"),
        (Market::BinanceSpot, BINANCE.replace("\"b\":[[", "\"c\":[["), "bad_field"),
        (Market::BinanceUsdM, BINANCE_FUTURES.replace("\"a\":[]", "\"a\":null"), "bad_field"),
        (Market::Okx, OKX.replace("\"asks\":[],", ""), "bad_field"),
        (Market::BybitSpot, BYBIT.replace("\"a\":", "\"x\":"), "bad_field"),
        (Market::Kraken, KRAKEN_BOTH.replace("{\"b\":", "{\"x\":"), "bad_field"),
        (Market::Kraken, KRAKEN_BOTH.replace("1768150633", "-5"), "bad_number"),
        (Market::Kraken, KRAKEN_BOTH.replace("1768150633", "4294967296"), "bad_field"),
        (Market::Kraken, KRAKEN_BOTH.replace("book-1000", "book-x"), "bad_field"),
        (Market::Okx, OKX.replace("\"update\"", "\"patch\""), "bad_field"),
        (Market::BybitSpot, BYBIT.replace("\"u\":62505425,", ""), "bad_field"),
    ] {
        let mut decoder = Decoder::of_market(market);
        assert_eq!(
            decoder.decode(frame.as_bytes(), &mut |_| {}),
            Outcome::Malformed(fault),
            "{frame}"
        );
        assert_eq!((decoder.depths().len(), decoder.levels().len()), (0, 0));
        assert_eq!(decoder.counters().books, 0);
    }
}

#[test]
fn a_snapshot_of_megabytes_is_a_frame_like_others() {
    let levels: Vec<String> = (0..60_000).map(|i| format!("[\"{i}.50\",\"0.{i:08}\"]")).collect();
    let rows = levels.join(",");
    let frame =
        format!(r#"{{"type":"snapshot","product_id":"BTC-USD","asks":[{rows}],"bids":[{rows}]}}"#);
    assert!(frame.len() > 2 << 20);
    let mut decoder = Decoder::of_market(Market::Coinbase);

    let outcome = decoder.decode(frame.as_bytes(), &mut |_| {});

    assert_eq!((outcome, decoder.levels().len()), (Outcome::Books(1), 120_000));
    let counters = decoder.counters();
    assert_eq!((counters.book_frames, counters.books, counters.levels), (1, 1, 120_000));
    assert_eq!(text(decoder.levels()[59_999].price), "59999.50");
}
