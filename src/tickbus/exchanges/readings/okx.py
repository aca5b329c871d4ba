"""
OKX v5.

Trades are told by `tradeId`, which jumps where fills were aggregated; books by `seqId`, each naming the
one before (`prevSeqId`), with jumps as well. Recordings from before 2023 have books without either.
"""

from __future__ import annotations

import re
from typing import Any

from tickbus.exchanges.readings import UNKNOWN, Kind, Part, Reading, Sequence

#: Frames that are no JSON.
TEXTS = {b"pong": Reading(Kind.PONG)}

#: An error says in words alone which stream it is about.
_NAMED = re.compile(r"channel:([\w-]+),\s*instId:([\w-]+)")

#: The best bid and ask: each message a whole quote.
QUOTES = ("bbo-tbt",)


def read(message: Any) -> Reading:
    """Read one parsed frame."""
    arg = message.get("arg", {})
    stream = Part(arg.get("channel", ""), arg.get("instId") or arg.get("instType", ""))
    event = message.get("event")
    if event in ("subscribe", "unsubscribe"):
        return Reading(Kind.ACK, (stream,), text=event)
    if event == "error":
        text = f"{message.get('code', '')}: {message.get('msg', '')}"
        named = _NAMED.search(text)
        return Reading(Kind.REFUSAL, (Part(named[1], named[2]),) if named else (), text=text)
    if event == "notice":
        return Reading(Kind.NOTICE, text=str(message.get("msg", "notice")))
    if event is not None:
        return Reading(Kind.STATUS, text=str(event))
    if "data" not in message:
        return UNKNOWN
    return Reading(Kind.DATA, (_part(stream, message["data"], message.get("action", "")),))


def _part(stream: Part, rows: list[Any], action: str) -> Part:
    if stream.channel in ("trades", "trades-all"):
        return stream._replace(ids=tuple(_id(row["tradeId"]) for row in rows))
    if stream.channel in QUOTES:
        return stream._replace(ids=tuple(row.get("seqId") for row in rows))
    if stream.channel == "tickers":
        return stream._replace(ids=(None,) * len(rows))
    if stream.channel.startswith("books") and rows and "seqId" in rows[-1]:
        first, last = rows[0], rows[-1]
        previous = first.get("prevSeqId", -1)
        restarts = action == "snapshot" or previous == -1
        sequence = Sequence(last["seqId"], last["seqId"], previous, restarts)
        return stream._replace(sequence=sequence, is_snapshot=restarts)
    return stream._replace(is_snapshot=action == "snapshot")


def _id(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdigit() else text
