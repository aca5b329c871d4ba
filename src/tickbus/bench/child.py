"""
The other process of a job: a fresh interpreter that answers through a pipe and never outlives its job.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Callable, Iterator
from typing import Any

from tickbus.bench.model import BehaviourError

#: Nobody waits longer than this for anything in a benchmark.
LIMIT_S = 120.0


@contextlib.contextmanager
def child(target: Callable[..., None], *arguments: Any) -> Iterator[Callable[[], Any]]:
    """
    Run ``target(send, *arguments)`` in a new process; *target* is a module's function.

    Yields a callable that returns the next message the child sent, and raises what the child raised.
    At the end the child has ended or is killed.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_main, args=(target, theirs, arguments), daemon=True)
    process.start()
    theirs.close()

    def receive() -> Any:
        if not ours.poll(LIMIT_S):
            raise BehaviourError(f"the reader's process did not answer within {LIMIT_S:g} s")
        try:
            message = ours.recv()
        except EOFError:
            process.join(5)
            raise BehaviourError(f"the reader's process ended with {process.exitcode}") from None
        if isinstance(message, Exception):
            raise message
        return message

    try:
        yield receive
        process.join(10)
    finally:
        if process.is_alive():
            process.kill()
            process.join()
        ours.close()


def _main(target: Callable[..., None], link: Any, arguments: tuple[Any, ...]) -> None:
    # Ctrl-C goes to the whole group; the publisher ends its reader itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        target(link.send, *arguments)
    except Exception as error:
        # Not every exception can be pickled; its text always can.
        link.send(BehaviourError(f"in the reader's process: {type(error).__name__}: {error}"))
