//! Order book messages as venues send them, before any book exists: levels exactly as written.

use std::ops::Range;

/// Most decimals a number may have here; coins have up to 18.
pub const SCALE_MAX: u8 = 32;

/// A decimal as it was written: `units / 10^scale`. Trailing zeros are kept, because venues compute
/// checksums from the text (`"0.0100"` is `{units: 100, scale: 4}`). `scale` is at most [`SCALE_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Exact {
    pub units: u64,
    pub scale: u8,
}

/// One price and what stands there now; a size of zero takes the level away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DepthLevel {
    pub price: Exact,
    pub size: Exact,
}

/// Whether the levels are the whole book or what changed in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DepthKind {
    Snapshot,
    Update,
}

/// One order book message of one instrument. Its levels lie in the batch's shared vector, so that a
/// warm decoder allocates nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Depth {
    /// Number of the instrument among the decoder's symbols.
    pub instrument: u32,
    pub kind: DepthKind,
    /// First and last id of the changes told here, as far as the venue numbers them per instrument:
    /// Binance `U` and `u`, a snapshot's `lastUpdateId`, OKX `seqId`, Bybit `u`. (What numbers the
    /// frames of a whole connection is the frame's: Coinbase Advanced `sequence_num`.)
    pub first_id: Option<u64>,
    pub last_id: Option<u64>,
    /// Id of the message before, where the venue names it (Binance futures `pu`, OKX `prevSeqId`).
    pub previous_id: Option<u64>,
    /// What orders this message among the venue's other channels of the instrument: Bybit `seq`.
    pub sequence: Option<u64>,
    /// The venue's checksum of the book after this message: unsigned for Kraken, signed for OKX
    /// (whose 0 means that it sends none, and is `None` here).
    pub checksum: Option<i64>,
    /// Levels a side the subscription keeps (Binance 5 to 20, Kraken 10 to 1000, OKX 5 to 400, Bybit
    /// 50 to 1000), where a frame says so: a book has to be cut to it, which no message asks for.
    /// Also tells two books of one instrument on one connection apart.
    pub limit: Option<u32>,
    pub venue_time_ns: Option<u64>,
    pub bids: Range<u32>,
    pub asks: Range<u32>,
}

impl Depth {
    /// A message without ids, times and levels yet.
    pub fn new(instrument: u32, kind: DepthKind) -> Depth {
        Depth {
            instrument,
            kind,
            first_id: None,
            last_id: None,
            previous_id: None,
            sequence: None,
            checksum: None,
            limit: None,
            venue_time_ns: None,
            bids: 0..0,
            asks: 0..0,
        }
    }
}
