//! Promises of the venue decoders: taker side, exact prices, one outcome a frame, no panic.

use tickbus_core::exchange::{Decoded, Decoder, Market, Outcome};
use tickbus_core::quote;
use tickbus_core::taxonomy::{PRICE_UPDATE, TOP_OF_BOOK};

/// What a frame told, owned.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    event_type: u8,
    symbol: String,
    value: f64,
    metadata: u64,
    venue_time_ns: Option<u64>,
    trade_id: Option<u128>,
    sequence: Option<u64>,
}

fn decode(decoder: &mut Decoder, frame: &[u8]) -> (Outcome, Vec<Told>) {
    let mut told = Vec::new();
    let outcome = decoder.decode(frame, &mut |event: Decoded| {
        told.push(Told {
            event_type: event.event_type,
            symbol: event.symbol.to_owned(),
            value: event.value,
            metadata: event.metadata,
            venue_time_ns: event.venue_time_ns,
            trade_id: event.trade_id,
            sequence: event.sequence,
        });
    });
    (outcome, told)
}

fn once(market: Market, frame: &str) -> (Outcome, Vec<Told>) {
    decode(&mut Decoder::of_market(market), frame.as_bytes())
}

fn trade(symbol: &str, price: f64, signed: f64, time: u64, id: Option<u128>) -> Told {
    Told {
        event_type: PRICE_UPDATE,
        symbol: symbol.to_owned(),
        value: price,
        metadata: signed.to_bits(),
        venue_time_ns: Some(time),
        trade_id: id,
        sequence: None,
    }
}

const BINANCE_TRADE: &str = r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}}"#;
const BINANCE_BOOK_TICKER: &str = r#"{"stream":"btcusdt@bookTicker","data":{"u":50093239212,"s":"BTCUSDT","b":"61837.63000000","B":"3.78826000","a":"61837.74000000","A":"1.54698000"}}"#;
const COINBASE_MATCH: &str = r#"{"type":"match","trade_id":1568268,"maker_order_id":"a","taker_order_id":"b","side":"sell","size":"450","price":"0.791","product_id":"SKL-USD","sequence":201390075,"time":"2021-04-17T16:43:37.121358Z"}"#;
const COINBASE_TRADES: &str = r#"{"channel":"market_trades","timestamp":"2026-08-09T21:05:48.251397169Z","sequence_num":9,"events":[{"type":"update","trades":[{"product_id":"BTC-USD","trade_id":"1068572091","price":"65083.67","size":"0.01034361","time":"2026-08-09T21:05:48.167634Z","side":"SELL"}]}]}"#;
const COINBASE_TICKER: &str = r#"{"channel":"ticker","timestamp":"2026-08-09T21:05:48.229198328Z","sequence_num":6,"events":[{"type":"snapshot","tickers":[{"type":"ticker","product_id":"BTC-USD","price":"65086.18","best_bid":"65083.66","best_ask":"65083.67","best_bid_quantity":"0.20371215","best_ask_quantity":"0.24290402"}]}]}"#;
const KRAKEN_V1_TRADE: &str = r#"[321,[["58721.20000","0.02798644","1617666461.465618","s","m",""],["58721.30000","0.12749400","1617666461.466773","b","l",""]],"trade","XBT/USD"]"#;
const KRAKEN_V1_TICKER: &str = r#"[2500,{"a":["0.000023630",7289,"7289.86759215"],"b":["0.000023610",1173,"1173.00000000"],"c":["0.000023620","25.10303887"],"t":[1283,1292]},"ticker","ALGO/XBT"]"#;
const KRAKEN_V2_TRADE: &str = r#"{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"sell","price":64013.10,"qty":0.00450000,"ord_type":"limit","trade_id":4665906,"timestamp":"2023-09-25T07:49:37.708706Z"}]}"#;
const KRAKEN_V2_TICKER: &str = r#"{"channel":"ticker","type":"update","data":[{"symbol":"ALGO/USD","bid":0.10025,"bid_qty":740.0,"ask":0.10036,"ask_qty":1361.44813783,"last":0.10035,"volume":997038.98383185}]}"#;
const OKX_TRADE: &str = r#"{"arg":{"channel":"trades","instId":"ZEN-USDT"},"data":[{"instId":"ZEN-USDT","tradeId":"15270483","px":"32.51","sz":"0.37568","side":"buy","ts":"1646003666197"}]}"#;
const OKX_TICKER: &str = r#"{"arg":{"channel":"tickers","instId":"FUN-BTC"},"data":[{"instType":"SPOT","instId":"FUN-BTC","last":"0.000000454","askPx":"0.000000455","askSz":"142796.14","bidPx":"0.000000452","bidSz":"141211.03","ts":"1626995753163"}]}"#;
const OKX_BEST: &str = r#"{"arg":{"channel":"bbo-tbt","instId":"BTC-USDT"},"data":[{"asks":[["8476.98","415","0","13"]],"bids":[["8476.97","256","0","12"]],"ts":"1597026383085","seqId":123456}]}"#;
const BYBIT_TRADE: &str = r#"{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":1786310819681,"data":[{"T":1786310819680,"s":"BTCUSDT","S":"Sell","v":"0.004","p":"65114.20","L":"MinusTick","i":"a9188a0a-82bc-50de-be60-03eedbe3cdd7","BT":false,"RPI":false,"seq":753843954913}]}"#;
const BYBIT_BEST: &str = r#"{"topic":"orderbook.1.BTCUSDT","ts":1786310819681,"type":"snapshot","data":{"s":"BTCUSDT","b":[["65114.20","5.954"]],"a":[["65114.30","10.470"]],"u":7,"seq":9},"cts":1786310819679}"#;

