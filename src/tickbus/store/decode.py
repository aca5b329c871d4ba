"""
The fields of events as columns: `event.price`, `event.bid` and the others for whole arrays.

The same table decides, and the arithmetic gives the same doubles as the native accessors
(tests/store/test_decode.py compares them for any 64 bits). Costs some 10 ns a quote.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tickbus.store.names import TypeMeaning

__all__ = ["FIELDS", "Decoder"]

FIELDS = ("price", "quantity", "side", "bid", "ask", "bid_size", "ask_size")
_OF_QUOTE = ("ask", "bid_size", "ask_size")

# How crates/tickbus-core/src/quote.rs packs a quote: ask size, bid size, decimals, spread.
_SPREAD_BITS = 24
_SIZE_BITS = 18
_MANTISSA_BITS = 12
_LEAST_EXPONENT = -30
_BIAS = 1023
_POWERS = 10.0 ** np.arange(16)

Column = tuple[NDArray[np.float64] | NDArray[np.int8], NDArray[np.bool_]]


class Decoder:
    """Reads fields of events whose types mean what *types* says."""

    def __init__(self, types: Mapping[int, TypeMeaning]) -> None:
        self._value = {name: np.zeros(256, bool) for name in FIELDS}
        self._metadata = {name: np.zeros(256, bool) for name in FIELDS}
        for number, row in types.items():
            if row.value in ("price", "bid"):
                self._value[row.value][number] = True
            if row.encoding == "signed_quantity":
                self._metadata["quantity"][number] = self._metadata["side"][number] = True
            elif row.encoding == "quote":
                for name in _OF_QUOTE:
                    self._metadata[name][number] = True

    def column(self, events: NDArray[np.void], name: str) -> Column:
        """The values of field *name*, and which rows have it; the others hold anything."""
        types = events["event_type"]
        in_value = self._value[name][types]
        in_metadata = self._metadata[name][types]
        if name in ("price", "bid"):
            return np.ascontiguousarray(events["value"]), in_value
        metadata = np.ascontiguousarray(events["metadata"])
        if not in_metadata.any():
            nothing: NDArray[np.float64] = np.zeros(len(events))
            return nothing.astype(np.int8) if name == "side" else nothing, in_metadata
        if name == "quantity":
            return np.abs(metadata.view(np.float64)), in_metadata
        if name == "side":
            signed = metadata.view(np.float64)
            return (signed > 0).astype(np.int8) - (signed < 0).astype(np.int8), in_metadata
        if name == "ask":
            return _ask(events["value"], metadata), in_metadata
        above = _SPREAD_BITS + 4 + (_SIZE_BITS if name == "ask_size" else 0)
        return _size(metadata >> np.uint64(above)), in_metadata


def _ask(bids: NDArray[np.float64], metadata: NDArray[np.uint64]) -> NDArray[np.float64]:
    scale = _POWERS[(metadata >> np.uint64(_SPREAD_BITS)) & np.uint64(15)]
    # Shifting up and down again extends the sign.
    spread = (metadata.view(np.int64) << (64 - _SPREAD_BITS)) >> (64 - _SPREAD_BITS)
    with np.errstate(invalid="ignore", over="ignore"):
        asks: NDArray[np.float64] = (_round(bids * scale) + spread) / scale
    return asks


def _round(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Halves away from zero, as Rust rounds; NumPy rounds them to even."""
    whole = np.trunc(numbers)
    up = np.abs(numbers - whole) >= 0.5
    rounded: NDArray[np.float64] = np.where(up, whole + np.copysign(1.0, numbers), whole)
    return rounded


def _size(packed: NDArray[np.uint64]) -> NDArray[np.float64]:
    bits = packed & np.uint64((1 << _SIZE_BITS) - 1)
    exponent = (bits >> np.uint64(_MANTISSA_BITS)) + np.uint64(_BIAS + _LEAST_EXPONENT)
    mantissa = bits & np.uint64((1 << _MANTISSA_BITS) - 1)
    sizes = (exponent << np.uint64(52)) | (mantissa << np.uint64(52 - _MANTISSA_BITS))
    sizes[bits == 0] = 0
    return sizes.view(np.float64)
