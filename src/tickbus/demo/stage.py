"""
Starts the processes, watches them and ends them, so that everything published is accounted for.

The strategies attach first and the feed last, so each of them sees the bus from its first event. At the
end the feed stops, reactions are given time to die away, the strategies read what is left and report,
and only then are the sums made. Whatever happens, no process and no shared memory stays behind.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import Any

import tickbus as tb
from tickbus.demo import report
from tickbus.demo.cast import CAST, Settings, nervous, wait_of
from tickbus.demo.machine import idle_cores
from tickbus.demo.monitor import Monitor
from tickbus.demo.processes import Child
from tickbus.demo.recording import Survey
from tickbus.errors import TickbusError
from tickbus.testing.venues import VenueProcess

#: Three venues are enough to see an arbitrage, and leave a small machine cores for the strategies.
VENUES = ("binance", "coinbase", "kraken")

_START_TIMEOUT_S = 30.0
_END_TIMEOUT_S = 10.0
#: Reactions to reactions have died away when nothing came for this long.
_QUIET_S = 0.2
_LOOK_EVERY_S = 0.02


class DemoError(TickbusError):
    """The demo cannot start."""


@dataclass(frozen=True, slots=True)
class Plan:
    """
    What to play.

    Attributes:
        seconds: When to end at the latest.
        captures: Recorded files to play; without any, simulated venues.
        speed: Times the pace they were recorded at.
        survey: What is in them.
    """

    seconds: float
    rate: float
    seed: int
    captures: tuple[str, ...] = ()
    speed: float = 1.0
    survey: Survey = field(default_factory=Survey)

    @property
    def settings(self) -> Settings:
        return nervous(self.survey.holdings()) if self.captures else Settings()

    @property
    def is_whole(self) -> bool:
        """Whether the recordings will be played to their end."""
        return self.survey.duration_s / self.speed <= self.seconds

    @property
    def play_s(self) -> float:
        """How long the markets will be open."""
        return min(self.seconds, self.survey.duration_s / self.speed) if self.captures else self.seconds


class Stage:
    """The demo, open: a context manager."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.failures: list[str] = []
        self._exits = ExitStack()
        self._venues: list[VenueProcess] = []
        self._workers: list[Child] = []
        self._feed: Child | None = None
        self._final = False
        self._began_s = 0.0
        self._seconds = 0.0

    def __enter__(self) -> Stage:
        try:
            self._start()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        # All are told before the first is waited for.
        for child in [*self._workers, *([self._feed] if self._feed else [])]:
            child.hang_up()
        self._exits.close()

    def _start(self) -> None:
        plan = self.plan
        name = f"demo-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        # Entered first and so left last: whoever leaves a named bus last removes it.
        self.bus = self._exits.enter_context(tb.Bus(name, source="monitor"))
        self.monitor = Monitor(self.bus, plan.settings.order_quantity)
        idle = idle_cores()
        for strategy in CAST:
            orders = {
                "strategy": strategy,
                "settings": asdict(plan.settings),
                "wait": wait_of(strategy, idle),
            }
            self._workers.append(self._child(strategy, "tickbus.demo.worker", {"bus": name, **orders}))
        if plan.captures:
            capture = {"paths": list(plan.captures), "speed": plan.speed, "limit_s": plan.seconds}
            feed: dict[str, Any] = {"capture": capture}
        else:
            for venue in VENUES:
                process = VenueProcess(venue, rate=plan.rate, seconds=plan.seconds, seed=plan.seed)
                self._venues.append(self._exits.enter_context(process))
            feed = {"venues": dict(zip(VENUES, (venue.address for venue in self._venues), strict=True))}
        self._await(self._workers)
        self._feed = self._child("feed", "tickbus.demo.feed", {"bus": name, **feed})
        self._await([self._feed])
        self._began_s = time.monotonic()

    def _child(self, name: str, module: str, orders: dict[str, Any]) -> Child:
        child = Child(name, module, orders)
        self._exits.callback(child.close)
        return child

    def _await(self, children: list[Child]) -> None:
        for child in children:
            if not child.wait_ready(_START_TIMEOUT_S):
                raise DemoError(
                    child.failure() or f"{child.name} did not start within {_START_TIMEOUT_S:.0f} s"
                )

    def play(self, every_s: float) -> Iterator[report.Document]:
        """Run to the end; a report every *every_s* seconds, the last one after everything was read."""
        assert self._feed is not None
        next_s = self._began_s
        while self._feed.is_running:
            self._look()
            if time.monotonic() >= next_s:
                next_s += every_s
                yield self.document()
        self._seconds = time.monotonic() - self._began_s
        self._finish()
        yield self.document()

    def _look(self) -> None:
        self.monitor.wait(_LOOK_EVERY_S)
        self.monitor.look()
        for child in self._workers:
            if not child.is_running:
                self._note(child.failure())

    def _note(self, failure: str | None) -> None:
        if failure is not None and failure not in self.failures:
            self.failures.append(failure)

    def _finish(self) -> None:
        assert self._feed is not None
        self._note(self._feed.failure())
        self.failures += [f"feed: {failure}" for failure in self._feed.report.get("failures", ())]
        quiet_since_s = time.monotonic()
        while time.monotonic() - quiet_since_s < _QUIET_S:
            if self.monitor.look():
                quiet_since_s = time.monotonic()
            time.sleep(_LOOK_EVERY_S)
        for child in self._workers:
            child.stop()
        deadline_s = time.monotonic() + _END_TIMEOUT_S
        for child in self._workers:
            if not child.wait_ended(max(0.0, deadline_s - time.monotonic())):
                self._note(
                    f"{child.name} (pid {child.process.pid}) did not end within {_END_TIMEOUT_S:.0f} s"
                )
            self._note(child.failure())
        for venue in self._venues:
            try:
                venue.wait()
            except (RuntimeError, ValueError, OSError) as error:
                self._note(f"venue: {error}")
        self.monitor.look()
        self._final = True

    def document(self) -> report.Document:
        """The figures now; see `tickbus.demo.report`."""
        assert self._feed is not None
        plan, feed = self.plan, self._feed.report
        stats = self.bus.stats()
        readers = [
            {
                "name": child.name,
                "pid": child.process.pid,
                "wait": child.orders["wait"],
                "ledger": child.report["ledger"],
                "latency_ns": child.report["latency_ns"],
                "published": child.report["published"],
            }
            for child in self._workers
        ]
        readers.append(
            {
                "name": "monitor",
                "pid": os.getpid(),
                "wait": "sleep",
                "ledger": self.monitor.ledger(),
                "latency_ns": {},
                "published": stats["published_here"],
            }
        )
        checks = report.ledger_checks(readers, stats["lanes"], self._final)
        if self._final:
            checks += self._final_checks(stats, readers)
        return {
            "mode": "capture" if plan.captures else "simulated",
            "final": self._final,
            "seconds": self._seconds or time.monotonic() - self._began_s,
            "plan": {
                "seconds": plan.play_s,
                "rate": plan.rate,
                "seed": plan.seed,
                "speed": plan.speed,
                "captures": list(plan.captures),
                "frames": plan.survey.frames,
            },
            "played_s": feed.get("played_s", 0.0),
            "lanes": stats["lanes"],
            "venues": [venue.summary for venue in self._venues if venue.summary],
            "feed": {key: feed[key] for key in ("decoded", "inline", "latency_ns", "published")},
            "readers": readers,
            "needs": report.needs(self.monitor.reactions),
            "reactions": report.reactions_by_source(self.monitor.reactions),
            "recent": list(self.monitor.recent),
            "checks": checks,
            "failures": list(self.failures),
            "ok": not self.failures and all(one["ok"] for one in checks),
        }

    def _final_checks(self, stats: dict[str, Any], readers: list[dict[str, Any]]) -> list[dict[str, Any]]:
        assert self._feed is not None
        feed = self._feed.report
        on_lanes = sum(lane["published"] for lane in stats["lanes"].values())
        by_process = feed["published"] + sum(reader["published"] for reader in readers)
        decoded = feed["decoded"]
        events = sum(one["trades"] + one["quotes"] for one in decoded)
        checks = [
            report.check("events on the lanes = published by all processes", on_lanes, by_process),
            report.check("events of the feed = trades + quotes decoded", events, feed["published"]),
        ]
        if self._venues:
            sent = sum(venue.summary.get("frames", 0) for venue in self._venues)
            checks.append(
                report.check("frames sent = frames decoded", sent, sum(one["frames"] for one in decoded))
            )
        elif self.plan.is_whole:
            found = sum(one["frames"] for one in decoded)
            checks.append(report.check("frames recorded = frames decoded", self.plan.survey.frames, found))
        return checks
