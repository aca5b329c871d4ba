"""
Record a venue over two connections, lose one of them, and play the recording back.

The venue is a local one, so this needs no network: `Feed("kraken", ...)` without `url` would connect to the
real one. Each trade reaches the bus once, from whichever connection has it first; the file has every frame
of both, and gives the same events again. Needs the extra `exchanges`.
"""

import asyncio
import tempfile
from pathlib import Path

import tickbus as tb
from tickbus.exchanges import open_capture
from tickbus.exchanges.connect import Change, Feed
from tickbus.exchanges.recorder import Recorder
from tickbus.exchanges.replay import Replay
from tickbus.testing.venue_server import VenueServer


async def record(path: Path) -> list[bytes]:
    """The trades of a short and troubled life, as they came on the bus."""
    lost = asyncio.Event()

    def changed(change: Change) -> None:
        if change.state == "ended" and change.reason != "stopped":
            print(f"a connection is lost: {change.reason}")
            lost.set()

    with tb.Bus() as bus, Recorder(path, "kraken") as recorder:
        trades = bus.subscribe("market.price_update.kraken.*")
        async with VenueServer("kraken", keep=True) as venue:
            feed = Feed(
                "kraken",
                ["BTC-USDT", "ETH-USDT", "SOL-USDT"],
                channels=["trades"],
                bus=bus,
                connections=2,
                recorder=recorder,
                on_change=changed,
                url=venue.url,
            )
            feeding = asyncio.create_task(feed.run())
            await feed.live()
            await venue.advance(200)
            venue.abort(0)
            await lost.wait()
            await venue.advance(200)
            events = []
            async for event in trades:
                events.append(event.bytes())
                if len(events) == len(venue.trades):
                    break
            feed.stop()
            await feeding
            print(f"the venue told {len(venue.trades)} trades, the bus {len(events) + trades.lag}")
    return events


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kraken.rec.jsonl.zst"
        events = asyncio.run(record(path))
        with tb.Bus() as bus:
            trades = bus.subscribe("market.price_update.kraken.*")
            Replay([open_capture(path)], bus).run()
            again = [event.bytes() for event in trades.drain(1_000)]
        print(f"the recording gives the same {len(again)}: {events == again}")


if __name__ == "__main__":
    main()
