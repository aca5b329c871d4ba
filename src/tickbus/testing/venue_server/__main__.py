"""
Serve one venue on this machine, until Ctrl-C:

    python -m tickbus.testing.venue_server --venue kraken --rate 2000 --drop 0.01

Says where it listens in one JSON line on standard output, and what it did in another when it ends.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time

from tickbus.testing.venue_server import PROTOCOLS, Faults, VenueServer

_RATES = ("drop", "duplicate", "reorder", "truncate", "garbage")


def main(arguments: list[str] | None = None) -> int:
    """Serve until told to end."""
    parser = argparse.ArgumentParser(
        prog="python -m tickbus.testing.venue_server",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--venue", required=True, choices=sorted({venue for venue, _ in PROTOCOLS}))
    parser.add_argument("--market", default="spot", help="`advanced` for Coinbase Advanced Trade")
    parser.add_argument("--port", type=int, default=0, help="loopback port; 0 takes a free one")
    parser.add_argument("--rate", type=float, default=1000.0, help="events per second (1000)")
    parser.add_argument("--seed", type=int, default=7, help="same seed, same events")
    parser.add_argument("--capture", metavar="FILE", help="send a recording in the place of a simulation")
    parser.add_argument("--speed", type=float, help="times the recorded pace (as fast as clients take it)")
    parser.add_argument("--seconds", type=float, help="end after so long")
    for fault in _RATES:
        parser.add_argument(f"--{fault}", type=float, default=0.0, metavar="RATE", help="chance per frame")
    options = parser.parse_args(arguments)
    if (options.venue, options.market) not in PROTOCOLS:
        parser.error(f"--venue {options.venue} has no --market {options.market}")
    return asyncio.run(_serve(options))


async def _serve(options: argparse.Namespace) -> int:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    server = VenueServer(
        options.venue,
        options.market,
        rate=options.rate,
        seed=options.seed,
        capture=options.capture,
        speed=options.speed,
        faults=Faults(**{fault: getattr(options, fault) for fault in _RATES}),
        port=options.port,
        start_ns=time.time_ns(),
    )
    async with server:
        where = {"venue": options.venue, "market": options.market, "url": server.url}
        print(json.dumps(where), flush=True)
        try:
            await asyncio.wait_for(ended.wait(), options.seconds)
        except TimeoutError:
            pass
    done = {"events": server.simulation.events, "injected": dict(server.injected), **server.counts}
    print(json.dumps(done), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
