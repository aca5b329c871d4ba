"""
What kind of capture a file is, and whose frames are in it, from its first lines.

Formats are told by their first line. Venue and market are told by what the recording says of itself
(its header, or the address it was connected to), then by the look of the frames, then by the file's
path; an argument of the caller overrides them all. Venues without a decoder are told by name all the
same, so that their frames can be read as they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

TSJSON, TEXT, JSONL = "tsjson", "rec.txt", "rec.jsonl"

#: Lines looked at to find the venue.
LINES_PROBED = 200

_TSJSON_LINE = re.compile(rb"\d{16,20} \s*[\[{]")
_TEXT_LINE = re.compile(rb"configuration: |\S+ <-> \d|\S+ (?:<-|->) \d+(?:\.\d+)?: |\d{1,12}(?:\.\d+)?: ")

#: By host of the address, most specific first.
_HOSTS = (
    (re.compile(rb"wss?://dstream\.binance\.com"), ("binance", "coinm")),
    (re.compile(rb"wss?://fstream\.binance\.com"), ("binance", "usdm")),
    (re.compile(rb"wss?://stream\.binance\.us"), ("binance", "spot-us")),
    (re.compile(rb"wss?://(?:data-)?stream\.binance\.(?:com|vision)"), ("binance", "spot")),
    (re.compile(rb"wss?://[\w.-]*coinbase\.com"), ("coinbase", "spot")),
    (re.compile(rb"wss?://(?:beta-)?ws\.kraken\.com"), ("kraken", "spot")),
    (re.compile(rb"wss?://\w+\.ok(?:e?x)\.com"), ("okx", "spot")),
    (re.compile(rb"wss?://stream[\w-]*\.by(?:bit|tick)\.\w+/v5/public/spot"), ("bybit", "spot")),
    (re.compile(rb"wss?://stream[\w-]*\.by(?:bit|tick)\.\w+/v5/public/linear"), ("bybit", "linear")),
    (re.compile(rb"wss?://stream[\w-]*\.by(?:bit|tick)\.\w+/v5/public/inverse"), ("bybit", "inverse")),
)
#: A venue without a decoder is called by its host's second level: `wss://www.bitmex.com` is bitmex.
_HOST_NAME = re.compile(rb"wss?://(?:[\w-]+\.)*?([\w-]+)\.\w+(?:[:/]|$)")
#: By a JSON-lines recorder's name for the exchange.
_RECORDED_AS = {
    "BINANCE": ("binance", "spot"),
    "BINANCE_US": ("binance", "spot-us"),
    "BINANCE_FUTURES": ("binance", "usdm"),
    "BINANCE_DELIVERY": ("binance", "coinm"),
    "COINBASE": ("coinbase", "spot"),
    "KRAKEN": ("kraken", "spot"),
    "OKX": ("okx", "spot"),
    "OKEX": ("okx", "spot"),
    "BYBIT": ("bybit", "linear"),
}
#: Venues whose markets have an address each, while their recordings hold connections to several.
TOLD_BY_ADDRESS = frozenset({"bybit"})
#: By the look of a frame. Escaped quotes stand in a JSON-lines record.
_LOOKS = (
    (re.compile(rb'"stream":"[a-z0-9]+_(?:perp|\d{6})@|"s":"[A-Z0-9]+_PERP"'), ("binance", "coinm")),
    (re.compile(rb'"stream":"[^"]+@.*(?:"pu":|"X":|"e":"bookTicker")'), ("binance", "usdm")),
    (re.compile(rb'"stream":"[^"]+@.*(?:"M":|"data":\{"u":\d+,"s":)'), ("binance", "spot")),
    (re.compile(rb'"channel":"\w+".*"sequence_num":|"type":"\w+".*"product_id":'), ("coinbase", "spot")),
    (re.compile(rb'"event":"(?:heartbeat|systemStatus)"'), ("kraken", "spot")),
    (re.compile(rb'"channel":"\w+".*"symbol":"[A-Z0-9]+/[A-Z0-9]+"'), ("kraken", "spot")),
    (re.compile(rb'"channel":"[\w-]+","instId":"'), ("okx", "spot")),
    (re.compile(rb'"topic":"(?:publicTrade|orderbook|tickers)\.[^"]+","ts":'), ("bybit", "spot")),
    (
        re.compile(rb'"topic":"(?:publicTrade|orderbook|tickers)\.\w+USD(?:[FGHJKMNQUVXZ]\d\d)?","type":'),
        ("bybit", "inverse"),
    ),
    (re.compile(rb'"topic":"(?:publicTrade|orderbook|tickers)\.[^"]+","type":'), ("bybit", "linear")),
)
_PATHS = (
    (re.compile(r"binance_us"), ("binance", "spot-us")),
    (re.compile(r"binance.*(?:usdm|fapi)"), ("binance", "usdm")),
    (re.compile(r"binance.*(?:coinm|dapi)"), ("binance", "coinm")),
    (re.compile(r"binance"), ("binance", "spot")),
    (re.compile(r"coinbase"), ("coinbase", "spot")),
    (re.compile(r"kraken(?!.?futures)"), ("kraken", "spot")),
    (re.compile(r"okx|okex"), ("okx", "spot")),
    (re.compile(r"bybit.*linear"), ("bybit", "linear")),
    (re.compile(r"bybit.*inverse"), ("bybit", "inverse")),
    (re.compile(r"bybit"), ("bybit", "spot")),
)


def format_of(line: bytes) -> str | None:
    """The format whose first line *line* may be, or None."""
    if line.startswith(b'{"') and isinstance(record := _record(line), dict) and "t" in record:
        return JSONL
    if _TSJSON_LINE.match(line):
        return TSJSON
    if _TEXT_LINE.match(line):
        return TEXT
    return None


def market_of(path: str, format: str, lines: Iterable[bytes]) -> tuple[str, str]:
    """
    (venue, market) of a capture that begins with *lines*.

    Of a venue without a decoder the market is empty, and so is the venue where nothing names it.
    """
    look: tuple[str, str] | None = None
    for line in lines:
        if format == JSONL and isinstance(record := _record(line), dict) and record.get("t") == "header":
            if record.get("venue") and record.get("market"):
                # Our own recorder says it in our words.
                return str(record["venue"]), str(record["market"])
            exchange = str(record.get("exchange"))
            return _RECORDED_AS.get(exchange) or (exchange.lower(), "")
        if format == TEXT and (address := re.match(rb"(wss?://\S+) (?:<->|<-) ", line)):
            return of_address(address[1])
        if look is None:
            look = next((market for pattern, market in _LOOKS if pattern.search(line)), None)
    if look is not None:
        return look
    in_path = next((market for pattern, market in _PATHS if pattern.search(path.lower())), None)
    return in_path or ("", "")


def of_address(address: bytes) -> tuple[str, str]:
    """(venue, market) of the address of a connection; as `market_of`."""
    for host, market in _HOSTS:
        if host.match(address):
            return market
    if b"futures.kraken.com" in address:
        return "kraken_futures", ""
    named = _HOST_NAME.match(address)
    return (named[1].decode(errors="replace") if named else "", "")


#: A Binance stream of one instrument.
_STREAM = re.compile(rb'"stream":"([^"@!]+)@')


def only_instrument(lines: Iterable[bytes]) -> str | None:
    """The venue's name of the instrument, if all Binance streams in *lines* are of one."""
    streams = {stream[1] for line in lines if (stream := _STREAM.search(line))}
    return streams.pop().decode(errors="replace").upper() if len(streams) == 1 else None


def _record(line: bytes) -> object:
    try:
        return json.loads(line)
    except ValueError:
        return None
