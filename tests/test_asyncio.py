"""``async for`` on any event loop: no thread, one file descriptor, and nobody starves."""

import asyncio
import gc
import threading
from collections.abc import Callable

import pytest

import tickbus as tb
from tickbus.errors import BusClosedError

MARKET, TRADING = tb.EventType.PRICE_UPDATE, tb.EventType.ORDER_PLACED
#: Generous: a test that gets here has failed.
LONG_S = 20.0


def _uvloop_run(main):
    uvloop = pytest.importorskip("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


@pytest.fixture(params=[asyncio.run, _uvloop_run], ids=["asyncio", "uvloop"])
def run(request) -> Callable:
    """Run a coroutine in a new loop of one kind, but not for ever."""
    return lambda main: request.param(asyncio.wait_for(main, LONG_S))


async def values_of(reader, count=None) -> list[float]:
    values = []
    async for event in reader:
        values.append(event.value)
        if len(values) == count:
            break
    return values


class TestAsyncFor:
    def test_takes_what_is_there_and_waits_for_more(self, bus, run):
        async def main():
            reader = bus.subscribe("market.>")
            bus.publish(MARKET, "BTC-USDT", 0.0)
            taking = asyncio.create_task(values_of(reader, 4))
            for number in (1.0, 2.0, 3.0):
                await asyncio.sleep(0.01)
                bus.publish(MARKET, "BTC-USDT", number)
            return await taking

        assert [0.0, 1.0, 2.0, 3.0] == run(main())

    def test_is_woken_by_another_thread(self, bus, run):
        async def main():
            reader = bus.subscribe("market.>")
            timer = threading.Timer(0.1, bus.publish, (MARKET, "BTC-USDT", 1.0))
            timer.start()
            return await values_of(reader, 1)

        assert [1.0] == run(main())

    def test_is_woken_by_another_process(self, named_bus, run, python):
        other = python(
            "import sys, tickbus as tb\nsys.stdin.readline()\n"
            "with tb.Bus(sys.argv[1]) as bus: bus.publish(0, 'BTC-USDT', 1.0)",
            named_bus.name,
        )

        async def main():
            reader = named_bus.subscribe("market.>")
            taking = asyncio.create_task(values_of(reader, 1))
            await asyncio.sleep(0.05)
            other.stdin.write("go\n")
            other.stdin.flush()
            return await taking

        assert [1.0] == run(main())

    def test_starts_no_thread(self, bus, run):
        async def main():
            readers = [bus.subscribe("market.>") for _ in range(20)]
            tasks = [asyncio.create_task(values_of(reader, 1)) for reader in readers]
            await asyncio.sleep(0.01)
            threads = threading.active_count()
            bus.publish(MARKET, "BTC-USDT", 1.0)
            await asyncio.gather(*tasks)
            return threads

        before = threading.active_count()
        assert before == run(main())

    def test_serves_many_subscriptions_of_one_loop(self, bus, run):
        """Each gets all of its own events, whoever wakes whom."""

        async def main():
            readers = [bus.subscribe(f"trading.*.*.S{number % 4}") for number in range(200)]
            tasks = [asyncio.create_task(values_of(reader, 50)) for reader in readers]
            for number in range(200):
                bus.publish(TRADING, f"S{number % 4}", float(number))
                if number % 5 == 0:
                    await asyncio.sleep(0)
            return await asyncio.gather(*tasks)

        results = run(main())

        for at, values in enumerate(results):
            assert [float(number) for number in range(200) if number % 4 == at % 4] == values

    def test_serves_several_buses(self, run):
        async def main():
            with tb.Bus() as one, tb.Bus() as two:
                first = asyncio.create_task(values_of(one.subscribe(">"), 1))
                second = asyncio.create_task(values_of(two.subscribe(">"), 1))
                await asyncio.sleep(0.01)
                two.publish(MARKET, "BTC-USDT", 2.0)
                one.publish(MARKET, "BTC-USDT", 1.0)
                return await first + await second

        assert [1.0, 2.0] == run(main())

    def test_lets_other_tasks_run(self, bus, run):
        """A stream that never runs dry does not keep the loop to itself."""

        async def main():
            reader, ticks = bus.subscribe("market.>"), 0

            async def tick():
                nonlocal ticks
                while True:
                    ticks += 1
                    await asyncio.sleep(0)

            ticking = asyncio.create_task(tick())
            bus.publish(MARKET, "BTC-USDT", 0.0)
            async for event in reader:
                bus.publish(MARKET, "BTC-USDT", event.value + 1)
                if event.value == 5000:
                    break
            ticking.cancel()
            return ticks

        assert 10 <= run(main())

    def test_is_not_disturbed_by_a_neighbour_with_news(self, bus, run):
        """One subscription has events its task has not taken yet; another waits: the loop goes on."""

        async def main():
            idle, busy = bus.subscribe("market.>"), bus.subscribe("trading.>")
            waiting = asyncio.create_task(values_of(idle, 1))
            taking = asyncio.create_task(values_of(busy, 1))
            await asyncio.sleep(0.01)
            bus.publish(TRADING, "BTC-USDT", 1.0)
            taken = await taking
            bus.publish(MARKET, "BTC-USDT", 2.0)
            return taken + await waiting

        assert [1.0, 2.0] == run(main())

    def test_ends_after_as_many_loops_as_one_likes(self, run, bus):
        """A loop that has ended holds nothing of the bus."""
        for number in range(70):

            async def main(number=number):
                with bus.subscribe("market.>") as reader:
                    asyncio.get_running_loop().call_soon(bus.publish, MARKET, "BTC-USDT", float(number))
                    return await values_of(reader, 1)

            assert [float(number)] == run(main())

    def test_lets_go_of_its_bus(self, named_bus, run):
        """A bus that was read asynchronously can be collected like any other."""

        async def main():
            other = tb.Bus(named_bus.name)
            waiting = asyncio.create_task(values_of(other.subscribe("market.>"), 1))
            await asyncio.sleep(0.01)
            other.publish(MARKET, "BTC-USDT", 1.0)
            await waiting

        run(main())
        gc.collect()

        assert 1 == named_bus.stats()["participants"]


class TestCancelling:
    def test_leaves_the_subscription_usable(self, bus, run):
        async def main():
            reader = bus.subscribe("market.>")
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(values_of(reader), 0.05)
            bus.publish(MARKET, "BTC-USDT", 1.0)
            return await values_of(reader, 1)

        assert [1.0] == run(main())

    def test_leaves_the_others_waiting(self, bus, run):
        async def main():
            one, two = bus.subscribe("market.>"), bus.subscribe("market.>")
            cancelled = asyncio.create_task(values_of(one))
            waiting = asyncio.create_task(values_of(two, 1))
            await asyncio.sleep(0.01)
            cancelled.cancel()
            await asyncio.wait([cancelled])
            bus.publish(MARKET, "BTC-USDT", 1.0)
            return await waiting

        assert [1.0] == run(main())

    def test_loses_no_event(self, bus, run):
        """Cancelled again and again while events come: each is delivered once."""

        async def main():
            reader, values = bus.subscribe("trading.>"), []

            async def take():
                async for event in reader:
                    values.append(event.value)

            for number in range(200):
                task = asyncio.create_task(take())
                await asyncio.sleep(0)
                bus.publish(TRADING, "BTC-USDT", float(number))
                if number % 3:
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
            values.extend(event.value for event in reader.drain(1000))
            return values

        assert [float(number) for number in range(200)] == run(main())

    def test_loses_no_event_of_a_long_burst(self, run):
        """Not even where a reader of a stream that never runs dry lets other tasks run."""

        async def main():
            with tb.Bus() as bus:
                reader, values = bus.subscribe("trading.>"), []
                for number in range(3000):
                    bus.publish(TRADING, "BTC-USDT", float(number))

                async def take():
                    async for event in reader:
                        values.append(event.value)

                while reader.lag:
                    task = asyncio.create_task(take())
                    await asyncio.sleep(0)
                    task.cancel()
                    await asyncio.wait([task])
                return values

        assert [float(number) for number in range(3000)] == run(main())


class TestClosing:
    def test_ends_the_loop_of_who_waits(self, bus, run):
        async def main():
            reader = bus.subscribe("market.>")
            asyncio.get_running_loop().call_later(0.02, reader.close)
            return await values_of(reader)

        assert [] == run(main())

    def test_of_the_bus_ends_all(self, bus, run):
        async def main():
            tasks = [asyncio.create_task(values_of(bus.subscribe("market.>"))) for _ in range(5)]
            await asyncio.sleep(0.01)
            bus.publish(MARKET, "BTC-USDT", 1.0)
            await asyncio.sleep(0.01)
            bus.close()
            return await asyncio.gather(*tasks)

        assert [[1.0]] * 5 == run(main())

    def test_from_another_thread(self, bus, run):
        async def main():
            reader = bus.subscribe("market.>")
            threading.Timer(0.05, reader.close).start()
            return await values_of(reader)

        assert [] == run(main())

    def test_of_a_neighbour_changes_nothing(self, bus, run):
        """A task closes another task's subscription and goes on with its own."""

        async def main():
            mine, other = bus.subscribe("trading.>"), bus.subscribe("market.>")
            waiting = asyncio.create_task(values_of(other))

            async def take():
                values = []
                async for event in mine:
                    values.append(event.value)
                    other.close()
                    if len(values) == 2:
                        return values

            taking = asyncio.create_task(take())
            for number in (1.0, 2.0):
                await asyncio.sleep(0.01)
                bus.publish(TRADING, "BTC-USDT", number)
            return await taking, await waiting

        assert ([1.0, 2.0], []) == run(main())

    def test_before_the_loop_is_an_end_at_once(self, bus, run):
        async def main():
            reader = bus.subscribe(">")
            reader.close()
            return await values_of(reader)

        assert [] == run(main())

    def test_of_a_closed_bus_is_known(self, bus, run):
        async def main():
            bus.close()
            with pytest.raises(BusClosedError):
                bus.subscribe(">")
            return True

        assert run(main())