mod taker_side {
    use super::*;

    #[test]
    fn binance_buyer_is_maker_means_the_taker_sold() {
        let time = 1_723_161_255_342_000_000;
        let sold = trade("BTC-USDT", 61837.63, -0.02, time, Some(3_735_683_259));
        let bought = trade("BTC-USDT", 61837.63, 0.02, time, Some(3_735_683_259));
        let turned = BINANCE_TRADE.replace("\"m\":true", "\"m\":false");

        assert_eq!(once(Market::BinanceSpot, BINANCE_TRADE), (Outcome::Events(1), vec![sold]));
        assert_eq!(once(Market::BinanceSpot, &turned), (Outcome::Events(1), vec![bought]));
    }

    #[test]
    fn coinbase_exchange_names_the_maker() {
        let time = 1_618_677_817_121_358_000;
        let sequence = Some(201_390_075);
        let of = |size| Told { sequence, ..trade("SKL-USD", 0.791, size, time, Some(1_568_268)) };
        let (bought, sold) = (of(450.0), of(-450.0));
        let turned = COINBASE_MATCH.replace("\"side\":\"sell\"", "\"side\":\"buy\"");

        assert_eq!(once(Market::Coinbase, COINBASE_MATCH), (Outcome::Events(1), vec![bought]));
        assert_eq!(once(Market::Coinbase, &turned), (Outcome::Events(1), vec![sold]));
    }

    #[test]
    fn coinbase_advanced_names_the_maker_too() {
        let time = 1_786_309_548_167_634_000;
        let bought = trade("BTC-USD", 65083.67, 0.01034361, time, Some(1_068_572_091));
        assert_eq!(once(Market::Coinbase, COINBASE_TRADES), (Outcome::Events(1), vec![bought]));
    }

    #[test]
    fn okx_names_the_taker() {
        let bought = trade("ZEN-USDT", 32.51, 0.37568, 1_646_003_666_197_000_000, Some(15_270_483));
        let turned = OKX_TRADE.replace("\"buy\"", "\"sell\"");
        let sold = Told { metadata: (-0.37568f64).to_bits(), ..bought.clone() };

        assert_eq!(once(Market::Okx, OKX_TRADE), (Outcome::Events(1), vec![bought]));
        assert_eq!(once(Market::Okx, &turned), (Outcome::Events(1), vec![sold]));
    }

