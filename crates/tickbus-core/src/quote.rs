//! A top of book in one event: bid in `value`, ask and both sizes in `metadata`.
//!
//! ```text
//! metadata:  63          46 45          28 27    24 23               0
//!           [ ask_size 18 ][ bid_size 18 ][ decimals ][ spread, signed ]
//! ```
//!
//! **Prices are exact**: `spread` counts units of the last decimal either price was quoted with,
//! so the ask comes back as the same `f64` that parsing its text gives, as long as the prices have
//! at most 15 decimals and fewer than 2^53 such units, and lie within 2^23 units of each other.
//! A wider quote is refused by [`pack`] rather than rounded; its decoder counts it.
//! **Sizes are rounded** to 13 significant bits (relative error at most 2^-13, 0.012 %) within
//! 9.3e-10 .. 1.7e10; zero is exact. Whoever needs the exact size keeps the frame's text.

/// Sizes span 64 octaves starting at 2^-30.
const SIZE_MIN_EXPONENT: i32 = -30;
const SIZE_BITS: u32 = 18;
const SIZE_MANTISSA_BITS: u32 = 12;
const SIZE_MASK: u64 = (1 << SIZE_BITS) - 1;
const SPREAD_BITS: u32 = 24;
const SPREAD_LIMIT: i64 = 1 << (SPREAD_BITS - 1);
const MAX_DECIMALS: u32 = 15;
/// Beyond this a count of units has no exact `f64`.
const MAX_UNITS: f64 = 9_007_199_254_740_992.0;

const POWERS: [f64; 16] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
];

/// Best bid and ask with their sizes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quote {
    pub bid: f64,
    pub ask: f64,
    pub bid_size: f64,
    pub ask_size: f64,
}

/// Why a quote has no packed form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuoteError {
    /// A price is NaN, infinite, negative, or has more units than an `f64` counts exactly.
    Price,
    /// A size is NaN, infinite, negative or beyond the range of the packing.
    Size,
    /// Bid and ask are 2^23 or more units of their last decimal apart.
    Spread,
    /// More than 15 decimals, or a price has more than was said.
    Decimals,
}

/// `(value, metadata)` of the event; `decimals` is how many both prices were quoted with.
pub fn pack(quote: &Quote, decimals: u32) -> Result<(f64, u64), QuoteError> {
    if decimals > MAX_DECIMALS {
        return Err(QuoteError::Decimals);
    }
    let spread = units(quote.ask, decimals)? - units(quote.bid, decimals)?;
    if !(-SPREAD_LIMIT..SPREAD_LIMIT).contains(&spread) {
        return Err(QuoteError::Spread);
    }
    let metadata = pack_size(quote.ask_size)? << (SPREAD_BITS + 4 + SIZE_BITS)
        | pack_size(quote.bid_size)? << (SPREAD_BITS + 4)
        | u64::from(decimals) << SPREAD_BITS
        | (spread as u64 & ((1 << SPREAD_BITS) - 1));
    Ok((quote.bid, metadata))
}

/// The quote of an event's `value` and `metadata`. Every bit pattern unpacks to something.
pub fn unpack(value: f64, metadata: u64) -> Quote {
    let decimals = (metadata >> SPREAD_BITS & 15) as u32;
    // Shifting up and down again extends the sign.
    let spread = ((metadata as i64) << (64 - SPREAD_BITS)) >> (64 - SPREAD_BITS);
    let scale = POWERS[decimals as usize];
    Quote {
        bid: value,
        ask: ((value * scale).round() + spread as f64) / scale,
        bid_size: unpack_size(metadata >> (SPREAD_BITS + 4)),
        ask_size: unpack_size(metadata >> (SPREAD_BITS + 4 + SIZE_BITS)),
    }
}

fn units(price: f64, decimals: u32) -> Result<i64, QuoteError> {
    let scale = POWERS[decimals as usize];
    let units = (price * scale).round();
    // NaN is in no range.
    if !(0.0..MAX_UNITS).contains(&units) {
        return Err(QuoteError::Price);
    }
    // Both are exact, so the quotient is the double that the price's text parses to, or another.
    if units / scale != price {
        return Err(QuoteError::Decimals);
    }
    Ok(units as i64)
}

