"""
A desk with guaranteed delivery in processes that are killed, and the judgement of what it leaves.

Everybody notes what happened to it in a file that outlives it: lines of all processes in one order. What
the desk did is judged by these notes and by the log alone, not by what delivery says of itself.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from fault_writers import Child

import tickbus as tb
from tickbus.delivery import Delivery, Escalation, Outcome, Policy, Publish, Retry, RoleSubscription, wire
from tickbus.delivery.state import Kind
from tickbus.errors import BackpressureError, JournalError, StalledError
from tickbus.journal import Journal, Level

ALL, ANY, NAMED = (
    tb.EventType.DRAWDOWN_ALERT,
    tb.EventType.STOP_LOSS_TRIGGERED,
    tb.EventType.RISK_LIMIT_APPROACHED,
)
STOP = tb.EventType.EMERGENCY_STOP
ROLES = ("oms", "risk")
#: Who has to acknowledge what.
NEEDED = {ALL: "all", ANY: "any", NAMED: ("risk",)}
#: Events with such a value are refused each time.
POISON = 19
SETTLE_S = 90.0
PAUSE_S = 0.004


class Notes:
    """A file that several processes add lines to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    def add(self, *words: object) -> None:
        os.write(self._file, (" ".join(map(str, words)) + "\n").encode())

    def size(self) -> int:
        """Where the next line begins."""
        return os.fstat(self._file).st_size

    def lines(self) -> list[tuple[int, list[str]]]:
        """All lines, and where each begins."""
        found, place = [], 0
        for line in self.path.read_bytes().splitlines(keepends=True):
            found.append((place, line.decode().split()))
            place += len(line)
        return found

    def close(self) -> None:
        os.close(self._file)


