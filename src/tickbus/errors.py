"""
Every exception of tickbus, by what the caller does next.

    TickbusError
    ├── InvalidEventError (ValueError)        correct the event, array or argument
    ├── InvalidNameError (ValueError)         correct the symbol, source, type or bus name
    ├── InvalidSizeError (ValueError)         correct the lane size
    ├── PatternError (ValueError)             correct the pattern
    ├── StartError (ValueError)               correct where the subscription starts
    ├── TypeTakenError (ValueError)           register the type under another number or name
    ├── BackpressureError                     a critical subscriber is too slow; the event is not published
    ├── StalledError                          a stopped process blocks a lane; the event is not published
    ├── BusClosedError                        open the bus again
    │   └── BusForkedError                    open the bus again in the child process
    ├── LayoutError                           the bus is another version's, damaged or of other sizes
    ├── BusOwnerError (PermissionError)       the bus belongs to another user
    ├── BusLockedError (TimeoutError)         a stopped process holds the bus's admin lock
    ├── CapacityError                         a table of the bus, or shared memory, is full
    ├── PayloadOverwrittenError (LookupError) the payload is gone
    ├── JournalError                          look at the journal; ``tickbus verify`` says more
    │   ├── CorruptJournalError               restore the file, or read around the damage with ``salvage``
    │   ├── MissingSegmentError               restore the file, or read around the hole with ``salvage``
    │   ├── JournalLockedError                another process writes this journal; its PID is in ``pid``
    │   ├── StorageFullError                  make room; the journal goes on by itself
    │   ├── DurabilityUnknownError            open the journal again: a sync has failed
    │   ├── CursorError                       drop the durable subscription's cursor
    │   ├── CursorLockedError                 another process reads under this name; its PID is in ``pid``
    │   └── JournalLateError (TimeoutError)   the process that keeps the journal does not answer
    ├── InFlightFullError (TimeoutError)      wait for acknowledgements; the event is not published
    ├── CaptureError (ValueError)             a recorded file cannot be read
    │   └── CaptureCutOffError                the file ends in the middle; what came before is good
    ├── ConfigError (ValueError)              correct the configuration; the message names the place
    ├── UntrustedBookError (LookupError)      wait for the book's recovery, or read it knowingly
    ├── QueryError (ValueError)               correct the time, range, argument or SQL of the query
    ├── UnknownNameError (LookupError)        the log has no type, symbol or source of that name
    ├── StoreError                            stored files cannot be read, written or trusted
    └── MissingExtraError (ImportError)       install the extra it names

None of them is raised after the fact: what raised has changed nothing, except where the message and
the attributes say how much of a batch was published, or (``event_id``) that a critical event is on the
bus and nobody can see it before it is persisted.
"""

from __future__ import annotations

__all__ = [
    "BackpressureError",
    "BusClosedError",
    "BusForkedError",
    "BusLockedError",
    "BusOwnerError",
    "CapacityError",
    "CaptureCutOffError",
    "CaptureError",
    "ConfigError",
    "CorruptJournalError",
    "CursorError",
    "CursorLockedError",
    "DurabilityUnknownError",
    "InFlightFullError",
    "InvalidEventError",
    "InvalidNameError",
    "InvalidSizeError",
    "JournalError",
    "JournalLateError",
    "JournalLockedError",
    "LayoutError",
    "MissingExtraError",
    "MissingSegmentError",
    "PatternError",
    "PayloadOverwrittenError",
    "QueryError",
    "StalledError",
    "StartError",
    "StorageFullError",
    "StoreError",
    "TickbusError",
    "TypeTakenError",
    "UnknownNameError",
    "UntrustedBookError",
]


class TickbusError(Exception):
    """Base of all tickbus exceptions."""


class InvalidEventError(TickbusError, ValueError):
    """An event, an array of events or an argument is not valid; the message names it."""

    #: Rows of a batch with inline handlers that were published before the failing one.
    published: int = 0


class InvalidNameError(TickbusError, ValueError):
    """A symbol, source, type or bus name is too long, empty or has forbidden characters."""


class InvalidSizeError(TickbusError, ValueError):
    """A lane size is no power of two in the allowed range."""


class PatternError(TickbusError, ValueError):
    """A pattern is malformed or can match nothing; the message names the pattern and its level."""


class StartError(TickbusError, ValueError):
    """A subscription cannot start there."""


class TypeTakenError(TickbusError, ValueError):
    """The number or the name of an event type stands for something else on this bus."""


