"""What an editor must infer about Arrow batches. mypy reads this file; nothing runs it."""

from typing import assert_type

import tickbus as tb
from tickbus import arrow


def a_batch_is_lent_or_copied(bus: tb.Bus, subscription: tb.Subscription) -> None:
    assert_type(arrow.rows(subscription.read_batch()), arrow.ArrowBatch)
    assert_type(arrow.columns(subscription.read_batch(), names=bus), arrow.ArrowBatch)
    arrow.columns([1, 2])  # type: ignore[arg-type]
    arrow.columns(subscription.read_batch(), bus)  # type: ignore[call-arg]


def a_batch_has_the_interface(batch: arrow.ArrowBatch) -> None:
    assert_type(batch.__arrow_c_schema__(), object)
    assert_type(batch.__arrow_c_array__(), tuple[object, object])
    assert_type(len(batch), int)
