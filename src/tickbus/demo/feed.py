"""
The feed's process: frames of venues or of recorded files become events on the bus.

It also has the fastest way to react, an inline handler: `bus.on` calls it in the publisher's thread.
Its latency is taken from the timestamp, when the frame was in hand, to the handler's first line, so it
includes decoding the frame.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from time import time_ns
from typing import Any

import tickbus as tb
from tickbus.demo.child import REPORT_EVERY_S, Link
from tickbus.demo.latency import Latencies, by_lane
from tickbus.demo.recording import in_time
from tickbus.exchanges import Decoder, VenueDecoder, open_capture
from tickbus.testing.venues import connect_batches

#: Shorter waits than this are not worth a sleep: the frames go out together.
_SHORTEST_SLEEP_S = 0.000_5
_LONGEST_SLEEP_S = 0.1


class Feed:
    """What is published so far, and how."""

    def __init__(self, link: Link, bus: tb.Bus) -> None:
        self._link = link
        self._bus = bus
        self._latencies = Latencies()
        self._decoders: list[tuple[str, Mapping[str, VenueDecoder]]] = []
        self.played_s = 0.0
        bus.on("market.>")(self._tripwire)

    def _tripwire(self, event: tb.Event) -> None:
        self._latencies.add(time_ns() - event.timestamp)

    def venue(self, venue: str, address: str) -> None:
        """Publish what a simulated venue sends, until it ends."""
        decoder = Decoder(venue)
        self._decoders.append((venue, {"": decoder}))
        for frames in connect_batches(address):
            for frame in frames:
                decoder.publish(self._bus, frame)

    def recording(self, paths: list[str], speed: float, limit_s: float) -> None:
        """Publish recorded frames at *speed* times the pace they came in, for at most *limit_s*."""
        captures = [open_capture(path) for path in paths]
        decoders = [capture.decoders() for capture in captures]
        self._decoders += zip(paths, decoders, strict=True)
        began_s = time.monotonic()
        for number, frame, due_s in in_time(captures):
            self.played_s = due_s
            while (ahead_s := began_s + due_s / speed - time.monotonic()) > _SHORTEST_SLEEP_S:
                if self._link.stopping.wait(min(ahead_s, _LONGEST_SLEEP_S)):
                    return
            if due_s / speed > limit_s or self._link.stopping.is_set():
                return
            decoders[number][frame.connection].publish(self._bus, frame.data)

    def report(self, **more: Any) -> None:
        """Tell the parent."""
        stats = self._bus.stats()
        (handler,) = stats["handlers"]
        self._link.tell(
            inline={key: handler[key] for key in ("published", "delivered", "filtered", "errors")},
            latency_ns=by_lane({"high": self._latencies}),
            decoded=[
                {"from": name, **decoder.counters()}
                for name, decoders in self._decoders
                # Connections are added while this reads.
                for decoder in list(decoders.values())
            ],
            published=stats["published_here"],
            played_s=self.played_s,
            **more,
        )


def main() -> None:
    """Feed what the parent orders, until it ends or the parent says stop."""
    link = Link()
    with tb.Bus(link.orders["bus"], source="feed") as bus:
        feed = Feed(link, bus)
        if "capture" in link.orders:
            sources = [threading.Thread(target=feed.recording, kwargs=link.orders["capture"], daemon=True)]
        else:
            sources = [
                threading.Thread(target=feed.venue, args=pair, daemon=True)
                for pair in link.orders["venues"].items()
            ]
        failures: list[str] = []
        threading.excepthook = lambda args: failures.append(f"{args.exc_type.__name__}: {args.exc_value}")
        feed.report(ready=True)
        for source in sources:
            source.start()
        while any(source.is_alive() for source in sources) and not link.stopping.is_set():
            time.sleep(REPORT_EVERY_S / 4)
            if link.is_report_due():
                feed.report()
        feed.report(final=True, failures=failures)


if __name__ == "__main__":
    main()
