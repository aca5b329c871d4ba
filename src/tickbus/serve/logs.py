"""Lines for whoever reads a service's standard error: a person, the systemd journal, or a machine."""

from __future__ import annotations

import json
import logging
import os
import sys
import time

__all__ = ["set_up"]

#: What systemd takes in front of a line (sd-daemon(3)), by logging's levels.
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))


def set_up(form: str, level: str) -> None:
    """Log to standard error. Under systemd a line has its priority and no time, which is written there."""
    handler = logging.StreamHandler(sys.stderr)
    if form == "json":
        handler.setFormatter(_Json())
    elif "JOURNAL_STREAM" in os.environ:
        handler.setFormatter(_Systemd("%(message)s"))
    else:
        formatter = logging.Formatter(
            "%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S"
        )
        formatter.converter = time.gmtime
        handler.setFormatter(formatter)
    logger = logging.getLogger("tickbus")
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False


class _Systemd(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        priority = next((number for least, number in _PRIORITIES if record.levelno >= least), 7)
        # Each line of a traceback is one of the journal's.
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        row = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{record.msecs:03.0f}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            row["exception"] = self.formatException(record.exc_info)
        return json.dumps(row)
