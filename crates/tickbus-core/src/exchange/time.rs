//! The ways venues write a moment, as nanoseconds since the Unix epoch, UTC, without a float.

use super::json::{Fault, Raw, tag};
use super::number::{digits, integer};

pub const BAD_TIME: Fault = "bad_time";

const NS_PER_S: u64 = 1_000_000_000;
/// An epoch number below this counts milliseconds (up to the year 5138), above it microseconds
/// (from 1973): Binance sends either, by an option of the connection that no frame shows.
const MILLISECONDS_BELOW: u64 = 100_000_000_000_000;

/// Milliseconds or microseconds since the epoch.
pub fn epoch(raw: Raw) -> Result<u64, Fault> {
    let time = integer(raw).map_err(|_| BAD_TIME)?;
    let unit_ns = if time < MILLISECONDS_BELOW { 1_000_000 } else { 1_000 };
    time.checked_mul(unit_ns).ok_or(BAD_TIME)
}

/// Seconds since the epoch with a fraction, as text.
pub fn seconds(raw: Raw) -> Result<u64, Fault> {
    let text = tag(raw);
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    join(digits(whole.as_bytes()).map_err(|_| BAD_TIME)?, fraction)
}

/// RFC 3339 in UTC: `2026-08-09T21:05:48.167634Z`, any number of decimals.
pub fn rfc3339(raw: Raw) -> Result<u64, Fault> {
    let text = tag(raw);
    let text = text.strip_suffix('Z').or(text.strip_suffix("+00:00")).ok_or(BAD_TIME)?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let bytes = whole.as_bytes();
    let at_marks = [
        bytes.get(4),
        bytes.get(7),
        bytes.get(10),
        bytes.get(13),
        bytes.get(16),
    ];
    if whole.len() != 19
        || !whole.is_ascii()
        || at_marks != [b'-', b'-', b'T', b':', b':'].each_ref().map(Some)
    {
        return Err(BAD_TIME);
    }
    let part = |from: usize, to: usize| digits(&bytes[from..to]).map_err(|_| BAD_TIME);
    let (year, month, day) = (part(0, 4)?, part(5, 7)?, part(8, 10)?);
    let (hour, minute, second) = (part(11, 13)?, part(14, 16)?, part(17, 19)?);
    // 60: a leap second runs into the next minute, as in Unix time.
    if !(1970..=2261).contains(&year)
        || !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return Err(BAD_TIME);
    }
    join((days(year, month, day) * 24 + hour) * 3600 + minute * 60 + second, fraction)
}

/// Days since 1970-01-01 (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Whole seconds and the digits of their fraction; beyond nanoseconds they are cut.
fn join(seconds: u64, fraction: &str) -> Result<u64, Fault> {
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BAD_TIME);
    }
    let kept = &fraction.as_bytes()[..fraction.len().min(9)];
    let ns =
        (0..9).fold(0, |ns, i| ns * 10 + kept.get(i).map_or(0, |digit| u64::from(digit - b'0')));
    seconds
        .checked_mul(NS_PER_S)
        .and_then(|whole| whole.checked_add(ns))
        .ok_or(BAD_TIME)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ns(parse: fn(Raw) -> Result<u64, Fault>, text: &str) -> Result<u64, Fault> {
        super::super::json::tests::of(text, parse)
    }

    #[test]
    fn every_way_of_writing_a_moment() {
        assert_eq!(ns(epoch, "1723161255343"), Ok(1_723_161_255_343_000_000));
        assert_eq!(ns(epoch, "1723161255343123"), Ok(1_723_161_255_343_123_000));
        assert_eq!(ns(seconds, "\"1617666461.465618\""), Ok(1_617_666_461_465_618_000));
        assert_eq!(ns(rfc3339, "\"1970-01-01T00:00:00Z\""), Ok(0));
        assert_eq!(
            ns(rfc3339, "\"2026-08-09T21:05:48.228568804Z\""),
            Ok(1_786_309_548_228_568_804)
        );
        assert_eq!(ns(rfc3339, "\"2024-02-29T23:59:60.5+00:00\""), Ok(1_709_251_200_500_000_000));
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "\"\"",
            "\"Z\"",
            "1",
            "null",
            "\"2024-13-01T00:00:00Z\"",
            "\"2024-01-01 00:00:00Z\"",
            "\"2024-01-01T00:00:00\"",
            "\"2024-01-01T00:00:00.xZ\"",
            "\"2024-01-01T00:00:0éZ\"",
            "\"9999-01-01T00:00:00Z\"",
            "\"+024-01-01T00:00:00Z\"",
        ] {
            assert_eq!(ns(rfc3339, text), Err(BAD_TIME), "{text}");
        }
        assert_eq!(ns(epoch, "18446744073709551615"), Err(BAD_TIME));
        assert_eq!(ns(epoch, "-5"), Err(BAD_TIME));
        assert_eq!(ns(seconds, "\"99999999999999\""), Err(BAD_TIME));
        assert_eq!(ns(seconds, "\"1.5e3\""), Err(BAD_TIME));
    }

    proptest! {
        /// A day has 86,400 seconds, every month and leap year included.
        #[test]
        fn days_follow_each_other(year in 1970u64..2200, month in 1u64..=12) {
            let (next_year, next_month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
            let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month { 2 => 28 + u64::from(is_leap), 4 | 6 | 9 | 11 => 30, _ => 31 };
            prop_assert_eq!(days(next_year, next_month, 1) - days(year, month, 1), length);
        }
    }
}