    #[test]
    fn bybit_names_the_taker() {
        let id = 0xa918_8a0a_82bc_50de_be60_03ee_dbe3_cdd7;
        let sold = Told {
            sequence: Some(753_843_954_913),
            ..trade("BTC-USDT-PERP", 65114.2, -0.004, 1_786_310_819_680_000_000, Some(id))
        };
        let turned = BYBIT_TRADE.replace("Sell", "Buy");
        let bought = Told { metadata: 0.004f64.to_bits(), ..sold.clone() };

        assert_eq!(once(Market::BybitLinear, BYBIT_TRADE), (Outcome::Events(1), vec![sold]));
        assert_eq!(once(Market::BybitLinear, &turned), (Outcome::Events(1), vec![bought]));
    }

    #[test]
    fn kraken_names_the_taker() {
        let v1 = vec![
            trade("BTC-USD", 58721.2, -0.02798644, 1_617_666_461_465_618_000, None),
            trade("BTC-USD", 58721.3, 0.127494, 1_617_666_461_466_773_000, None),
        ];
        let v2 = trade("BTC-USD", 64013.1, -0.0045, 1_695_628_177_708_706_000, Some(4_665_906));

        assert_eq!(once(Market::Kraken, KRAKEN_V1_TRADE), (Outcome::Events(2), v1));
        assert_eq!(once(Market::Kraken, KRAKEN_V2_TRADE), (Outcome::Events(1), vec![v2]));
    }
}

#[test]
fn tops_of_book_have_exact_prices_and_close_sizes() {
    for (market, frame, symbol, [bid, ask, bid_size, ask_size]) in [
        (
            Market::BinanceSpot,
            BINANCE_BOOK_TICKER,
            "BTC-USDT",
            [61837.63, 61837.74, 3.78826, 1.54698],
        ),
        (
            Market::Coinbase,
            COINBASE_TICKER,
            "BTC-USD",
            [65083.66, 65083.67, 0.20371215, 0.24290402],
        ),
        (
            Market::Kraken,
            KRAKEN_V1_TICKER,
            "ALGO-BTC",
            [0.00002361, 0.00002363, 1173.0, 7289.86759215],
        ),
        (Market::Kraken, KRAKEN_V2_TICKER, "ALGO-USD", [0.10025, 0.10036, 740.0, 1361.44813783]),
        (Market::Okx, OKX_TICKER, "FUN-BTC", [0.000000452, 0.000000455, 141211.03, 142796.14]),
        (Market::Okx, OKX_BEST, "BTC-USDT", [8476.97, 8476.98, 256.0, 415.0]),
        (Market::BybitSpot, BYBIT_BEST, "BTC-USDT", [65114.2, 65114.3, 5.954, 10.47]),
    ] {
        let (outcome, told) = once(market, frame);
        assert_eq!(outcome, Outcome::Events(1), "{frame}");
        assert_eq!((told[0].event_type, told[0].symbol.as_str()), (TOP_OF_BOOK, symbol));
        let quote = quote::unpack(told[0].value, told[0].metadata);
        assert_eq!((quote.bid, quote.ask), (bid, ask));
        assert!((quote.bid_size / bid_size - 1.0).abs() < 1.0 / 8192.0);
        assert!((quote.ask_size / ask_size - 1.0).abs() < 1.0 / 8192.0);
    }
}

#[test]
fn a_stream_and_its_raw_message_say_the_same() {
    for frame in [BINANCE_TRADE, BINANCE_BOOK_TICKER] {
        let raw = frame.split_once("\"data\":").unwrap().1.strip_suffix('}').unwrap();
        assert_eq!(once(Market::BinanceSpot, frame), once(Market::BinanceSpot, raw));
    }
}

