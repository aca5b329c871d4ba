"""The process: opens the bus with all that is configured, looks after it, and closes it properly."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import math
import os
import signal
import time
from typing import Any

from tickbus._signals import Signals
from tickbus.bus import Bus
from tickbus.delivery import Delivery
from tickbus.errors import ConfigError, JournalError, JournalLockedError
from tickbus.journal import Journal
from tickbus.metrics import Exporter
from tickbus.serve.policies import policies_of
from tickbus.serve.settings import Settings
from tickbus.serve.systemd import Manager

__all__ = ["Host"]

#: Between two looks at how everything is, and at whether a journal has become free.
_LOOK_S = 0.25
_LEVELS = {"full": logging.ERROR, "failed": logging.CRITICAL}
_SAYS = {
    "none": "nobody keeps a journal of this bus",
    "live": "the journal is kept",
    "full": "the disk is full: publishers wait, and critical events are not seen, until there is room",
    "failed": "a sync has failed: what was not persisted then may never be; open the journal again",
}

_log = logging.getLogger("tickbus.serve")


class Host:
    """
    One bus, hosted until a signal.

    Args:
        standby: Wait when another process keeps the journal, and keep it when that one is gone.
    Raises:
        ConfigError: The settings contradict each other, or a policy is none.
    """

    def __init__(self, name: str, settings: Settings, *, standby: bool = False) -> None:
        self.name = name
        self._settings = settings
        self._standby = standby
        self.policies, self.default = policies_of(settings.policies, settings.file)
        self._signals = Signals((signal.SIGTERM, signal.SIGINT), (signal.SIGHUP,))
        self._manager = Manager()
        self._beaten = -math.inf
        self._journal = _journal(settings)
        self.exporter: Exporter | None = None
        asked_for = settings["delivery.enabled"] and settings.origins["delivery.enabled"] != "default"
        if asked_for and self._journal is not None and settings["journal.critical"] == "memory":
            raise ConfigError(
                "delivery.enabled: events are followed in the journal, and journal.critical is memory"
            )

    def run(self) -> int:
        """Host the bus until SIGTERM or SIGINT; the exit code."""
        with self._signals, contextlib.ExitStack() as opened:
            bus = self._open()
            if bus is None:
                return 0
            opened.enter_context(bus)
            delivery = self._deliver(bus)
            if delivery is not None:
                opened.enter_context(delivery)
            if listen := self._settings["metrics.listen"]:
                self.exporter = opened.enter_context(Exporter(listen, bus, delivery))
                self._tell_of_metrics(listen)
            self._manager.tell("READY=1", f"STATUS=serving bus {self.name}")
            _log.info("bus %s is served by process %d", self.name, os.getpid())
            code = self._watch(bus, delivery)
            self._manager.tell("STOPPING=1")
        _log.info("bus %s is no longer served", self.name)
        return code

    def stop(self) -> None:
        """End ``run``; from any thread."""
        self._signals.put(signal.SIGTERM)

    def _open(self) -> Bus | None:
        sizes = {
            key: self._settings[f"bus.{key}"]
            for key in ("critical_size", "high_size", "normal_size", "payload_bytes")
            if self._settings[f"bus.{key}"] is not None
        }
        waiting_for = 0
        while True:
            try:
                return Bus(self.name, journal=self._journal, **sizes)
            except JournalLockedError as error:
                if not self._standby:
                    raise
                if error.pid != waiting_for:
                    waiting_for = error.pid
                    _log.info("standing by: process %d keeps the journal", waiting_for)
                    self._manager.tell("READY=1", f"STATUS=standing by for process {waiting_for}")
            if self._is_over():
                return None
            self._beat()

    def _deliver(self, bus: Bus) -> Delivery | None:
        if not self._settings["delivery.enabled"]:
            return None
        if bus._journal_path is None or self._settings["journal.critical"] == "memory":
            if self._settings.origins["delivery.enabled"] != "default":
                raise JournalError(
                    f"delivery.enabled: nobody keeps a journal of bus {self.name}; give journal.path"
                )
            _log.warning("no journal: critical events are not followed until they are acknowledged")
            return None
        return Delivery(
            bus, self.policies, default=self.default, max_in_flight=self._settings["delivery.max_in_flight"]
        )

    def _tell_of_metrics(self, listen: str) -> None:
        assert self.exporter is not None
        host = listen.rpartition(":")[0].strip("[]")
        _log.info("metrics at http://%s:%d/metrics", host, self.exporter.port)
        with contextlib.suppress(ValueError):
            if not ipaddress.ip_address(host).is_loopback:
                _log.warning("metrics can be read by everybody who reaches %s: there is no password", host)

    def _watch(self, bus: Bus, delivery: Delivery | None) -> int:
        """Say what changes, and beat, until the end; the exit code."""
        state, leads = "", False
        while True:
            now: dict[str, Any] = bus.stats()["journaled"]
            if now["state"] != state:
                state = now["state"]
                _log.log(_LEVELS.get(state, logging.INFO), "%s", _SAYS[state])
            if state == "failed" and self._journal is not None:
                # Whoever started this starts it again, and opening the journal recovers it.
                return 1
            if delivery is not None and delivery.stats()["loop"] != leads:
                leads = not leads
                _log.info("this process %s the delivery loop", "runs" if leads else "no longer runs")
            self._beat()
            if self._is_over():
                return 0

    def _beat(self) -> None:
        now = time.monotonic()
        if self._manager.beat_s is not None and now - self._beaten >= self._manager.beat_s:
            self._beaten = now
            self._manager.tell("WATCHDOG=1")

    def _is_over(self) -> bool:
        """Wait a moment; whether it is to end."""
        number = self._signals.wait(_LOOK_S)
        if number == signal.SIGHUP:
            _log.warning("the configuration is read at the start: restart to change it")
        elif number is not None:
            _log.info("%s: ending", signal.Signals(number).name)
        return number is not None and number != signal.SIGHUP


def _journal(settings: Settings) -> Journal | None:
    if settings["journal.path"] is None:
        given = [name for name, origin in settings.origins.items() if origin != "default"]
        for name in given:
            if name.startswith("journal."):
                raise ConfigError(f"{settings.origins[name]}: {name} is given, and journal.path is not")
        return None
    return Journal(
        settings["journal.path"],
        critical=settings["journal.critical"],
        high=settings["journal.high"],
        normal=settings["journal.normal"],
        interval_ms=settings["journal.interval"] * 1e3,
        when_full=settings["journal.when_full"],
        segment_mib=settings["journal.segment"] / (1 << 20),
        pack_after=settings["journal.pack_after"],
        keep=settings["journal.keep"],
        keep_bytes=settings["journal.keep_bytes"],
    )
