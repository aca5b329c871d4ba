"""
iceoryx2 publish/subscribe, lossless settings: no safe overflow, and a publisher that retries.

Twice: a reader that polls, and one woken by an iceoryx2 notifier after every event.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, cast

from tickbus.bench.peers.contract import Transport

BUFFER = 4_096
#: An empty `receive` takes about 2 µs, so waiting is counted in takes: a clock read each would add 5 %.
TAKES_PER_S = 500_000


class _Payload(ctypes.Structure):
    _fields_: ClassVar = [
        ("timestamp", ctypes.c_uint64), ("event_type", ctypes.c_uint8), ("priority", ctypes.c_uint8),
        ("source", ctypes.c_uint16), ("symbol", ctypes.c_uint32), ("value", ctypes.c_double),
        ("metadata", ctypes.c_uint64),
    ]  # fmt: skip


class PollTransport(Transport):
    name = "iceoryx2"
    requires = "iceoryx2"
    polls = True
    _made = 0

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        PollTransport._made += 1
        self._name = f"tickbus-bench-{os.getpid()}-{PollTransport._made}"
        # Ports live as long as someone refers to them.
        self._ports: list[Any] = []

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_ports": []}

    def _service(self) -> Any:
        import iceoryx2 as iox2

        iox2.set_log_level(iox2.LogLevel.Error)
        node = iox2.NodeBuilder.new().create(iox2.ServiceType.Ipc)
        service = (
            node.service_builder(iox2.ServiceName.new(self._name))
            .publish_subscribe(_Payload)
            .enable_safe_overflow(False)
            .subscriber_max_buffer_size(BUFFER)
            .open_or_create()
        )
        self._ports += [node, service]
        return service

    def sender(self) -> Callable[[float], object]:
        import iceoryx2 as iox2

        builder = self._service().publisher_builder()
        publisher = builder.backpressure_strategy(iox2.BackpressureStrategy.RetryUntilDelivered).create()
        self._ports.append(publisher)
        loan, clock = publisher.loan_uninit, time.time_ns

        def send(value: float) -> None:
            loan().write_payload(_Payload(clock(), 0, 0, 1, 7, value, 0)).send()

        return send

    def _take(self) -> Callable[[], Any]:
        subscriber = self._service().subscriber_builder().buffer_size(BUFFER).create()
        self._ports.append(subscriber)
        return cast(Callable[[], Any], subscriber.receive)

    def receiver(self) -> Callable[[float], Sequence[float]]:
        take = self._take()

        def receive(timeout_s: float) -> Sequence[float]:
            for _ in range(1 + int(timeout_s * TAKES_PER_S)):
                sample = take()
                if sample is not None:
                    return (sample.payload().contents.value,)
            return ()

        return receive

    def close(self) -> None:
        self._ports.clear()


class NotifiedTransport(PollTransport):
    name = "iceoryx2 with notifier"
    polls = False

    def _event(self) -> Any:
        import iceoryx2 as iox2

        node = iox2.NodeBuilder.new().create(iox2.ServiceType.Ipc)
        service = node.service_builder(iox2.ServiceName.new(self._name + "-wake")).event().open_or_create()
        self._ports += [node, service]
        return service

    def sender(self) -> Callable[[float], object]:
        send_only = super().sender()
        notifier = self._event().notifier_builder().create()
        self._ports.append(notifier)
        notify = notifier.notify

        def send(value: float) -> None:
            send_only(value)
            notify()

        return send

    def receiver(self) -> Callable[[float], Sequence[float]]:
        import iceoryx2 as iox2

        take = self._take()
        listener = self._event().listener_builder().create()
        self._ports.append(listener)

        def receive(timeout_s: float) -> Sequence[float]:
            # Events first: a notification stands for any number of them, so one may also come
            # after its event has been read.
            sample = take()
            if sample is None:
                deadline = time.monotonic() + timeout_s
                while sample is None and (left_s := deadline - time.monotonic()) > 0:
                    listener.timed_wait(iox2.Duration.from_secs_f64(left_s))
                    sample = take()
            return () if sample is None else (sample.payload().contents.value,)

        return receive
