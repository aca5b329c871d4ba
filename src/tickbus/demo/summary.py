"""
What happened, as text: who reacted, how fast, and that every event is accounted for.

Written from the same document that `--json` prints.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tickbus.demo import report
from tickbus.demo.latency import text as duration

LANES = ("critical", "high", "normal")

MEASURED = """\
Latency: from the event's timestamp (frame in hand, or published by a strategy)
to the first line of the handler, by the system clock. 'inline' runs in the
feed's own process and includes decoding the frame; 'spin' burns a core, and is
left to one reader of a machine that has idle ones; 'adaptive' sleeps, and
waking up is most of what it costs."""


def readers(document: report.Document) -> Iterator[dict[str, Any]]:
    """Everyone who reads: the inline handler first, then the subscriptions, with totals over lanes."""
    feed = document["feed"]
    inline = {key: feed["inline"][key] for key in ("published", "delivered", "filtered")}
    yield {
        "name": "tripwire",
        "wait": "inline",
        "latency_ns": feed["latency_ns"],
        "totals": {**inline, "missed": 0, "pending": 0},
        "ok": inline["published"] == inline["delivered"] + inline["filtered"],
    }
    for reader in document["readers"]:
        yield {**reader, "totals": report.totals(reader["ledger"]), "ok": report.adds_up(reader["ledger"])}


def table(rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns; the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = (
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
    return "\n".join(f"  {line.rstrip()}" for line in lines)


def latency_rows(document: report.Document) -> list[list[str]]:
    """A header, then reader and lane with count and percentiles."""
    rows = [["reader", "waits", "lane", "events", "p50", "p99", "p99.9", "max"]]
    for reader in readers(document):
        for lane in LANES:
            if figures := reader["latency_ns"].get(lane):
                times = [duration(figures[name]) for name in ("p50", "p99", "p999", "max")]
                rows.append([reader["name"], reader["wait"], lane, f"{figures['count']:,}", *times])
    return rows


def ledger_rows(document: report.Document) -> list[list[str]]:
    """A header, then each reader's totals."""
    rows = [["reader", "published", "= delivered", "+ filtered", "+ missed", "+ pending", ""]]
    for reader in readers(document):
        total = reader["totals"]
        parts = [f"{total[key]:,}" for key in ("published", "delivered", "filtered", "missed", "pending")]
        rows.append([reader["name"], *parts, "ok" if reader["ok"] else "WRONG"])
    return rows


def text(document: report.Document) -> str:
    """The whole summary."""
    lanes = document["lanes"]
    seconds = document["seconds"]
    rates = ", ".join(f"{lane} {lanes[lane]['published']:,}" for lane in LANES)
    met = [[need, f"{count:,}"] for need, count in document["needs"].items()]
    parts = [
        f"{seconds:.1f} s, {sum(one['published'] for one in lanes.values()):,} events: {rates}.",
        "",
        "Reactions",
        table(met),
        "",
        table(latency_rows(document)),
        "",
        MEASURED,
        "",
        table(ledger_rows(document)),
        "",
        *_checks(document),
    ]
    return "\n".join(parts)


def _checks(document: report.Document) -> Iterator[str]:
    checks = document["checks"]
    for one in checks:
        if not one["ok"]:
            yield f"WRONG  {one['what']}: expected {one['expected']:,}, found {one['found']:,}"
        elif "published =" not in one["what"]:
            yield f"ok  {one['what']}: {one['found']:,}"
    for failure in document["failures"]:
        yield f"FAILED  {failure}"
    verdict = (
        "Every event is accounted for." if document["ok"] else "It does not add up, or a process failed."
    )
    yield verdict
