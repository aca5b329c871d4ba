"""
What all tests share: buses that are closed again, names nobody else uses, and the ways to read.

``--soak`` lengthens the stress tests and runs those marked ``soak``; plain ``pytest`` skips them.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import tickbus as tb

# A shared machine is slow now and then: that is no property of the code under test.
settings.register_profile("tickbus", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tickbus")

#: Reads everything that is pending.
Way = Callable[[tb.Subscription], list[bytes]]

_numbers = itertools.count()
#: A line for each fault campaign that was run, also in another process.
_told: list[str] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="minutes of stress instead of seconds")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--soak") or config.option.markexpr:
        return
    for item in items:
        if "soak" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="takes minutes: --soak runs it"))


@pytest.fixture(scope="session")
def stress(pytestconfig: pytest.Config) -> int:
    """How many times as long a stress test takes as usual."""
    return 20 if pytestconfig.getoption("--soak") else 1


@pytest.fixture
def bus() -> Iterator[tb.Bus]:
    """A private bus with lanes small enough to overflow: 64 critical, 128 high, 256 normal."""
    with tb.Bus(critical_size=64, high_size=128, normal_size=256, critical_timeout_s=0.02) as bus:
        yield bus


@pytest.fixture
def bus_name() -> Iterator[str]:
    """The name of a bus nobody has open; whatever a test leaves in shared memory is removed."""
    name = f"test-{os.getpid()}-{next(_numbers)}"
    yield name
    for path in Path("/dev/shm").glob(f"tickbus.{name}*"):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


@pytest.fixture
def named_bus(bus_name: str) -> Iterator[tb.Bus]:
    """A bus that other processes can open by ``named_bus.name``, with small lanes."""
    with tb.Bus(bus_name, critical_size=64, high_size=128, normal_size=256, critical_timeout_s=0.02) as bus:
        yield bus


@pytest.fixture
def python() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a Python process that runs some source or a file; killed at the test's end if need be."""
    started: list[subprocess.Popen[str]] = []

    def start(source: str | Path, *arguments: object) -> subprocess.Popen[str]:
        program = [str(source)] if isinstance(source, Path) else ["-c", source]
        process = subprocess.Popen(
            [sys.executable, *program, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def _poll(subscription: tb.Subscription) -> list[bytes]:
    return [event.bytes() for event in iter(subscription.poll, None)]


def _drain(subscription: tb.Subscription) -> list[bytes]:
    return [event.bytes() for part in iter(lambda: subscription.drain(7), []) for event in part]


def _batch(subscription: tb.Subscription) -> list[bytes]:
    parts = itertools.takewhile(len, (subscription.read_batch(7) for _ in itertools.count()))
    return [row.tobytes() for part in parts for row in part]


def _iterate(subscription: tb.Subscription) -> list[bytes]:
    """In a thread, which goes on waiting when nothing is pending; the test's end closes it."""
    events: list[bytes] = []
    reader = threading.Thread(target=lambda: events.extend(event.bytes() for event in subscription))
    reader.start()
    wait_until(lambda: subscription.lag == 0)
    books = subscription.ledger()
    subscription.close()
    reader.join(20)
    assert not reader.is_alive(), "closing did not end the iteration"
    subscription.ledger = lambda: books  # type: ignore[method-assign]
    return events


def _async(subscription: tb.Subscription) -> list[bytes]:
    events: list[bytes] = []

    async def take() -> None:
        async for event in subscription:
            events.append(event.bytes())

    async def run() -> None:
        taking = asyncio.create_task(take())
        await asyncio.sleep(0)
        while subscription.lag:  # noqa: ASYNC110 - a reader has no event for "nothing left"
            await asyncio.sleep(0)
        # The task may have the last event in hand and let others run before it goes on.
        await asyncio.sleep(0.001)
        taking.cancel()
        await asyncio.wait([taking])

    asyncio.run(asyncio.wait_for(run(), 20))
    return events


def wait_until(condition: Callable[[], object], timeout_s: float = 20.0) -> None:
    """Return as soon as *condition* holds; fail when it has not after a generous time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.001)


@pytest.fixture(name="wait_until")
def _wait_until() -> Callable[..., None]:
    return wait_until


@pytest.fixture(
    scope="session", params=[_poll, _drain, _batch, _iterate, _async], ids=lambda way: way.__name__[1:]
)
def read(request: pytest.FixtureRequest) -> Way:
    """One way to read everything that is pending, as the events' bytes, in order."""
    way: Way = request.param
    return way


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "teardown":
        _told.extend(str(told) for name, told in report.user_properties if name == "campaign")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _told:
        terminalreporter.section("fault campaigns")
        for line in _told:
            terminalreporter.write_line(line)
