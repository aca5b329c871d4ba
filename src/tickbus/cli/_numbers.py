"""Numbers on the command line: what argparse calls with an argument's text."""

from __future__ import annotations

import argparse
import math

__all__ = ["above_0", "from_0", "whole_from"]


def above_0(text: str) -> float:
    """A number above 0."""
    value = from_0(text)
    if value == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not above 0")
    return value


def from_0(text: str) -> float:
    """A number from 0."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0")
    return value


class whole_from:
    """A whole number from *least*."""

    def __init__(self, least: int) -> None:
        self._least = least

    def __call__(self, text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None
        if value < self._least:
            raise argparse.ArgumentTypeError(f"{text!r} is below {self._least}")
        return value
