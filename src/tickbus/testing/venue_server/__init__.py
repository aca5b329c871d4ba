"""
A venue on this machine: a WebSocket server that speaks one venue's own protocol, and harms it when told to.

    async with VenueServer("kraken", seed=7, faults=Faults(drop=0.01)) as venue:
        feed = Feed("kraken", ["BTC-USDT"], url=venue.url, bus=bus)

Its market is simulated (same seed, same frames; books with sequences and checksums that hold) or a recording.
It enforces the venue's rules too: who sends too much or connects too often is sent away. Loopback only; needs
the extra `exchanges`.
"""

from tickbus.testing.venue_server.faults import Faults
from tickbus.testing.venue_server.protocol import Limits
from tickbus.testing.venue_server.server import PROTOCOLS, VenueServer

__all__ = ["PROTOCOLS", "Faults", "Limits", "VenueServer"]