class _BlockedError(TickbusError):
    """
    An event could not be published and was not.

    Attributes:
        pid: Process in the way; 0 when unknown.
        published: Events of a batch that were published before.
    """

    def __init__(self, message: str, *, pid: int = 0, published: int = 0, **figures: int) -> None:
        super().__init__(message)
        self.pid = pid
        self.published = published
        self.behind = figures.get("behind", 0)


class BackpressureError(_BlockedError):
    """The critical lane and its reserve are full; ``behind`` is the slowest subscriber's lag in events."""


class StalledError(_BlockedError):
    """A live but stopped process is in the middle of a publish that the lane has to get past."""


class BusClosedError(TickbusError):
    """The bus or the subscription has been closed."""


class BusForkedError(BusClosedError):
    """The handle was opened before a fork and belongs to the parent process."""


class LayoutError(TickbusError):
    """Shared memory under the bus's name is no bus, another version's, damaged, or of other sizes."""


class BusOwnerError(TickbusError, PermissionError):
    """The bus belongs to another user."""


class BusLockedError(TickbusError, TimeoutError):
    """A live process has held the bus's admin lock for two seconds; it is probably stopped."""


class CapacityError(TickbusError):
    """No place is left: names, participants, subscriptions or shared memory; the message says which."""


class PayloadOverwrittenError(TickbusError, LookupError):
    """The payload was there and has been overwritten by newer ones."""


class JournalError(TickbusError):
    """
    The journal cannot do what was asked; the message names file and place.

    Attributes:
        event_id: The critical event that is on the bus and waits to be persisted; 0 when there is none.
        pid: The other process, where one is the reason; 0 otherwise.
    """

    def __init__(self, message: str, *, event_id: int = 0, pid: int = 0) -> None:
        super().__init__(message)
        self.event_id = event_id
        self.pid = pid


class CorruptJournalError(JournalError):
    """
    What was on the disk once is damaged. Nothing has been cut or changed.

    Attributes:
        file: Where; None if the message alone says it. The same holds for the others.
        offset: Place in the file, in bytes.
        lane: Name of the lane that is affected.
        sequences: First and last sequence it costs.
        why: What is wrong there.
    """

    file: str | None = None
    offset: int | None = None
    lane: str | None = None
    sequences: tuple[int, int] | None = None
    why: str | None = None


class MissingSegmentError(JournalError):
    """A file of the journal is gone from between others."""


class JournalLockedError(JournalError):
    """Another process, ``pid``, writes this journal, or keeps a journal of this bus."""


class CursorError(JournalError):
    """The cursor of a durable subscription is damaged, or belongs to another journal."""


class CursorLockedError(JournalError):
    """The durable subscription is open already, in process ``pid`` (0 when that is not known)."""


class StorageFullError(JournalError):
    """
    The device of the journal is full.

    The event ``event_id``, if one is named, will be persisted and seen when there is space again;
    nothing else was published.
    """


class DurabilityUnknownError(JournalError):
    """
    A sync has failed, and the system may have dropped what it should have written.

    Nobody has seen the event ``event_id``, and whether it is on the disk is not known. The journal
    takes nothing more; opening it again reads what the disk really has.
    """


class JournalLateError(JournalError, TimeoutError):
    """
    The process that keeps the journal, ``pid``, has not persisted the event in time.

    It may be stopped, gone or slow. Nobody has seen ``event_id``; it will be seen once it is persisted.
    """


class InFlightFullError(TickbusError, TimeoutError):
    """As many critical events as allowed are without outcome; nothing was published."""


class CaptureError(TickbusError, ValueError):
    """A recorded file is unreadable, foreign or damaged; the message names file and line."""


class CaptureCutOffError(CaptureError):
    """A recorded file ends in the middle of a line or of compressed data; frames before it were yielded."""


class UntrustedBookError(TickbusError, LookupError):
    """An order book is suspect, stale or rebuilding; the message says which, and how to read it anyway."""


class QueryError(TickbusError, ValueError):
    """A time, a range, an argument or the SQL of a query is not valid; the message names it."""


class UnknownNameError(TickbusError, LookupError):
    """A query asks for an event type, symbol or source that the log has never named."""


class StoreError(TickbusError):
    """Stored files are missing, damaged, of another log, or cannot be written; the message names them."""


class ConfigError(TickbusError, ValueError):
    """A configuration has a name or value that is none; the message names file, variable or flag."""


class MissingExtraError(TickbusError, ImportError):
    """A feature needs a library that an extra installs; the message names the extra."""

    def __init__(self, feature: str, extra: str) -> None:
        checkout = f"in a checkout: pip install -e '.[{extra}]'"
        super().__init__(f"{feature} needs an extra: pip install 'tickbus[{extra}]' ({checkout})")
        self.feature = feature
        self.extra = extra
