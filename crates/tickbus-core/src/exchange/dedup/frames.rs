//! What identifies the messages of a frame, by what the venue says in it.
//!
//! | message | identity within its instrument and channel |
//! |---|---|
//! | trade | trade id |
//! | top of book | the venue's number, else its time |
//! | book message with ids | first or previous id, and last id |
//! | book message without ids | time and checksum |
//! | book message that changes nothing | time: it repeats the id of the one before |
//!
//! What has none of these passes always: counted as `unidentified`, never compared by content.

use super::Dedup;
use crate::exchange::batch::Record;
use crate::exchange::depth::{Depth, DepthKind};
use crate::exchange::{Decoder, Market, Outcome};
use crate::taxonomy::PRICE_UPDATE;
use std::collections::HashMap;

/// Channels of an instrument that number their messages apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Channel {
    Trades,
    Tops,
    TimedTops,
    Changes(Option<u32>),
    Snapshots(Option<u32>),
    TimedBook(Option<u32>),
    Idle(Option<u32>),
}

/// Whose messages a stream's are; nobody's but its user's where that has named it.
type Place = Option<(Market, Channel)>;

/// Streams by name: several decoders of one venue number their instruments apart.
#[derive(Debug, Default)]
pub struct Streams {
    by_name: HashMap<Box<str>, Vec<(Place, u32)>>,
    next: u32,
    unidentified: u64,
}

impl Streams {
    /// Number of a stream that its user named.
    pub fn named(&mut self, name: &str) -> u32 {
        self.number(name, None)
    }

    /// Messages that nothing identified.
    pub fn unidentified(&self) -> u64 {
        self.unidentified
    }

    /// Whether anything in the frame that `decoder` read last is there for the first time. A frame
    /// without market data (a reply, a heartbeat) always is: it is about its own connection.
    pub fn is_first(
        &mut self,
        dedup: &mut Dedup,
        decoder: &Decoder,
        outcome: Outcome,
        now_ns: u64,
    ) -> bool {
        if !matches!(outcome, Outcome::Events(_) | Outcome::Books(_)) {
            return true;
        }
        let market = decoder.market();
        let mut is_first = false;
        let items = decoder.records().iter().map(|record| (record.instrument, of_event(record)));
        let books = decoder.depths().iter().map(|depth| (depth.instrument, of_book(depth)));
        for (instrument, identity) in items.chain(books) {
            let Some((channel, id)) = identity else {
                self.unidentified += 1;
                is_first = true;
                continue;
            };
            let symbol = decoder.symbol(instrument).unwrap_or_default();
            let stream = self.number(symbol, Some((market, channel)));
            // Each is noted, also behind one that is new.
            is_first |= dedup.is_first(stream, id, now_ns);
        }
        is_first
    }

    fn number(&mut self, name: &str, channel: Place) -> u32 {
        if let Some(known) = self.by_name.get(name)
            && let Some((_, number)) = known.iter().find(|(known, _)| *known == channel)
        {
            return *number;
        }
        self.next += 1;
        self.by_name.entry(name.into()).or_default().push((channel, self.next));
        self.next
    }
}

fn of_event(record: &Record) -> Option<(Channel, u128)> {
    if record.event_type == PRICE_UPDATE {
        return record.trade_id.map(|id| (Channel::Trades, id));
    }
    let by_number = record.sequence.map(|number| (Channel::Tops, u128::from(number)));
    by_number.or(record.venue_time_ns.map(|time| (Channel::TimedTops, u128::from(time))))
}

fn of_book(depth: &Depth) -> Option<(Channel, u128)> {
    let (channel, before) = match depth.kind {
        DepthKind::Snapshot => (Channel::Snapshots(depth.limit), 0),
        DepthKind::Update => {
            (Channel::Changes(depth.limit), depth.previous_id.or(depth.first_id).unwrap_or(0))
        }
    };
    let is_idle = depth.kind == DepthKind::Update && depth.bids.is_empty() && depth.asks.is_empty();
    match (depth.last_id, depth.venue_time_ns, depth.checksum) {
        (last, Some(time), checksum) if is_idle => {
            let state = last.unwrap_or(0) ^ checksum.unwrap_or(0) as u64;
            Some((Channel::Idle(depth.limit), u128::from(time) << 64 | u128::from(state)))
        }
        _ if is_idle => None,
        (Some(last), ..) => Some((channel, u128::from(before) << 64 | u128::from(last))),
        (None, Some(time), Some(checksum)) => {
            // A checksum has 32 bits, signed or not.
            let kind = u128::from(depth.kind == DepthKind::Snapshot) << 32;
            let sum = u128::from(checksum as u32);
            Some((Channel::TimedBook(depth.limit), u128::from(time) << 64 | kind | sum))
        }
        _ => None,
    }
}