#[test]
fn key_order_does_not_matter() {
    let turned = r#"{"data":{"M":true,"m":true,"T":1723161255342,"q":"0.02000000","p":"61837.63000000","t":3735683259,"s":"BTCUSDT","E":1723161255343,"e":"trade"},"stream":"btcusdt@trade"}"#;
    assert_eq!(once(Market::BinanceSpot, turned), once(Market::BinanceSpot, BINANCE_TRADE));
}

#[test]
fn inverse_futures_are_sized_in_the_base_asset() {
    let frame = r#"{"e":"trade","E":1,"T":1,"s":"BTCUSD_PERP","t":5,"p":"50000.0","q":"4","X":"MARKET","m":false}"#;
    let (_, told) = once(Market::BinanceCoinM, frame);
    assert_eq!(told, vec![trade("BTC-USD-PERP", 50000.0, 0.008, 1_000_000, Some(5))]);
}

#[test]
fn what_is_no_news_is_counted_by_reason() {
    let no_sizes = r#"{"type":"ticker","product_id":"BAND-GBP","best_bid":"14.7","best_ask":"14.8","time":"2021-04-17T16:43:30.244075Z"}"#;
    let one_sided = OKX_TICKER.replace("0.000000452", "");
    let swap = OKX_TRADE.replace("ZEN-USDT", "UNI-USD-SWAP");
    let block = BYBIT_TRADE.replace("\"BT\":false", "\"BT\":true");
    let wide = BINANCE_BOOK_TICKER.replace("61837.63000000", "0.00000001");
    for (market, frame, reason) in [
        (Market::BinanceSpot, r#"{"lastUpdateId":5,"bids":[],"asks":[]}"#, "snapshot_of_unknown"),
        (Market::BinanceSpot, r#"{"result":null,"id":1}"#, "ack"),
        (Market::BinanceSpot, r#"{"stream":"!ticker@arr","data":[{"e":"24hrTicker"}]}"#, "array"),
        (Market::BinanceSpot, r#"{"e":"somethingNew","a":{"b":[1,null]}}"#, "unknown_event"),
        (Market::BinanceSpot, "{}", "unknown"),
        (Market::BinanceSpot, &wide, "unpackable_quote"),
        (Market::Coinbase, no_sizes, "ticker_without_sizes"),
        (Market::Coinbase, r#"{"type":"subscriptions","channels":[]}"#, "ack"),
        (Market::Coinbase, r#"{"channel":"market_trades","events":[]}"#, "empty"),
        (Market::Kraken, r#"{"event":"heartbeat"}"#, "heartbeat"),
        (Market::Kraken, r#"{"channel":"heartbeat"}"#, "heartbeat"),
        (Market::Kraken, r#"[[{"x":1}],"ownTrades",{"sequence":1}]"#, "private"),
        (Market::Kraken, r#"{"method":"subscribe","success":true}"#, "ack"),
        (
            Market::Okx,
            r#"{"event":"subscribe","arg":{"channel":"trades","instId":"ZEN-USDT"}}"#,
            "ack",
        ),
        (Market::Okx, r#"{"event":"error","code":"60012","msg":"Invalid request"}"#, "error_reply"),
        (Market::Okx, "pong", "heartbeat"),
        (Market::Okx, &one_sided, "one_sided_quote"),
        (Market::Okx, &swap, "contract_size_unknown"),
        (Market::Okx, r#"{"arg":{"channel":"candle1m","instId":"A-B"},"data":[["1"]]}"#, "candle"),
        (
            Market::BybitLinear,
            r#"{"success":true,"ret_msg":"","conn_id":"d8","op":"subscribe"}"#,
            "ack",
        ),
        (
            Market::BybitLinear,
            r#"{"success":false,"ret_msg":"no","op":"subscribe"}"#,
            "error_reply",
        ),
        (Market::BybitLinear, r#"{"success":true,"ret_msg":"pong","op":"ping"}"#, "heartbeat"),
        (Market::BybitLinear, r#"{"topic":"kline.1.BTCUSDT","data":[]}"#, "candle"),
        (Market::BybitLinear, &block, "outside_book"),
    ] {
        let (outcome, told) = once(market, frame);
        assert_eq!((outcome, told.len()), (Outcome::Ignored(reason), 0), "{frame}");
    }
}

#[test]
fn history_is_counted_and_not_told() {
    let last_match = COINBASE_MATCH.replace("match\"", "last_match\"");
    let snapshot = COINBASE_TRADES.replace("update", "snapshot");
    let v2_snapshot = KRAKEN_V2_TRADE.replace("update", "snapshot");
    for (market, frame) in [
        (Market::Coinbase, last_match),
        (Market::Coinbase, snapshot),
        (Market::Kraken, v2_snapshot),
    ] {
        assert_eq!(once(market, &frame), (Outcome::History(1), vec![]), "{frame}");
    }
}

#[test]
fn a_frame_is_told_whole_or_not_at_all() {
    // The second of two trades has no side: the first is not told either.
    let torn = KRAKEN_V1_TRADE.replace("\"b\",\"l\"", "\"?\",\"l\"");
    let mut decoder = Decoder::of_market(Market::Kraken);

    let (outcome, told) = decode(&mut decoder, torn.as_bytes());

    assert_eq!((outcome, told), (Outcome::Malformed("bad_field"), vec![]));
    assert_eq!((decoder.counters().trades, decoder.counters().malformed.total()), (0, 1));
}

#[test]
fn what_breaks_the_protocol_is_named() {
    for (market, frame, fault) in [
        (Market::BinanceSpot, BINANCE_TRADE.replace("\"0.02000000\"", "\"NaN\""), "bad_number"),
        (Market::BinanceSpot, BINANCE_TRADE.replace("\"m\":true,", ""), "bad_field"),
        (Market::BinanceSpot, BINANCE_TRADE.replace("1723161255342,", "\"soon\","), "bad_time"),
        (Market::BinanceSpot, BINANCE_TRADE.replace("\"BTCUSDT\"", "\"BTC USDT\""), "bad_symbol"),
        (Market::BinanceSpot, "[1,2".to_owned(), "not_json"),
        (Market::BinanceSpot, String::new(), "not_json"),
        (Market::Coinbase, COINBASE_TRADES.replace("SELL", "sold"), "bad_field"),
        (Market::Kraken, KRAKEN_V1_TRADE.replace("]]", "]"), "not_json"),
        (Market::Kraken, "nul".to_owned(), "not_json"),
        (Market::Kraken, "5".to_owned(), "bad_field"),
    ] {
        assert_eq!(once(market, &frame).0, Outcome::Malformed(fault), "{frame}");
    }
    let not_utf8 = decode(&mut Decoder::of_market(Market::Kraken), b"{\"event\":\"\xff\"}").0;
    assert_eq!(not_utf8, Outcome::Malformed("not_utf8"));
    let deep = "[".repeat(1 << 20);
    assert_eq!(once(Market::Kraken, &deep).0, Outcome::Malformed("not_json"));
}

#[test]
fn tickers_of_what_changed_keep_the_rest() {
    let delta = |fields: &str| {
        format!(
            r#"{{"topic":"tickers.BTCUSDT","type":"delta","data":{{"symbol":"BTCUSDT"{fields}}},"cs":5,"ts":1786310817883}}"#
        )
    };
    let first = delta(
        r#","bid1Price":"65114.20","bid1Size":"6.054","ask1Price":"65114.30","ask1Size":"10.5""#,
    )
    .replace("delta", "snapshot");
    let mut decoder = Decoder::of_market(Market::BybitLinear);
    let mut asks = Vec::new();
    let mut ask = |frame: &str| {
        let (outcome, told) = decode(&mut decoder, frame.as_bytes());
        asks.extend(told.iter().map(|told| quote::unpack(told.value, told.metadata).ask));
        outcome
    };

    assert_eq!(ask(&delta(r#","ask1Price":"65114.10""#)), Outcome::Ignored("one_sided_quote"));
    assert_eq!(ask(&first), Outcome::Events(1));
    assert_eq!(ask(&delta(r#","ask1Price":"65114.40""#)), Outcome::Events(1));
    assert_eq!(
        ask(&delta(r#","ask1Price":"NaN","bid1Price":"1""#)),
        Outcome::Malformed("bad_number")
    );
    assert_eq!(ask(&delta(r#","ask1Size":"11""#)), Outcome::Events(1));
    assert_eq!(ask(&delta(r#","markPrice":"65117.43""#)), Outcome::Ignored("ticker_without_quote"));
    assert_eq!(ask(&delta(r#","bid1Price":"""#)), Outcome::Ignored("one_sided_quote"));
    assert_eq!(asks, [65114.3, 65114.4, 65114.4]);
}

#[test]
fn contracts_are_sized_by_the_venues_own_list() {
    let list = r#"{"code":"0","data":[{"instId":"UNI-USD-SWAP","ctMult":"1","ctVal":"10","ctValCcy":"USD"},{"instId":"ZEN-USDT","ctMult":"","ctVal":"","ctValCcy":""},{"instId":"BTC-USDT-SWAP","ctVal":"0.01","ctValCcy":"BTC"}]}"#;
    let channel =
        list.replace("\"code\":\"0\"", r#""arg":{"channel":"instruments","instType":"SWAP"}"#);
    for list in [list, &channel] {
        let mut decoder = Decoder::of_market(Market::Okx);
        assert_eq!(decode(&mut decoder, list.as_bytes()).0, Outcome::Ignored("instrument"));
        for (wire, symbol, size) in [
            ("UNI-USD-SWAP", "UNI-USD-PERP", 0.37568 * 10.0 / 32.51),
            ("BTC-USDT-SWAP", "BTC-USDT-PERP", 0.37568 * 0.01),
            ("ZEN-USDT", "ZEN-USDT", 0.37568),
        ] {
            let frame = OKX_TRADE.replace("ZEN-USDT", wire);
            let (_, told) = decode(&mut decoder, frame.as_bytes());
            assert_eq!((told[0].symbol.as_str(), f64::from_bits(told[0].metadata)), (symbol, size));
        }
    }
}

#[test]
fn what_numbers_a_message_is_told_with_it() {
    let heartbeat = r#"{"type":"heartbeat","sequence":90,"last_trade_id":20,"product_id":"BTC-USD","time":"2014-11-07T08:19:28.464459Z"}"#;
    let mut decoder = Decoder::of_market(Market::Coinbase);
    decode(&mut decoder, COINBASE_TRADES.as_bytes());
    assert_eq!((decoder.connection_sequence(), decoder.heartbeat()), (Some(9), None));
    // Of frames about anything, also of those that tell nothing.
    decode(&mut decoder, br#"{"channel":"heartbeats","sequence_num":10,"events":[]}"#);
    assert_eq!(decoder.connection_sequence(), Some(10));
    decode(&mut decoder, heartbeat.as_bytes());
    let told = decoder.heartbeat().unwrap();
    assert_eq!(
        (decoder.symbol(told.instrument), told.sequence, told.last_trade_id),
        (Some("BTC-USD"), 90, 20)
    );
    assert_eq!(decoder.connection_sequence(), None);

    for (market, frame, sequence) in [
        (Market::BinanceSpot, BINANCE_BOOK_TICKER, Some(50_093_239_212)),
        (Market::Coinbase, COINBASE_MATCH, Some(201_390_075)),
        (Market::Okx, OKX_BEST, Some(123_456)),
        (Market::BybitLinear, BYBIT_BEST, Some(9)),
        (Market::Kraken, KRAKEN_V2_TRADE, None),
    ] {
        assert_eq!(once(market, frame).1[0].sequence, sequence, "{frame}");
    }
}
