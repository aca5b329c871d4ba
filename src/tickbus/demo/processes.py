"""
A demo process, seen from its parent: started with its orders, reporting in lines of JSON.

Each is in a process group of its own: Ctrl-C in a terminal goes to the parent alone, which then ends
the others in order. A child whose parent disappears ends by itself, see `tickbus.demo.child`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from typing import Any

_END_TIMEOUT_S = 2.0


class Child:
    """
    Runs ``python -m MODULE`` with *orders*.

    Attributes:
        name: In reports.
        report: What it reported last, merged over its reports; empty before the first.
    """

    def __init__(self, name: str, module: str, orders: dict[str, Any]) -> None:
        self.name = name
        self.orders = orders
        self.report: dict[str, Any] = {}
        self._ready = threading.Event()
        self._ended = threading.Event()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 -- `close` closes it
        self.process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            process_group=0,
        )
        self._send(json.dumps(orders))
        threading.Thread(target=self._listen, daemon=True).start()

    def _send(self, line: str) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(f"{line}\n".encode())
            self.process.stdin.flush()
        except (BrokenPipeError, ValueError):
            pass  # it is dead or was closed; `failure` says so

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            # One assignment, so that readers in other threads see a report or the next, never half.
            self.report = {**self.report, **json.loads(line)}
            self._ready.set()
        self._ended.set()
        self._ready.set()

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait for the first report; False when there is none in time or the process ended instead."""
        return self._ready.wait(timeout_s) and bool(self.report)

    def stop(self) -> None:
        """Tell it to finish what is there and end."""
        self._send("stop")

    def wait_ended(self, timeout_s: float) -> bool:
        """Wait until it has said its last word."""
        return self._ended.wait(timeout_s)

    @property
    def is_running(self) -> bool:
        return not self._ended.is_set()

    @property
    def is_final(self) -> bool:
        """Whether the latest report is its last one, made after everything was read."""
        return bool(self.report.get("final"))

    def failure(self) -> str | None:
        """Why it ended before its last report, in a line; None when it did not."""
        if self.is_running or self.is_final:
            return None
        try:
            code = self.process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return f"{self.name} (pid {self.process.pid}) closed its output and hangs"
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        said = self._last_error()
        return f"{self.name} (pid {self.process.pid}) ended {how}" + (f": {said}" if said else "")

    def _last_error(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else ""

    def hang_up(self) -> None:
        """Leave it: its input ends, upon which it leaves the bus and ends."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass

    def close(self) -> None:
        """End it, by force if need be. Safe to repeat."""
        self.hang_up()
        if not self.report:
            # Still starting: it would not listen before it is up, and holds nothing yet.
            self.process.kill()
        try:
            self.process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._ended.wait(_END_TIMEOUT_S)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._errors.close()