/// 6 bits of exponent above 12 of mantissa; all zero is zero.
fn pack_size(size: f64) -> Result<u64, QuoteError> {
    if size == 0.0 {
        return Ok(0);
    }
    if !(size > 0.0 && size.is_finite()) {
        return Err(QuoteError::Size);
    }
    // Adding half of the last kept bit rounds to nearest, carrying into the exponent as it should.
    let dropped = 52 - SIZE_MANTISSA_BITS;
    let rounded = size.to_bits() + (1 << (dropped - 1));
    let exponent = (rounded >> 52) as i32 - 1023 - SIZE_MIN_EXPONENT;
    let mantissa = rounded >> dropped & ((1 << SIZE_MANTISSA_BITS) - 1);
    if !(0..64).contains(&exponent) || (exponent == 0 && mantissa == 0) {
        return Err(QuoteError::Size);
    }
    Ok((exponent as u64) << SIZE_MANTISSA_BITS | mantissa)
}

fn unpack_size(bits: u64) -> f64 {
    let bits = bits & SIZE_MASK;
    if bits == 0 {
        return 0.0;
    }
    let exponent = (bits >> SIZE_MANTISSA_BITS) as i32 + SIZE_MIN_EXPONENT + 1023;
    let mantissa = bits & ((1 << SIZE_MANTISSA_BITS) - 1);
    f64::from_bits((exponent as u64) << 52 | mantissa << (52 - SIZE_MANTISSA_BITS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Parsing the text of both prices, packing and unpacking gives the very same doubles.
        #[test]
        fn prices_come_back_exactly(bid in 1u64..1 << 46, spread in -8_388_608i64..8_388_608,
                                    decimals in 0u32..=15) {
            let ask = bid as i64 + spread;
            prop_assume!(ask > 0);
            let parse = |units: u64| -> f64 { format!("{units}e-{decimals}").parse().unwrap() };
            let quote = Quote { bid: parse(bid), ask: parse(ask as u64), bid_size: 1.0, ask_size: 0.0 };
            let (value, metadata) = pack(&quote, decimals).unwrap();
            prop_assert_eq!(unpack(value, metadata), quote);
        }

        #[test]
        fn sizes_are_within_the_stated_error(size in 1e-9f64..1.6e10) {
            let quote = Quote { bid: 1.0, ask: 2.0, bid_size: size, ask_size: size };
            let (value, metadata) = pack(&quote, 0).unwrap();
            let back = unpack(value, metadata);
            prop_assert!((back.bid_size - size).abs() <= size / 8192.0);
            prop_assert_eq!(back.bid_size, back.ask_size);
        }

        #[test]
        fn no_bit_pattern_panics(value: f64, metadata: u64) {
            unpack(value, metadata);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let quote = |bid, ask, size| Quote { bid, ask, bid_size: size, ask_size: size };
        assert_eq!(pack(&quote(f64::NAN, 1.0, 1.0), 2), Err(QuoteError::Price));
        assert_eq!(pack(&quote(-1.0, 1.0, 1.0), 2), Err(QuoteError::Price));
        assert_eq!(pack(&quote(1e16, 1e16, 1.0), 0), Err(QuoteError::Price));
        assert_eq!(pack(&quote(1.0, 2.0, -1.0), 2), Err(QuoteError::Size));
        assert_eq!(pack(&quote(1.0, 2.0, 1e-12), 2), Err(QuoteError::Size));
        assert_eq!(pack(&quote(1.0, 2.0, f64::INFINITY), 2), Err(QuoteError::Size));
        assert_eq!(pack(&quote(1.0, 9e6, 1.0), 0), Err(QuoteError::Spread));
        assert_eq!(pack(&quote(1.0, 2.0, 1.0), 16), Err(QuoteError::Decimals));
    }
}
