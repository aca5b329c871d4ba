//! A healthy frame of every kind that is decoded, shared by tests and benchmarks.

use tickbus_core::exchange::Market;

/// One message as a venue sends it.
pub struct Sample {
    pub name: &'static str,
    pub market: Market,
    pub frame: &'static str,
}

const fn sample(name: &'static str, market: Market, frame: &'static str) -> Sample {
    Sample { name, market, frame }
}

pub const SAMPLES: [Sample; 26] = [
    sample(
        "binance trade",
        Market::BinanceSpot,
        r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}}"#,
    ),
    sample(
        "binance bookTicker",
        Market::BinanceSpot,
        r#"{"stream":"btcusdt@bookTicker","data":{"u":50093239212,"s":"BTCUSDT","b":"61837.63000000","B":"3.78826000","a":"61837.64000000","A":"1.54698000"}}"#,
    ),
    sample(
        "binance depth",
        Market::BinanceSpot,
        r#"{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1723161255308,"s":"BTCUSDT","U":50093239203,"u":50093239207,"b":[["55653.87000000","0.00000000"]],"a":[["61838.04000000","0.32332000"],["61844.30000000","0.40163000"],["61862.50000000","0.05019000"],["61862.51000000","0.00000000"]]}}"#,
    ),
    sample(
        "binance partial depth",
        Market::BinanceSpot,
        r#"{"stream":"btcusdt@depth5@100ms","data":{"lastUpdateId":160,"bids":[["0.0024","10"],["0.0023","4"]],"asks":[["0.0026","100"]]}}"#,
    ),
    sample(
        "binance futures depth",
        Market::BinanceUsdM,
        r#"{"stream":"btcusdt@depth@0ms","data":{"e":"depthUpdate","E":1723161256299,"T":1723161256298,"s":"BTCUSDT","U":5123107832006,"u":5123107837557,"pu":5123107831937,"b":[["58710.20","0.014"],["61496.50","0.010"]],"a":[["61801.4","0"]]}}"#,
    ),
    sample(
        "binance coinm trade",
        Market::BinanceCoinM,
        r#"{"e":"trade","E":1723161255343,"T":1723161255342,"s":"BTCUSD_PERP","t":5,"p":"50000.0","q":"4","X":"MARKET","m":false}"#,
    ),
    sample(
        "coinbase match",
        Market::Coinbase,
        r#"{"type":"match","trade_id":1568268,"maker_order_id":"6d1a0d0c-0000-4000-8000-000000000001","taker_order_id":"8f7a1b2c-0000-4000-8000-000000000001","side":"sell","size":"450","price":"0.791","product_id":"SKL-USD","sequence":201390075,"time":"2021-04-17T16:43:37.121358Z"}"#,
    ),
    sample(
        "coinbase l2update",
        Market::Coinbase,
        r#"{"type":"l2update","product_id":"BTC-USD","changes":[["buy","10101.80000000","0.162567"],["sell","10102.5","0.00000000"]],"time":"2021-04-17T16:43:37.121358Z"}"#,
    ),
    sample(
        "coinbase snapshot",
        Market::Coinbase,
        r#"{"type":"snapshot","product_id":"BAND-GBP","asks":[["14.8024","12.77"],["14.8069","12.49"]],"bids":[["14.7","1"]]}"#,
    ),
    sample(
        "coinbase market_trades",
        Market::Coinbase,
        r#"{"channel":"market_trades","timestamp":"2026-08-09T21:05:48.251397169Z","sequence_num":9,"events":[{"type":"update","trades":[{"product_id":"BTC-USD","trade_id":"1068572091","price":"65083.67","size":"0.01034361","time":"2026-08-09T21:05:48.167634Z","side":"SELL"}]}]}"#,
    ),
    sample(
        "coinbase ticker",
        Market::Coinbase,
        r#"{"channel":"ticker","timestamp":"2026-08-09T21:05:48.229198328Z","sequence_num":6,"events":[{"type":"snapshot","tickers":[{"type":"ticker","product_id":"BTC-USD","price":"65086.18","best_bid":"65083.66","best_ask":"65083.67","best_bid_quantity":"0.20371215","best_ask_quantity":"0.24290402"}]}]}"#,
    ),
    sample(
        "coinbase l2_data",
        Market::Coinbase,
        r#"{"channel":"l2_data","timestamp":"2026-08-09T21:05:48.506659391Z","sequence_num":15,"events":[{"type":"update","product_id":"BTC-USD","updates":[{"side":"offer","event_time":"2026-08-09T21:05:48.264069Z","price_level":"65106.54","new_quantity":"0.15361938"},{"side":"bid","event_time":"2026-08-09T21:05:48.264069Z","price_level":"65055.5","new_quantity":"0.00000011"}]}]}"#,
    ),
    sample(
        "kraken v1 trade",
        Market::Kraken,
        r#"[321,[["58721.20000","0.02798644","1617666461.465618","s","m",""]],"trade","XBT/USD"]"#,
    ),
    sample(
        "kraken v1 ticker",
        Market::Kraken,
        r#"[2500,{"a":["0.000023630",7289,"7289.86759215"],"b":["0.000023610",1173,"1173.00000000"],"c":["0.000023620","25.10303887"],"t":[1283,1292]},"ticker","ALGO/XBT"]"#,
    ),
    sample(
        "kraken v1 book",
        Market::Kraken,
        r#"[320,{"a":[["61308.50000","0.00000000","1617666539.868687"]]},{"b":[["56123.40000","0.06137256","1617666539.870272","r"]],"c":"1768150633"},"book-1000","XBT/USD"]"#,
    ),
    sample(
        "kraken v2 trade",
        Market::Kraken,
        r#"{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"sell","price":64013.10,"qty":0.00450000,"ord_type":"limit","trade_id":4665906,"timestamp":"2023-09-25T07:49:37.708706Z"}]}"#,
    ),
    sample(
        "kraken v2 ticker",
        Market::Kraken,
        r#"{"channel":"ticker","type":"update","data":[{"symbol":"ALGO/USD","bid":0.10025,"bid_qty":740.0,"ask":0.10036,"ask_qty":1361.44813783,"last":0.10035,"volume":997038.98383185}]}"#,
    ),
    sample(
        "kraken v2 book",
        Market::Kraken,
        r#"{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[{"price":45283.50,"qty":0.10000000}],"asks":[{"price":45285.2,"qty":0.00100000}],"checksum":3310070434,"timestamp":"2023-10-06T17:35:55.440295Z"}]}"#,
    ),
    sample(
        "okx trade",
        Market::Okx,
        r#"{"arg":{"channel":"trades","instId":"ZEN-USDT"},"data":[{"instId":"ZEN-USDT","tradeId":"15270483","px":"32.51","sz":"0.37568","side":"buy","ts":"1646003666197","count":"1","seqId":1234}]}"#,
    ),
    sample(
        "okx ticker",
        Market::Okx,
        r#"{"arg":{"channel":"tickers","instId":"FUN-BTC"},"data":[{"instType":"SPOT","instId":"FUN-BTC","last":"0.000000454","lastSz":"11.83","askPx":"0.000000455","askSz":"142796.14","bidPx":"0.000000452","bidSz":"141211.03","open24h":"0.000000445","ts":"1626995753163"}]}"#,
    ),
    sample(
        "okx bbo-tbt",
        Market::Okx,
        r#"{"arg":{"channel":"bbo-tbt","instId":"BTC-USDT"},"data":[{"asks":[["8476.98","415","0","13"]],"bids":[["8476.97","256","0","12"]],"ts":"1597026383085","seqId":123456}]}"#,
    ),
    sample(
        "okx books",
        Market::Okx,
        r#"{"arg":{"channel":"books-l2-tbt","instId":"UNI-USD-SWAP"},"action":"update","data":[{"asks":[["9.7","1","0","1"]],"bids":[["9.617","441","0","4"],["9.581","107","0","2"]],"ts":"1646003667640","checksum":-980833328,"seqId":15,"prevSeqId":10}]}"#,
    ),
    sample(
        "bybit trade",
        Market::BybitLinear,
        r#"{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":1786310819681,"data":[{"T":1786310819680,"s":"BTCUSDT","S":"Sell","v":"0.004","p":"65114.20","L":"MinusTick","i":"a9188a0a-82bc-50de-be60-03eedbe3cdd7","BT":false,"RPI":false,"seq":753843954913}]}"#,
    ),
    sample(
        "bybit ticker",
        Market::BybitLinear,
        r#"{"topic":"tickers.BTCUSDT","type":"delta","data":{"symbol":"BTCUSDT","bid1Price":"65114.20","bid1Size":"6.054","ask1Price":"65114.30","ask1Size":"10.486"},"cs":753843907770,"ts":1786310817883}"#,
    ),
    sample(
        "bybit orderbook.1",
        Market::BybitSpot,
        r#"{"topic":"orderbook.1.BTCUSDT","ts":1786310819681,"type":"snapshot","data":{"s":"BTCUSDT","b":[["65114.20","5.954"]],"a":[["65114.30","10.470"]],"u":7,"seq":9},"cts":1786310819679}"#,
    ),
    sample(
        "bybit orderbook",
        Market::BybitSpot,
        r#"{"topic":"orderbook.200.BTCUSDT","ts":1786310816618,"type":"delta","data":{"s":"BTCUSDT","b":[["65140.4","0.875077"]],"a":[["65154.6","0.09948"],["65154.7","0.123013"],["65239","0.155135"],["65239.1","0"]],"u":62505425,"seq":112488545865},"cts":1786310816585}"#,
    ),
];
