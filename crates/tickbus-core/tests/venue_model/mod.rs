//! A venue that knows its own book: frames as each venue writes them, snapshots when asked, and what
//! the book was after every message.

use std::collections::BTreeMap;
use std::fmt::Write;
use tickbus_core::exchange::Market;

/// Kraken keeps so few levels here that its checksum covers them all.
pub const KRAKEN_LEVELS: usize = 10;
const SPREAD: u64 = 12;

pub type Levels = BTreeMap<u64, u64>;

/// A book as anybody may see it: sizes by ticks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct View {
    pub bids: Levels,
    pub asks: Levels,
}

/// One step of the market: where the middle goes, and what changes so many ticks from it.
#[derive(Debug, Clone)]
pub struct Move {
    pub mid: i64,
    pub changes: Vec<(bool, u64, u64)>,
}

pub struct Server {
    market: Market,
    mid: u64,
    full: View,
    id: u64,
    /// Number of the next frame on the connection.
    frame: u64,
    /// What was seen after each message, by its id.
    pub history: BTreeMap<u64, View>,
}

impl Server {
    pub fn new(market: Market) -> Server {
        let mut server = Server {
            market,
            mid: 10_000,
            full: View::default(),
            id: 1_000,
            frame: 0,
            history: BTreeMap::new(),
        };
        for away in 1..15 {
            server.full.bids.insert(server.mid - away, 5 + away);
            server.full.asks.insert(server.mid + away, 7 + away);
        }
        server.history.insert(server.id, server.view());
        server
    }

    pub fn view(&self) -> View {
        if self.market != Market::Kraken {
            return self.full.clone();
        }
        let levels = KRAKEN_LEVELS;
        let bids = self.full.bids.iter().rev().take(levels);
        let asks = self.full.asks.iter().take(levels);
        View { bids: own(bids), asks: own(asks) }
    }

    /// The book as it is now, as the venue answers.
    pub fn snapshot(&mut self) -> String {
        let view = self.view();
        self.tell(true, &view, &view, self.id, self.id)
    }

    /// The market moves: the frame that says so.
    pub fn update(&mut self, step: &Move) -> String {
        let before = self.view();
        self.mid = self.mid.saturating_add_signed(step.mid.clamp(-2, 2)).max(5_000);
        self.full.bids.retain(|ticks, _| *ticks < self.mid);
        self.full.asks.retain(|ticks, _| *ticks > self.mid);
        for &(is_bid, away, size) in &step.changes {
            let away = 1 + away % SPREAD;
            let (side, ticks) = match is_bid {
                true => (&mut self.full.bids, self.mid - away),
                false => (&mut self.full.asks, self.mid + away),
            };
            if size == 0 && side.len() > 3 {
                side.remove(&ticks)
            } else {
                side.insert(ticks, size + 1)
            };
        }
        let first = self.id + 1;
        let previous = self.id;
        self.id += if matches!(self.market, Market::BybitSpot) { 1 } else { 3 };
        let after = self.view();
        let gone = |old: &Levels, new: &Levels, full: &Levels| {
            let changed = new.iter().filter(|(ticks, size)| old.get(ticks) != Some(size));
            let mut told = own(changed);
            // What only fell out of sight is not taken away.
            told.extend(
                old.keys().filter(|ticks| !full.contains_key(ticks)).map(|&ticks| (ticks, 0)),
            );
            told
        };
        let changes = View {
            bids: gone(&before.bids, &after.bids, &self.full.bids),
            asks: gone(&before.asks, &after.asks, &self.full.asks),
        };
        self.history.insert(self.id, after.clone());
        self.tell(false, &changes, &after, first, previous)
    }

    fn tell(
        &mut self,
        is_snapshot: bool,
        told: &View,
        after: &View,
        first: u64,
        previous: u64,
    ) -> String {
        let id = self.id;
        self.frame += 1;
        let kind = if is_snapshot { "snapshot" } else { "update" };
        let (bids, asks) = (rows(&told.bids), rows(&told.asks));
        match self.market {
            Market::BinanceSpot | Market::BinanceUsdM if is_snapshot => {
                format!(r#"{{"lastUpdateId":{id},"bids":[{bids}],"asks":[{asks}]}}"#)
            }
            Market::BinanceSpot => format!(
                r#"{{"e":"depthUpdate","E":{id},"s":"BTCUSDT","U":{first},"u":{id},"b":[{bids}],"a":[{asks}]}}"#
            ),
            Market::BinanceUsdM => format!(
                r#"{{"e":"depthUpdate","E":{id},"T":{id},"s":"BTCUSDT","U":{first},"u":{id},"pu":{previous},"b":[{bids}],"a":[{asks}]}}"#
            ),
            Market::Kraken => {
                let (bids, asks) = (objects(&told.bids), objects(&told.asks));
                let checksum = checksum(after);
                format!(
                    r#"{{"channel":"book","type":"{kind}","data":[{{"symbol":"BTC/USD","bids":[{bids}],"asks":[{asks}],"checksum":{checksum},"timestamp":"2026-01-01T00:00:00.{id:06}Z"}}]}}"#
                )
            }
            Market::Okx => {
                let previous = if is_snapshot { "-1".to_owned() } else { previous.to_string() };
                format!(
                    r#"{{"arg":{{"channel":"books","instId":"BTC-USDT"}},"action":"{kind}","data":[{{"bids":[{bids}],"asks":[{asks}],"ts":"{id}","checksum":0,"seqId":{id},"prevSeqId":{previous}}}]}}"#
                )
            }
            Market::BybitSpot => {
                let kind = if is_snapshot { "snapshot" } else { "delta" };
                format!(
                    r#"{{"topic":"orderbook.50.BTCUSDT","type":"{kind}","ts":{id},"data":{{"s":"BTCUSDT","b":[{bids}],"a":[{asks}],"u":{id},"seq":{id}}}}}"#
                )
            }
            Market::Coinbase => {
                let mut updates = Vec::new();
                for (side, levels) in [("bid", &told.bids), ("offer", &told.asks)] {
                    for (ticks, size) in levels {
                        updates.push(format!(
                            r#"{{"side":"{side}","event_time":"2026-01-01T00:00:00Z","price_level":"{ticks}","new_quantity":"{size}"}}"#
                        ));
                    }
                }
                let (updates, frame) = (updates.join(","), self.frame);
                format!(
                    r#"{{"channel":"l2_data","timestamp":"2026-01-01T00:00:00Z","sequence_num":{frame},"events":[{{"type":"{kind}","product_id":"BTC-USD","updates":[{updates}]}}]}}"#
                )
            }
            other => panic!("no frames of {other:?}"),
        }
    }
}

fn own<'a>(levels: impl Iterator<Item = (&'a u64, &'a u64)>) -> Levels {
    levels.map(|(ticks, size)| (*ticks, *size)).collect()
}

fn rows(levels: &Levels) -> String {
    let rows: Vec<String> =
        levels.iter().map(|(ticks, size)| format!(r#"["{ticks}","{size}"]"#)).collect();
    rows.join(",")
}

fn objects(levels: &Levels) -> String {
    let of = |(ticks, size): (&u64, &u64)| format!(r#"{{"price":{ticks},"qty":{size}}}"#);
    levels.iter().map(of).collect::<Vec<_>>().join(",")
}

fn checksum(view: &View) -> u32 {
    let mut text = String::new();
    let best = view.asks.iter().take(10).chain(view.bids.iter().rev().take(10));
    for (ticks, size) in best {
        write!(text, "{ticks}{size}").expect("a string takes it");
    }
    crc32fast::hash(text.as_bytes())
}
