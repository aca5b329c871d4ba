"""pyzmq PUSH/PULL over ipc, no high-water mark (PUB/SUB at its default loses two thirds unpaced)."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

from tickbus.bench.peers.contract import LAYOUT, Transport


class PushTransport(Transport):
    name = "pyzmq"
    requires = "zmq"

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self._folder = tempfile.mkdtemp(prefix="tickbus-bench-")
        self._address = f"ipc://{self._folder}/socket"
        self._socket: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_socket": None}

    def _open(self, kind: str) -> Any:
        import zmq

        socket: Any = zmq.Context.instance().socket(getattr(zmq, kind))
        socket.setsockopt(zmq.SNDHWM, 0)
        socket.setsockopt(zmq.RCVHWM, 0)
        socket.setsockopt(zmq.LINGER, 0)
        return socket

    def sender(self) -> Callable[[float], object]:
        self._socket = self._open("PUSH")
        self._socket.connect(self._address)
        send, pack, clock = self._socket.send, LAYOUT.pack, time.time_ns
        return lambda value: send(pack(clock(), 0, 0, 1, 7, value, 0))

    def receiver(self) -> Callable[[float], Sequence[float]]:
        import zmq

        self._socket = self._open("PULL")
        self._socket.bind(self._address)
        receive_bytes, poll, unpack = self._socket.recv, self._socket.poll, LAYOUT.unpack
        again, no_wait = zmq.Again, zmq.NOBLOCK

        def receive(timeout_s: float) -> Sequence[float]:
            try:
                return (unpack(receive_bytes(no_wait))[5],)
            except again:
                return (unpack(receive_bytes())[5],) if poll(int(timeout_s * 1000)) else ()

        return receive

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        path = os.path.join(self._folder, "socket")
        if os.path.exists(path):
            os.unlink(path)
        os.rmdir(self._folder)
