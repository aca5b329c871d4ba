"""
A sink into QuestDB: `open_sink("questdb", "http::addr=127.0.0.1:9000;")`, the target as its client has it.

The table `tickbus_events` has the columns of `events` and `log`, with timestamps to the nanosecond (QuestDB
9.1 or later), a partition a day, and `ts`, `log`, `lane`, `sequence` as the key by which QuestDB drops
what it already has. A write has returned when it is in QuestDB's own log, which is synced as the server
is configured (``cairo.commit.mode``; by default not at all), and can be queried a moment later.

QuestDB has no unsigned numbers, and a null that is the least number: `metadata` is there as signed 64 bits,
and null where it is 2**63, the bits of -0.0.
"""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.parse
import urllib.request
from types import ModuleType
from typing import Any

from tickbus.errors import MissingExtraError, QueryError, StoreError
from tickbus.store import _extras

__all__ = ["QuestDbSink"]

_TABLE = """
create table if not exists tickbus_events (
    log symbol, ts timestamp_ns, event_type int, type symbol, priority int, source symbol, symbol symbol,
    value double, metadata long, lane int, sequence long, price double, quantity double, side int,
    bid double, ask double, bid_size double, ask_size double
) timestamp(ts) partition by day wal dedup upsert keys(ts, log, lane, sequence)
"""
_SYMBOLS = ["log", "type", "source", "symbol"]
_TIMEOUT_S = 60.0


class QuestDbSink:
    """
    The sink.

    Args:
        target: The client's configuration, ``http::addr=HOST:PORT;`` or ``https::...``, with ``username``
            and ``password``, or ``token``, where the server wants them.
    Raises:
        MissingExtraError: The client is not installed.
        QueryError: The target is no such text.
        StoreError: The server does not answer, or refuses the table.
    """

    def __init__(self, target: str) -> None:
        client = _client()
        _extras.pandas()
        self._address, self._headers = _endpoint(target)
        self._errors: type[Exception] = client.QuestDBError
        self.query(_TABLE)
        self._sender: Any = client.Sender.from_conf(f"{target.rstrip(';')};auto_flush=off;")
        self._sender.establish()

    def last(self, log_id: bytes) -> dict[int, int]:
        """See `Sink`. What was written a moment ago may be missing; written again it is dropped."""
        of_log = f"from tickbus_events where log = '{log_id.hex()}'"
        return {int(lane): int(most) for lane, most in self.query(f"select lane, max(sequence) {of_log}")}

    def write(self, batch: Any) -> None:
        """See `Sink`. One transaction: all rows or none."""
        pa = _extras.pyarrow()
        signed = pa.array(batch.column("metadata").to_numpy().view("int64"))
        place = batch.schema.get_field_index("metadata")
        frame = batch.set_column(place, "metadata", signed).to_pandas()
        frame["sequence"] = frame["sequence"].astype("int64")
        frame["side"] = frame["side"].astype("Int64")
        try:
            self._sender.dataframe(frame, table_name="tickbus_events", symbols=_SYMBOLS, at="ts")
            self._sender.flush(transactional=True)
        except self._errors as error:
            raise StoreError(f"QuestDB: {error}") from error

    def query(self, sql: str) -> list[list[Any]]:
        """Rows of a query, for looking at what is stored."""
        address = f"{self._address}/exec?{urllib.parse.urlencode({'query': sql})}"
        request = urllib.request.Request(address, headers=self._headers)
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
                return list(json.load(answer).get("dataset", []))
        except urllib.error.HTTPError as error:
            raise StoreError(f"QuestDB: {error.read().decode(errors='replace')}") from error
        except (OSError, ValueError) as error:
            raise StoreError(f"QuestDB at {self._address} does not answer: {error}") from error

    def close(self) -> None:
        """See `Sink`."""
        self._sender.close(False)


def _endpoint(target: str) -> tuple[str, dict[str, str]]:
    """Address and headers of the server's queries, from the client's configuration."""
    scheme, separator, rest = target.partition("::")
    settings = dict(part.split("=", 1) for part in rest.split(";") if "=" in part)
    if scheme not in ("http", "https") or not separator or "addr" not in settings:
        raise QueryError(f"{target!r} is no target of QuestDB, like http::addr=127.0.0.1:9000;")
    headers = {}
    if "token" in settings:
        headers["Authorization"] = f"Bearer {settings['token']}"
    elif "username" in settings:
        pair = f"{settings['username']}:{settings.get('password', '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    return f"{scheme}://{settings['addr']}", headers


def _client() -> ModuleType:
    try:
        import questdb
    except ModuleNotFoundError as error:
        raise MissingExtraError("the sink questdb (questdb)", "questdb") from error
    # Without the package it has no type here; with it, it has.
    client: ModuleType = questdb
    return client