@dataclass
class Desk:
    """Processes by what they do: `start` and `kill` them, `settle`, then `judge`."""

    place: Path
    name: str
    level: Level
    seed: int
    fork: Callable[[Callable[[], object]], Child]
    found: Counter[str]
    #: Of the members of roles.
    members: dict[str, str] = field(default_factory=lambda: {"oms 1": "oms", "oms 2": "oms", "risk": "risk"})

    def __post_init__(self) -> None:
        self.place.mkdir()
        self.notes = Notes(self.place / "published")
        self.steps = Notes(self.place / "steps")
        self.handed = {role: Notes(self.place / role) for role in ROLES}
        self.running: dict[str, Child] = {}
        self.started = 0
        self.stopped = 0

    @property
    def everybody(self) -> tuple[str, ...]:
        return ("host", "standby", *self.members, "publisher")

    def open(self) -> None:
        """Start everybody; the publisher when there are roles to publish for."""
        for who in self.everybody[:-1]:
            self.start(who)
        with self._bus() as bus, Delivery(bus, loop=False, policies=self._policies()) as delivery:
            _until(lambda: set(delivery.roles()) == set(ROLES))
        self.start("publisher")

    def start(self, who: str) -> None:
        """Start a process, unless it runs."""
        if who in self.running:
            return
        self.started += 1
        seed, role = self.seed + self.started, self.members.get(who)

        def work() -> None:
            if who == "publisher":
                self._publish(seed)
            elif role is None:
                self._host(self._journal() if who == "host" else None)
            else:
                # The second role has one member at a time, and says so.
                self._consume(role, seed, exclusive=role == "risk")

        self.running[who] = self.fork(lambda: _while_the_journal_is_late(work))

    def kill(self, who: str) -> None:
        if who in self.running:
            code = self.running.pop(who).kill()
            assert code == -signal.SIGKILL, f"{who} ended by itself, with {code}"

    def stop(self, who: str, seconds: float) -> None:
        """Let a process hang for a while."""
        if who in self.running:
            os.kill(self.running[who].pid, signal.SIGSTOP)
            time.sleep(seconds)
            os.kill(self.running[who].pid, signal.SIGCONT)
            self.stopped += 1

    def holder(self) -> str:
        """Who runs the loop, as far as can be seen from outside."""
        with suppress(OSError, IndexError):
            terms = (self.place / "journal" / "delivery").glob("loop.*[0-9]")
            newest = max(terms, key=lambda path: int(path.suffix[1:]), default=self.place)
            pid = int.from_bytes(newest.read_bytes()[8:16], "little")
            return next((who for who, child in self.running.items() if child.pid == pid), "host")
        return "host"

    def settle(self) -> None:
        """Nothing is published any more, everybody is there: wait until nothing is pending."""
        self.kill("publisher")
        for who in self.everybody[:-1]:
            self.start(who)
        with self._bus() as bus, Delivery(bus, loop=False, policies=self._policies()) as delivery:
            # What was published while no host was there is seen when this one is.
            _until(lambda: _is_persisted(bus), SETTLE_S)
            _until(lambda: not delivery.stats()["pending"], SETTLE_S)
            for who in self.members:
                self.kill(who)
            self.dead = {letter.event_id >> 2 for letter in delivery.dead_letters()}
            self.published = {int(words[0]): float(words[1]) for _, words in self.notes.lines()}
            outcomes = {delivery.wait_ack(event_id, 0).outcome for event_id in self.published}
            assert outcomes <= {Outcome.ACKED, Outcome.DEAD_LETTERED}
        for who in list(self.running):
            self.kill(who)

    def judge(self) -> None:
        """What the log and the notes say."""
        log = Log(self._journal())
        found = self.found
        found["events"] += len(log.events)
        for event_id, value in self.published.items():
            assert log.events[event_id >> 2][1] == value, "it was changed"
        for sequence, (kind, _) in log.events.items():
            needed, by = NEEDED[kind], {role for role in ROLES if log.acked[sequence, role]}
            settled = bool(by) if needed == "any" else by >= set(ROLES if needed == "all" else needed)
            assert settled != (sequence in self.dead), f"event {sequence}: {by}, {sequence in self.dead}"
            assert settled or sequence in log.dead
        found["dead letters"] += len(self.dead)
        self._judge_steps(log)
        for role in ROLES:
            self._judge_role(role, log)
        for notes in (self.notes, self.steps, *self.handed.values()):
            notes.close()

    def _judge_steps(self, log: Log) -> None:
        """Recorded once; what a step does is done once, or again if its loop died or hung meanwhile."""
        found = self.found
        again = sum(count - 1 for count in log.escalated.values())
        # A loop that was stopped may have had one record under way that it could not take back.
        assert again <= self.stopped, log.escalated
        found["escalations"] += len(log.escalated)
        found["recorded twice around a stop"] += again
        done = Counter((int(words[0]), int(words[1])) for _, words in self.steps.lines())
        assert set(done) <= set(log.escalated), "a step that was not recorded"
        # A loop does a step once. The next one does it again if the last one had not said that it was done.
        by = Counter(tuple(words) for _, words in self.steps.lines())
        assert self.stopped or set(by.values()) <= {1}, by
        twice = sum(count - 1 for count in done.values())
        found["steps done twice"] += twice
        found["loops"] += log.loops
        for sequence in self.dead:
            assert done[sequence, 1], "a dead letter whose step was not carried out"

    def _judge_role(self, role: str, log: Log) -> None:
        """In order the first time; again only what was not acknowledged, or was just then."""
        found, last = self.found, -1
        first: dict[int, int] = {}
        acked: dict[int, int] = {}
        for place, (what, *numbers) in self.handed[role].lines():
            sequence = int(numbers[0])
            if what == "acked":
                if log.has(role, *map(int, numbers)):
                    acked.setdefault(sequence, place)
                else:
                    found["acknowledgements lost with the bus"] += 1
                continue
            begun, redelivered = int(numbers[1]), int(numbers[2])
            if not redelivered:
                assert sequence > last, f"{role}: {sequence} after {last}"
                assert first.get(sequence, begun) >= begun, f"{role}: {sequence} is not new"
                last = sequence
            found["handed out"] += 1
            found["handed out again"] += sequence in first
            if sequence in acked:
                assert acked[sequence] >= begun, f"{role}: {sequence} was acknowledged before the look for it"
                found["handed out again, just acknowledged"] += 1
            first.setdefault(sequence, place)
        for (sequence, name), times in log.acked.items():
            assert name != role or not times or sequence in first, "acknowledged, never handed out"

    # What the processes do.

    def _publish(self, seed: int) -> None:
        choose, number = random.Random(seed), 0
        with self._bus() as bus, Delivery(bus, loop=False, policies=self._policies()) as delivery:
            while True:
                number += 1
                value = float((seed & 0xFFFFFF) * 1_000_000 + number)
                kind = choose.choice((ALL, ALL, ANY, NAMED))
                with suppress(JournalError):
                    # Whether an event is persisted that raised will be known when the host is back.
                    receipt = delivery.publish_critical(kind, "BTC-USDT", value, timeout_s=SETTLE_S)
                    self.notes.add(receipt.event_id, value)
                time.sleep(2 * PAUSE_S * choose.random())

    def _consume(self, role: str, seed: int, *, exclusive: bool) -> None:
        choose, notes = random.Random(seed), self.handed[role]
        with (
            self._bus() as bus,
            Delivery(bus, loop=False, policies=self._policies()) as delivery,
            delivery.subscribe(
                "risk.>", role=role, ack="manual", start="earliest", exclusive=exclusive
            ) as member,
        ):
            while True:
                begun = notes.size()
                event = member.poll()
                if event is None:
                    time.sleep(0.001)
                    continue
                notes.add("handed", event.sequence, begun, int(member.redelivered))
                chance = choose.random()
                if event.value % POISON == 7 or chance < 0.05:
                    member.nak(event, 0.01)
                elif chance < 0.95:
                    acknowledge(member, event, notes)

    def _host(self, journal: Journal | None) -> None:
        with self._bus(journal) as bus, Delivery(bus, policies=self._policies()):
            time.sleep(3600)

    def _step(self, escalation: Escalation) -> None:
        self.steps.add(escalation.event_id >> 2, escalation.step, os.getpid())

    def _policies(self) -> dict[int, Policy | None]:
        policies: dict[int, Policy | None] = {STOP: None}
        for kind, required in NEEDED.items():
            policies[kind] = Policy(
                required=required,  # type: ignore[arg-type]
                retry=Retry(attempts=6, first_s=0.02, most_s=0.1),
                escalate_after_s=0.15,
                step_s=0.1,
                ladder=(self._step, Publish(STOP)),
            )
        return policies

    def _journal(self) -> Journal:
        return Journal(self.place / "journal", critical=self.level, segment_mib=0.25)

    def _bus(self, journal: Journal | None = None) -> tb.Bus:
        bus = tb.Bus(self.name, journal=journal, critical_timeout_s=2.0)
        _until(lambda: bus._journal_path is not None)
        return bus


