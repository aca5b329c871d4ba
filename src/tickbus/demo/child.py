"""
A demo process, seen from inside: its orders come on standard input, its reports go to standard output.

The first line of input is a JSON object with what to do, the second is "stop". The input ends early
when the parent gives up or dies, and then the process ends too, so that none is left behind.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import Any

REPORT_EVERY_S = 0.2


class Link:
    """
    To the parent.

    Attributes:
        orders: What the parent wants.
        stopping: Told to finish what is there and end.
        abandoned: The parent is gone; end at once.
    """

    def __init__(self) -> None:
        self.orders: dict[str, Any] = json.loads(sys.stdin.readline())
        self.stopping = threading.Event()
        self.abandoned = threading.Event()
        self._next_report_s = 0.0
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in sys.stdin:
            if line == "stop\n":
                self.stopping.set()
        self.abandoned.set()
        self.stopping.set()

    def tell(self, **report: Any) -> None:
        """Send a report; without a parent there is nobody to tell."""
        try:
            print(json.dumps(report), flush=True)
        except BrokenPipeError:
            self.abandoned.set()

    def is_report_due(self) -> bool:
        """True every REPORT_EVERY_S seconds."""
        now_s = time.monotonic()
        if now_s < self._next_report_s:
            return False
        self._next_report_s = now_s + REPORT_EVERY_S
        return True
