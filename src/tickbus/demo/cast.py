"""
Who plays: the strategies of `examples/`, with settings for simulated and for recorded markets.

A simulated market falls by 4 % every few seconds. A recorded one moves by hundredths of a per cent in
the time anybody watches a demo, so there the strategies are a hundred times more nervous than sensible.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import tickbus as tb
from tickbus.demo.strategies.arbitrage_alert import ArbitrageAlert
from tickbus.demo.strategies.coordinated_action import Momentum, Quorum, TakerFlow
from tickbus.demo.strategies.drawdown_stop import DrawdownStop
from tickbus.demo.strategies.spoofing_warning import SpoofingWarning
from tickbus.demo.strategies.stop_loss import StopLoss


class Strategy(Protocol):
    """What the examples have in common."""

    @property
    def patterns(self) -> tuple[str, ...]: ...

    def react(self, event: tb.Event) -> None: ...


@dataclass(frozen=True, slots=True)
class Settings:
    """Thresholds as shares of a price or of the account."""

    stop_distance: float = 0.015
    min_edge: float = 0.002
    drawdown_alert: float = 0.01
    drawdown_stop: float = 0.02
    momentum: float = 0.001
    taker_flow: float = 0.3
    spoof_factor: float = 20.0
    order_quantity: float = 0.1
    holdings: dict[str, float] = field(
        default_factory=lambda: {"BTC-USDT": 1.0, "ETH-USDT": 10.0, "SOL-USDT": 100.0}
    )


def nervous(holdings: dict[str, float]) -> Settings:
    """Settings for recorded markets."""
    return Settings(
        stop_distance=0.000_3,
        min_edge=0.000_1,
        drawdown_alert=0.000_3,
        drawdown_stop=0.000_6,
        momentum=0.000_05,
        spoof_factor=10.0,
        holdings=holdings,
    )


CAST: dict[str, Callable[[tb.Bus, Settings], Strategy]] = {
    "stop_loss": lambda bus, s: StopLoss(bus, s.stop_distance),
    "arbitrage": lambda bus, s: ArbitrageAlert(bus, s.min_edge),
    "drawdown": lambda bus, s: DrawdownStop(bus, s.holdings, s.drawdown_alert, s.drawdown_stop),
    "spoofing": lambda bus, s: SpoofingWarning(bus, s.spoof_factor),
    "momentum": lambda bus, s: Momentum(bus, "momentum", s.momentum),
    "taker_flow": lambda bus, s: TakerFlow(bus, "taker_flow", s.taker_flow),
    "quorum": lambda bus, s: Quorum(bus, s.order_quantity),
}

#: The one that may burn a core for its latency, where one is left for all the others.
SPINNER = "stop_loss"
_IDLE_FOR_A_SPINNER = 1.5

#: The five needs of `examples/`, and the types of reaction that show each at work.
NEEDS = {
    "instant stop-loss": ("stop_loss_triggered",),
    "cross-venue arbitrage alert": ("arbitrage_alert",),
    "drawdown alert, emergency stop": ("drawdown_alert", "emergency_stop"),
    "coordinated action": ("signal_generated", "order_placed"),
    "spoofing warning": ("market_manipulation",),
}


def wait_of(name: str, idle_cores: float) -> tb.bus.Wait:
    """How strategy *name* waits where *idle_cores* cores have nothing to do."""
    return "spin" if name == SPINNER and idle_cores >= _IDLE_FOR_A_SPINNER else "adaptive"
