"""
The same work done with something else: a file per peer.

In one thread a peer is a `Dispatcher`: publish to handlers. Between threads or processes it is a
`Transport`: a sender here, a receiver there. Each file imports its library inside its functions, so
that a peer that is not installed is left out and named, and importing this package costs nothing.
Settings are the library's own, except where its defaults lose events: then the lossless ones.
"""

from __future__ import annotations

from tickbus.bench.peers import (
    asyncio_queue,
    asyncio_threadsafe,
    blinker_signal,
    dict_of_lists,
    iceoryx2_topic,
    multiprocessing_pipe,
    multiprocessing_queue,
    nautilus_bus,
    psygnal_signal,
    pyee_emitter,
    python_ring,
    pyzmq_push,
    simple_queue,
)  # fmt: skip
from tickbus.bench.peers.contract import Dispatcher, Transport

#: Publish to handlers in one thread. The dict needs no install, so it is the yardstick of every run.
DISPATCHERS: tuple[Dispatcher, ...] = (
    dict_of_lists.PREBUILT,
    dict_of_lists.BUILT,
    blinker_signal.DISPATCHER,
    pyee_emitter.DISPATCHER,
    psygnal_signal.DISPATCHER,
    asyncio_queue.DISPATCHER,
    nautilus_bus.DISPATCHER,
)

#: One thread to another in one process.
THREAD_TRANSPORTS: tuple[type[Transport], ...] = (
    simple_queue.SimpleQueueTransport,
    asyncio_threadsafe.ThreadsafeTransport,
)

#: One process to another; those that poll cannot take part where the reader sleeps.
PROCESS_TRANSPORTS: tuple[type[Transport], ...] = (
    python_ring.RingTransport,
    multiprocessing_pipe.PipeTransport,
    multiprocessing_queue.QueueTransport,
    pyzmq_push.PushTransport,
    iceoryx2_topic.PollTransport,
    iceoryx2_topic.NotifiedTransport,
)
