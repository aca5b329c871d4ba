"""Times as callers say them, in nanoseconds since the Unix epoch, exactly."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from tickbus.errors import QueryError

__all__ = ["DAY_NS", "Time", "check_range", "to_ns", "to_text"]

#: Nanoseconds, an aware datetime, or ISO 8601 text with its offset.
Time = int | datetime | str

DAY_NS = 86_400 * 10**9
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LIMIT = 1 << 64
#: datetime ends at microseconds; a log does not.
_FRACTION = re.compile(r"\.(\d{1,9})(?!\d)")


def to_ns(time: Time | None, what: str) -> int | None:
    """
    *time* in nanoseconds since the epoch, UTC; None stays None.

    Args:
        what: Name of the argument, for the message.
    Raises:
        QueryError: It has no time zone, is no time, or lies before 1970 or after 2554.
    """
    if time is None:
        return None
    if isinstance(time, str):
        ns = _of_text(time, what)
    elif isinstance(time, datetime):
        ns = _of_datetime(time, what)
    elif type(time) in (bool, float) or not hasattr(time, "__index__"):
        raise QueryError(f"{what}={time!r} is no time; give nanoseconds, an aware datetime or ISO 8601 text")
    else:
        ns = int(time)
    if not 0 <= ns < _LIMIT:
        raise QueryError(f"{what}={time!r} lies outside the years 1970 to 2554")
    return ns


def _of_datetime(time: datetime, what: str) -> int:
    if time.utcoffset() is None:
        raise QueryError(f"{what}={time!r} has no time zone; say which, for example tzinfo=datetime.UTC")
    return (time - _EPOCH) // timedelta(microseconds=1) * 1000


def _of_text(text: str, what: str) -> int:
    if text.isdecimal():
        return int(text)
    fraction = _FRACTION.search(text)
    whole = _FRACTION.sub("", text, count=1) if fraction else text
    try:
        time = datetime.fromisoformat(whole)
    except ValueError:
        raise QueryError(
            f"{what}={text!r} is no time; give nanoseconds or ISO 8601, like 2026-08-09T12:00:00Z"
        ) from None
    if time.utcoffset() is None:
        raise QueryError(f"{what}={text!r} has no time zone; end it with Z or an offset like +02:00")
    return _of_datetime(time, what) + (int(fraction[1].ljust(9, "0")) if fraction else 0)


def check_range(start_ns: int | None, end_ns: int | None) -> None:
    """
    Refuse a range that ends before it starts.

    Raises:
        QueryError: It does.
    """
    if start_ns is not None and end_ns is not None and start_ns > end_ns:
        raise QueryError(f"start {to_text(start_ns)} is after end {to_text(end_ns)}")


def to_text(ns: int) -> str:
    """ISO 8601 with nanoseconds, UTC."""
    seconds, rest = divmod(int(ns), 10**9)
    return f"{_EPOCH + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S}.{rest:09}Z"
