"""What a service tells systemd: the protocol of sd_notify(3), a datagram to a socket. Nothing without one."""

from __future__ import annotations

import contextlib
import os
import socket

__all__ = ["Manager"]


class Manager:
    """Whoever started this process and wants to hear of it, if anybody does."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        microseconds = os.environ.get("WATCHDOG_USEC", "")
        ours = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        #: Seconds between two signs of life that are asked for; ``None``: none are.
        self.beat_s = int(microseconds) / 2e6 if ours and microseconds.isdecimal() else None

    def tell(self, *lines: str) -> None:
        """Such as "READY=1". What cannot be told is nobody's fault here."""
        if not self._address:
            return
        # A name that begins with @ is in the abstract namespace.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
            to.sendto("\n".join(lines).encode(), address)
