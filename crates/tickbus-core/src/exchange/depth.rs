//! Order book messages as venues send them, before any book exists: levels exactly as written.

use std::ops::Range;

/// A decimal as it was written: `units / 10^scale`. Trailing zeros are kept, because venues compute
/// checksums from the text (`"0.0100"` is `{units: 100, scale: 4}`).
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
    /// First and last id of the changes told here, as far as the venue numbers them (Binance `U`
    /// and `u`; Bybit `u`; Coinbase Advanced `sequence_num`; a snapshot's `lastUpdateId`).
    pub first_id: Option<u64>,
    pub last_id: Option<u64>,
    /// Id of the message before, where the venue names it (Binance futures `pu`, OKX `prevSeqId`).
    pub previous_id: Option<u64>,
    /// The venue's checksum of the book after this message: unsigned for Kraken, signed for OKX.
    pub checksum: Option<i64>,
    /// Levels a side the subscription keeps (Kraken 10 to 1000, OKX 400, Bybit 1 to 1000), where the frame says so:
    /// a book cut to it is what the checksum is of.
    pub limit: Option<u32>,
    pub venue_time_ns: Option<u64>,
    pub bids: Range<u32>,
    pub asks: Range<u32>,
}