def acknowledge(member: RoleSubscription, event: tb.Event, notes: Notes) -> None:
    """With a note that says from when to when, so that the record of it is known."""
    begun = time.time_ns()
    member.ack(event)
    notes.add("acked", event.sequence, begun, time.time_ns())


class Log:
    """What the log says, by sequence: events, when who acknowledged them, steps recorded, deaths."""

    def __init__(self, journal: Journal) -> None:
        self.events: dict[int, tuple[int, float]] = {}
        self.acked: defaultdict[tuple[int, str], set[int]] = defaultdict(set)
        self.escalated: Counter[tuple[int, int]] = Counter()
        self.dead: Counter[int] = Counter()
        self.loops = 0
        kinds = {number: kind for kind, number in wire.NUMBERS.items()}
        with tb.Bus(journal=journal) as bus, bus.subscribe(">", start="earliest") as reader:
            for event in iter(reader.poll, None):
                kind = kinds.get(event.event_type)
                if event.event_type in NEEDED:
                    self.events[event.sequence] = event.event_type, event.value
                elif kind is Kind.ACK:
                    self.acked[event.metadata, event.source].add(event.timestamp)
                elif kind is Kind.ESCALATED:
                    self.escalated[event.metadata, int(event.value)] += 1
                elif kind is Kind.DEAD:
                    self.dead[event.metadata] += 1
                elif kind is Kind.LOOP:
                    self.loops += 1
            assert reader.missed == 0

    def has(self, role: str, sequence: int, begun: int, ended: int) -> bool:
        """Whether an acknowledgement that was made in that time is there."""
        return any(begun <= made <= ended for made in self.acked[sequence, role])


def _while_the_journal_is_late(work: Callable[[], None]) -> None:
    """Do some work until it is killed, again when the host is not there for too long."""
    logging.disable()
    while True:
        with suppress(BackpressureError, StalledError, JournalError):
            work()
        time.sleep(0.01)


def _is_persisted(bus: tb.Bus) -> bool:
    """Whether a critical event can be persisted, and so all before it are."""
    with suppress(BackpressureError, StalledError, JournalError):
        return bus.publish(STOP, "BTC-USDT", 0.0) >= 0
    return False


def _until(condition: Callable[[], object], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.002)
