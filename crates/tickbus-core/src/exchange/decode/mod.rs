//! A file per venue: text of one frame in, trades, tops of book and book messages out.
//!
//! Each is one function `decode(frame, batch)`: it adds what the frame says to the batch, or names
//! the reason why the frame says nothing the bus carries, or the fault that makes it unreadable.

pub mod binance;
pub mod bybit;
pub mod coinbase;
pub mod kraken;
pub mod okx;

use super::json::Fault;

/// What a frame turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Its records are in the batch.
    Decoded,
    /// A healthy frame that carries none of them.
    Ignored(&'static str),
}

/// What decoding a frame comes to; an error means that the frame is malformed.
pub type Decoding = Result<Verdict, Fault>;
