"""Time that tests move, and members that die."""

from __future__ import annotations

import tickbus as tb
from tickbus.delivery import Clock, RoleSubscription
from tickbus.delivery.lease import Watch
from tickbus.delivery.loop import Loop


class Time:
    """Clocks that stand still until they are moved: seconds that never jump, and a wall clock that may."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.wall = 1_800_000_000 * 10**9

    def move(self, seconds: float) -> None:
        """Let time pass on both."""
        self.now += seconds
        self.wall += int(seconds * 1e9)

    def jump(self, seconds: float) -> None:
        """Set the wall clock."""
        self.wall += int(seconds * 1e9)

    def clock(self) -> Clock:
        return Clock(lambda: self.now, lambda: self.wall)


class Hung(Watch):
    """Whoever looks like this takes any loop that runs for hung."""

    def hangs(self, term: int, beats: int) -> bool:
        return True


def crash(member: RoleSubscription) -> None:
    """What the kernel does for a member that is killed: nothing is written, and its locks are free."""
    member._closed = True
    member._subscription.close()
    member._records.close()
    if member._cursor is not None:
        member._cursor.close()
    member._member.close()


def turn(loop: Loop, times: int = 5) -> None:
    """Let a loop take in what there is."""
    for _ in range(times):
        loop.step(0.0)


def publish(bus: tb.Bus, clocks: Time, kind: int = tb.EventType.DRAWDOWN_ALERT) -> int:
    """A followed event, at a time that the test moves."""
    return bus.publish(kind, "BTC-USDT", 0.2, timestamp=clocks.wall)
