"""
The jobs, a file per family; each makes its cases when it is asked to.

`JOBS` is their order in the table, cheapest first. A job whose subject is missing in this build
returns no cases, or `Absent` for what could not take part; the runner reports that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tickbus.bench.jobs import (
    batch,
    books,
    core,
    decode,
    delivery,
    dispatch,
    drain,
    growth,
    journal,
    priority,
    processes,
    publish,
    store,
    threads,
)
from tickbus.bench.model import Absent, Case, Options


@dataclass(frozen=True)
class Job:
    """A family of figures measured together, interleaved."""

    name: str
    title: str
    cases: Callable[[Options], list[Case | Absent]]


JOBS: tuple[Job, ...] = (
    Job("core", "Rust core, no Python: claim + write + publish", core.cases),
    Job("publish", "publish one event from Python, stamped", publish.cases),
    Job("dispatch", "publish to handlers in the same thread, event built and stamped inside", dispatch.cases),
    Job("drain", "drain(1000) into Python objects, and reading one field of each", drain.cases),
    Job("batch", "publish_batch and read_batch of NumPy arrays", batch.cases),
    Job("growth", "cost of a publish with 1 to 1,000 subscriptions", growth.cases),
    Job("threads", "one thread to another, one event at a time", threads.cases),
    Job("processes", "one process to another, one event at a time", processes.cases),
    Job("decode", "wire frames of venues to trades, one message at a time", decode.cases),
    Job("books", "order books from frames, duplicates, and one book of five venues", books.cases),
    Job("store", "range queries over a journal, and replaying it", store.cases),
    Job("priority", "critical events behind a full backlog of high and normal", priority.cases),
    Job("journal", "events kept on the device, one by one and 1,024 at a time", journal.cases),
    Job("delivery", "critical events to another process and their acknowledgements back", delivery.cases),
)
