"""Reading: every way in gives the same events, and the ledger accounts for each of them."""

import signal
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tickbus as tb
from tickbus.errors import BusClosedError, CapacityError, InvalidEventError, InvalidSizeError, StartError

MARKET, TRADING, RISK = tb.EventType.PRICE_UPDATE, tb.EventType.ORDER_PLACED, tb.EventType.DRAWDOWN_ALERT
LANES = ("normal", "high", "critical")


def total(reader) -> dict[str, int]:
    """The ledger's sums over all lanes, after checking that each lane adds up."""
    ledger = reader.ledger()
    for lane in ledger.values():
        assert lane["published"] == sum(lane[part] for part in ("delivered", "filtered", "missed", "pending"))
    return {part: sum(lane[part] for lane in ledger.values()) for part in ledger["high"]}


def publish(bus, kind, count, start=0, symbol="BTC-USDT"):
    for number in range(start, start + count):
        bus.publish(kind, symbol, float(number), timestamp=1)


class TestEveryWayIn:
    def test_gives_all_events_of_a_lane_in_order(self, bus, read):
        reader = bus.subscribe(">")
        publish(bus, TRADING, 100)

        events = read(reader)

        assert [tb.Event(TRADING, "BTC-USDT", float(n), timestamp=1).bytes() for n in range(100)] == events
        assert {"published": 100, "delivered": 100, "filtered": 0, "missed": 0, "pending": 0} == total(reader)

    def test_takes_critical_first(self, bus, read):
        reader = bus.subscribe(">")
        publish(bus, TRADING, 20)
        publish(bus, MARKET, 20)
        publish(bus, RISK, 20)

        events = [tb.Event.from_bytes(data) for data in read(reader)]

        assert [RISK] * 20 == [event.event_type for event in events[:20]]
        assert 60 == len(events)

    def test_passes_over_what_does_not_match(self, bus, read):
        reader = bus.subscribe("market.*.*.BTC-*")
        for number in range(90):
            bus.publish(MARKET, ("BTC-USDT", "ETH-USDT", "BTC-EUR")[number % 3], float(number))
        publish(bus, TRADING, 5)

        values = [tb.Event.from_bytes(data).value for data in read(reader)]

        assert [number for number in range(90) if number % 3 != 1] == values
        assert (60, 35) == (total(reader)["delivered"], total(reader)["filtered"])

    def test_knows_how_many_it_missed(self, bus, read):
        """A reader overtaken by the publisher resumes at the oldest event and counts the gap."""
        reader = bus.subscribe("market.>")
        publish(bus, MARKET, 128 + 3)

        values = [tb.Event.from_bytes(data).value for data in read(reader)]

        assert [float(number) for number in range(3, 131)] == values
        assert 3 == total(reader)["missed"]

    @settings(max_examples=40)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from([MARKET, TRADING, RISK]), st.sampled_from(["A", "B"]), st.integers(1, 300)
            ),
            max_size=4,
        ),
        st.sampled_from([">", "*.*.*.A", "market.>", "risk.>"]),
    )
    def test_agrees_with_a_simple_model(self, read, bursts, pattern):
        """Whatever is published, in whatever burst: the model knows what is read, filtered and missed."""
        sizes = {MARKET: 128, TRADING: 256, RISK: 64}
        lanes = {kind: [] for kind in sizes}
        with tb.Bus(critical_size=64, high_size=128, normal_size=256, critical_timeout_s=0) as bus:
            reader = bus.subscribe(pattern, lossy=True)
            for kind, symbol, count in bursts:
                for _ in range(count):
                    event = tb.Event(kind, symbol, float(len(lanes[kind])), timestamp=1)
                    bus.publish_event(event)
                    lanes[kind].append(event)

            events = read(reader)

            wanted = {
                ">": (MARKET, TRADING, RISK),
                "*.*.*.A": (MARKET, TRADING, RISK),
                "market.>": (MARKET,),
                "risk.>": (RISK,),
            }
            for kind, lane in lanes.items():
                kept = lane[-sizes[kind] :]
                match = [
                    event.bytes()
                    for event in kept
                    if kind in wanted[pattern] and (event.symbol == "A" or pattern != "*.*.*.A")
                ]
                assert match == [data for data in events if tb.Event.from_bytes(data).event_type == kind]
                book = reader.ledger()[LANES[kept[0].priority]] if kept else None
                if book:
                    assert len(lane) == book["published"]
                    assert len(match) == book["delivered"]
                    # A lane with nothing wanted in it may be passed over without being looked at.
                    assert len(lane) - len(match) == book["filtered"] + book["missed"]
                    if kind in wanted[pattern]:
                        assert len(lane) - len(kept) == book["missed"]
            total(reader)


class TestLedger:
    @given(
        st.lists(
            st.one_of(
                st.tuples(st.just("publish"), st.sampled_from([MARKET, TRADING, RISK]), st.integers(1, 200)),
                st.tuples(st.sampled_from(["poll", "drain", "batch"]), st.just(0), st.integers(0, 200)),
            ),
            max_size=30,
        )
    )
    def test_is_exact_at_every_moment(self, schedule):
        """Published = delivered + filtered + missed + pending, whatever the order of writes and reads."""
        delivered, published = 0, 0
        with tb.Bus(critical_size=64, high_size=128, normal_size=256) as bus:
            reader = bus.subscribe("market.>", "risk.>", lossy=True)
            for what, kind, count in schedule:
                match what:
                    case "publish":
                        publish(bus, kind, count)
                        published += count
                    case "poll":
                        delivered += sum(reader.poll() is not None for _ in range(count))
                    case "drain":
                        delivered += len(reader.drain(count))
                    case "batch":
                        delivered += len(reader.read_batch(count))

                books = total(reader)
                assert (published, delivered) == (books["published"], books["delivered"])
                assert (books["missed"], books["pending"]) == (reader.missed, reader.lag)

    def test_counts_from_the_start_of_the_subscription(self, bus):
        publish(bus, MARKET, 10)
        reader = bus.subscribe(">")
        publish(bus, MARKET, 3)

        assert {"published": 3, "delivered": 0, "filtered": 0, "missed": 0, "pending": 3} == total(reader)
        assert 3 == reader.lag

    def test_is_exact_while_others_publish(self, bus, stress):
        """Two publishers and two readers: each reader's books balance and its values never go back."""
        count = 20_000 * stress
        readers = [bus.subscribe("market.>"), bus.subscribe("market.*.*.T0")]
        seen: list[list[tuple[str, float]]] = [[], []]
        done = threading.Event()

        def write():
            send = bus.publisher(MARKET, threading.current_thread().name)
            for number in range(count):
                send(float(number))

        def read_all(reader, into):
            while True:
                last = done.is_set()
                events = reader.drain(64)
                into.extend((event.symbol, event.value) for event in events)
                if last and not events:
                    return

        writers = [threading.Thread(target=write, name=f"T{number}") for number in range(2)]
        others = [threading.Thread(target=read_all, args=pair) for pair in zip(readers, seen, strict=True)]
        for thread in [*writers, *others]:
            thread.start()
        for thread in writers:
            thread.join()
        done.set()
        for thread in others:
            thread.join()

        for reader, events in zip(readers, seen, strict=True):
            books = total(reader)
            assert (2 * count, len(events), 0) == (books["published"], books["delivered"], books["pending"])
            for symbol in ("T0", "T1"):
                values = [value for name, value in events if name == symbol]
                assert sorted(set(values)) == values
        assert {symbol for symbol, _ in seen[1]} <= {"T0"}

    def test_can_be_read_while_another_thread_waits(self, bus, wait_until):
        """A monitor may look at a reader that sleeps in another thread, and at the whole bus."""
        reader = bus.subscribe("market.>")
        thread = threading.Thread(target=list, args=(reader,))
        thread.start()
        try:
            publish(bus, MARKET, 5)
            wait_until(lambda: reader.ledger()["high"]["delivered"] == 5)
            assert (0, 0) == (reader.lag, reader.missed)
            assert 5 == bus.stats()["subscriptions"][0]["ledger"]["high"]["delivered"]
        finally:
            reader.close()
            thread.join()


class TestStart:
    def test_latest_begins_with_the_next_event(self, bus):
        publish(bus, MARKET, 5)
        reader = bus.subscribe(">", start="latest")
        publish(bus, MARKET, 2, start=5)

        assert [5.0, 6.0] == [event.value for event in reader.drain(10)]

    def test_earliest_begins_with_the_oldest_kept(self, bus):
        publish(bus, MARKET, 200)
        publish(bus, TRADING, 10)
        reader = bus.subscribe(">", start="earliest")

        values = [event.value for event in reader.drain(1000) if event.event_type == MARKET]

        assert [float(number) for number in range(200 - 128, 200)] == values
        assert 0 == reader.missed

    @pytest.mark.parametrize("kind", [MARKET, TRADING, RISK], ids=LANES[1::-1] + LANES[2:])
    def test_id_begins_with_that_event(self, bus, kind):
        """In its lane; the others begin with their next event."""
        ids = [bus.publish(kind, "BTC-USDT", float(number)) for number in range(20)]
        other = MARKET if kind == TRADING else TRADING
        publish(bus, other, 3)
        reader = bus.subscribe(">", start=ids[12])

        events = reader.drain(100)

        assert ids[12:] == [event.id for event in events]

    def test_id_that_is_gone_counts_what_was_missed(self, bus):
        first = bus.publish(MARKET, "BTC-USDT", 0.0)
        publish(bus, MARKET, 200, start=1)
        reader = bus.subscribe(">", start=first)

        assert 201 - 128 == reader.poll().value == reader.missed

    def test_id_may_be_the_next_one(self, bus):
        """What ``position`` says can be given to ``start``: nothing is skipped or repeated."""
        reader = bus.subscribe("market.>")
        publish(bus, MARKET, 10)
        values = [event.value for event in reader.drain(4)]
        position = reader.position["high"]
        reader.close()

        again = bus.subscribe("market.>", start=position)

        assert [float(number) for number in range(10)] == values + [event.value for event in again.drain(100)]

    @pytest.mark.parametrize("start", [1 << 2, 3, -1, "yesterday", 1.5, None, 2**64], ids=str)
    def test_nowhere_is_refused(self, named_bus, start):
        before = named_bus.stats()

        with pytest.raises(StartError, match="start"):
            named_bus.subscribe("market.*.new-source.NEW-SYMBOL", start=start)

        assert before == named_bus.stats()

    def test_can_be_another_subscriptions_position(self, bus):
        """Who leaves and comes back goes on in every lane."""
        reader = bus.subscribe(">")
        for kind in (MARKET, TRADING, RISK):
            publish(bus, kind, 20)
        before = reader.drain(30)
        position = reader.position
        reader.close()

        again = bus.subscribe(">", start=position)

        assert 60 == len({event.id for event in [*before, *again.drain(100)]})
        with pytest.raises(StartError, match="all lanes"):
            bus.subscribe(">", start={"high": 3})


class TestPriorities:
    def test_critical_overtakes_a_full_backlog(self, bus, read):
        """However much waits in the other lanes, the critical event is the next one read."""
        reader = bus.subscribe(">")
        publish(bus, MARKET, 128)
        publish(bus, TRADING, 256, start=10)
        bus.publish(tb.EventType.EMERGENCY_STOP, "ALL", 1.0)

        events = read(reader)

        assert tb.EventType.EMERGENCY_STOP == tb.Event.from_bytes(events[0]).event_type
        assert 128 + 256 + 1 == len(events)

    def test_critical_overtakes_between_two_reads(self, bus):
        reader = bus.subscribe(">")
        publish(bus, MARKET, 100)

        for number in range(50):
            assert MARKET == reader.poll().event_type
            bus.publish(RISK, "BTC-USDT", float(number))
            critical = reader.poll()
            assert (RISK, float(number)) == (critical.event_type, critical.value)

    def test_high_comes_before_normal(self, bus):
        reader = bus.subscribe(">")
        publish(bus, TRADING, 3)
        publish(bus, MARKET, 3)

        assert [MARKET, MARKET, MARKET, TRADING, TRADING, TRADING] == [
            event.event_type for event in iter(reader.poll, None)
        ]

    @pytest.mark.parametrize("way", ["poll", "drain", "batch"])
    def test_normal_has_its_share(self, way):
        """Of any 8 events in a row one is a normal one, as long as both lanes have some."""
        with tb.Bus(high_size=4096, normal_size=4096) as bus:
            reader = bus.subscribe(">")
            publish(bus, MARKET, 3500)
            publish(bus, TRADING, 500)
            match way:
                case "poll":
                    kinds = [event.event_type for event in iter(reader.poll, None)]
                case "drain":
                    kinds = [event.event_type for event in reader.drain(4000)]
                case _:
                    kinds = list(reader.read_batch(4000)["event_type"])

        # A batch takes its shares a chunk of 512 at a time.
        window = 8 if way == "poll" else 512
        until = len(kinds) - 1 - kinds[::-1].index(TRADING)
        for at in range(0, until - window, window):
            assert kinds[at : at + window].count(TRADING) >= window // 8

    def test_normal_cannot_starve(self, bus):
        """A publisher that fills the high lane as fast as it is read does not keep normal out."""
        reader = bus.subscribe(">")
        publish(bus, TRADING, 10)
        publish(bus, MARKET, 50)
        seen = []

        for number in range(80):
            seen.append(reader.poll().event_type)
            bus.publish(MARKET, "BTC-USDT", float(number))

        assert 10 == seen.count(TRADING)


class TestPoll:
    def test_does_not_wait_unless_told(self, bus):
        assert bus.subscribe(">").poll() is None

    @pytest.mark.parametrize("wait", ["adaptive", "spin", "yield", "sleep"])
    def test_waits_as_told(self, bus, wait):
        reader = bus.subscribe(">", wait=wait)
        timer = threading.Timer(0.03, bus.publish, (MARKET, "BTC-USDT", 1.0))
        timer.start()

        event = reader.poll(timeout_s=20)

        assert 1.0 == event.value
        assert reader.poll(timeout_s=0.001) is None
        timer.join()

    def test_waits_for_ever_with_none(self, bus):
        reader = bus.subscribe("risk.>")
        timer = threading.Timer(0.12, bus.publish, (RISK, "BTC-USDT", 1.0))
        timer.start()

        assert 1.0 == reader.poll(timeout_s=None).value
        timer.join()

    @pytest.mark.parametrize("timeout_s", [-1, float("nan")])
    def test_refuses_a_time_that_is_none(self, bus, timeout_s):
        with pytest.raises(InvalidEventError, match="timeout_s"):
            bus.subscribe(">").poll(timeout_s)

    def test_refuses_an_unknown_strategy(self, named_bus):
        before = named_bus.stats()

        with pytest.raises(InvalidEventError, match="nap"):
            named_bus.subscribe(">", wait="nap")

        assert before == named_bus.stats()

    def test_lets_other_threads_run(self, bus):
        """The GIL is released while waiting."""
        reader, counted = bus.subscribe(">"), []

        def count():
            counted.extend(range(100_000))
            bus.publish(MARKET, "BTC-USDT", 1.0)

        thread = threading.Thread(target=count)
        thread.start()
        event = reader.poll(timeout_s=20)
        thread.join()

        assert event is not None
        assert 100_000 == len(counted)

    def test_is_interrupted_by_signals(self, bus):
        """Ctrl-C reaches a thread that waits; the subscription can be used afterwards."""
        reader = bus.subscribe(">")

        def interrupt(number, frame):
            raise KeyboardInterrupt

        before = signal.signal(signal.SIGALRM, interrupt)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(KeyboardInterrupt):
                reader.poll(timeout_s=20)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

        bus.publish(MARKET, "BTC-USDT", 1.0)
        assert 1.0 == reader.poll().value

    def test_can_be_kept(self, bus):
        """An event object somebody holds never becomes another event."""
        reader = bus.subscribe(">")
        publish(bus, TRADING, 200)

        events = list(iter(reader.poll, None))

        assert [float(number) for number in range(200)] == [event.value for event in events]


class TestDrain:
    def test_takes_at_most_so_many(self, bus):
        reader = bus.subscribe(">")
        publish(bus, TRADING, 10)

        assert [3, 0, 7] == [len(reader.drain(3)), len(reader.drain(0)), len(reader.drain(100))]

    def test_gives_events_that_can_be_kept(self, bus):
        reader, kept = bus.subscribe(">"), []
        for start in range(0, 1000, 50):
            publish(bus, TRADING, 50, start=start)
            events = reader.drain(50)
            kept.extend(events[::7])
            del events

        values = [event.value for event in kept]

        assert sorted(values) == values
        assert len(set(values)) == len(values) == 160

    def test_takes_any_size(self, bus):
        reader = bus.subscribe(">")
        publish(bus, TRADING, 5)

        assert 5 == len(reader.drain(2**40))


class TestReadBatch:
    def test_is_the_callers_own(self, bus):
        """A copy: later events do not show in it, and writing to it disturbs nobody."""
        one, two = bus.subscribe(">"), bus.subscribe(">")
        publish(bus, TRADING, 10)
        batch = one.read_batch(100)

        batch["value"] += 1000
        publish(bus, TRADING, 256, start=10)

        assert tb.EVENT_DTYPE == batch.dtype
        assert [1000.0 + number for number in range(10)] == list(batch["value"])
        assert 10.0 == two.read_batch(100)["value"][0]

    def test_fills_what_it_is_given(self, bus):
        """With ``out`` nothing is allocated: a view of the filled part comes back."""
        reader, out = bus.subscribe(">"), np.zeros(100, tb.EVENT_DTYPE)
        publish(bus, TRADING, 10)

        batch = reader.read_batch(out=out)

        assert 10 == len(batch)
        assert np.shares_memory(batch, out)
        assert list(range(10)) == list(out["value"][:10])
        assert 0 == out["value"][10:].sum()

    def test_takes_at_most_so_many(self, bus):
        reader, out = bus.subscribe(">"), np.zeros(5, tb.EVENT_DTYPE)
        publish(bus, TRADING, 20)

        assert [3, 5, 0, 4, 8] == [
            len(reader.read_batch(3)),
            len(reader.read_batch(100, out=out)),
            len(reader.read_batch(0)),
            len(reader.read_batch(4, out=out)),
            len(reader.read_batch()),
        ]

    @pytest.mark.parametrize(
        "out",
        [
            np.zeros(4),
            np.zeros((2, 2), tb.EVENT_DTYPE),
            np.zeros(8, tb.EVENT_DTYPE)[::2],
            np.frombuffer(bytes(64), tb.EVENT_DTYPE),
            np.frombuffer(bytearray(65), tb.EVENT_DTYPE, count=2, offset=1),
            bytearray(64),
        ],
        ids=["floats", "two dimensions", "strided", "read-only", "unaligned", "bytearray"],
    )
    def test_of_a_bad_array_reads_nothing(self, bus, out):
        reader = bus.subscribe(">")
        publish(bus, TRADING, 3)

        with pytest.raises(InvalidEventError):
            reader.read_batch(out=out)

        assert 3 == reader.lag == len(reader.drain(10))

    def test_can_be_published(self, bus, named_bus):
        """What was read is what may be written: a batch goes back in as it came."""
        reader = bus.subscribe(">")
        publish(bus, TRADING, 10)
        batch = reader.read_batch()

        assert 10 == bus.publish_batch(batch)
        assert [float(number) for number in range(10)] == [event.value for event in reader.drain(100)]

    @pytest.mark.parametrize("how", ["drain", "read_batch"])
    @pytest.mark.parametrize("most", [-1, 1.5, "many"])
    def test_a_size_that_is_none_is_refused_and_named(self, bus, how, most):
        reader = bus.subscribe(">")
        publish(bus, TRADING, 3)

        with pytest.raises(InvalidSizeError, match=f"max={most!r}"):
            getattr(reader, how)(most)
        assert 3 == reader.lag


class TestIteration:
    def test_waits_and_ends_when_closed(self, bus, wait_until):
        reader, values = bus.subscribe(">"), []
        thread = threading.Thread(target=lambda: values.extend(event.value for event in reader))
        thread.start()

        for number in range(5):
            bus.publish(MARKET, "BTC-USDT", float(number))
            wait_until(lambda number=number: len(values) == number + 1)
        reader.close()
        thread.join(20)

        assert not thread.is_alive()
        assert [0.0, 1.0, 2.0, 3.0, 4.0] == values

    def test_ends_with_its_bus(self, bus):
        reader, ended = bus.subscribe(">", wait="sleep"), []
        thread = threading.Thread(target=lambda: ended.append(list(reader)))
        thread.start()

        bus.close()
        thread.join(20)

        assert [[]] == ended

    def test_ends_quietly_when_closed_as_an_event_comes(self, bus, wait_until):
        """Closing and publishing at once: the loop ends, without an exception."""
        for number in range(10):
            reader, outcome = bus.subscribe(">", wait="sleep"), []

            def run(reader=reader, outcome=outcome):
                try:
                    outcome.append([event.value for event in reader])
                except BaseException as error:
                    outcome.append(error)

            thread = threading.Thread(target=run)
            thread.start()
            wait_until(thread.is_alive)
            threading.Event().wait(0.01)
            reader.close()
            bus.publish(MARKET, "BTC-USDT", float(number))
            thread.join(20)

            assert outcome in ([[]], [[float(number)]])

    def test_is_one_threads_at_a_time(self, bus, wait_until):
        """A second thread that reads a waiting subscription gets an error, not its events."""
        reader = bus.subscribe(">", wait="sleep")
        thread = threading.Thread(target=list, args=(reader,))
        thread.start()

        def busy():
            try:
                return reader.poll()
            except RuntimeError as error:
                return "thread" in str(error)

        wait_until(busy)
        reader.close()
        thread.join(20)

    def test_serves_a_hundred_threads(self, stress):
        """Each of 100 waiting readers gets each of 1,000 events, or knows how many it missed."""
        with tb.Bus(high_size=2048) as bus:
            readers = [bus.subscribe("market.>") for _ in range(100)]
            outcome = {}

            def run(reader):
                try:
                    outcome[reader] = sum(1 for event in reader)
                except BaseException as error:
                    outcome[reader] = error

            threads = [threading.Thread(target=run, args=(reader,)) for reader in readers]
            for thread in threads:
                thread.start()
            threading.Event().wait(0.1)
            publish(bus, MARKET, 1000)
            while any(reader.lag for reader in readers if reader not in outcome):
                threading.Event().wait(0.01)
            for reader in readers:
                reader.close()
            for thread in threads:
                thread.join(20)

        assert [1000] * 100 == list(outcome.values())


class TestClosing:
    def test_keeps_the_last_books(self, bus):
        """What a report at the end is made of."""
        with bus.subscribe("market.>") as reader:
            publish(bus, MARKET, 5)
            reader.drain(3)
            books = reader.ledger()

        assert books == reader.ledger()
        assert (2, 0) == (reader.lag, reader.missed)

    def test_ends_its_use(self, bus):
        reader = bus.subscribe(">")
        reader.close()
        reader.close()

        assert reader.closed
        for use in (reader.poll, reader.drain, reader.read_batch):
            with pytest.raises(BusClosedError):
                use()
        assert [] == list(reader)

    def test_happens_at_the_end_of_a_with_block(self, bus):
        with bus.subscribe(">") as reader:
            pass

        assert reader.closed
        assert 0 == bus.stats()["readers"]

    def test_happens_when_nobody_holds_it(self, bus):
        reader = bus.subscribe(">")
        assert 1 == bus.stats()["readers"]

        del reader

        assert 0 == bus.stats()["readers"]

    def test_gives_room_for_others(self, named_bus):
        """Places are limited, and given back; one too many is a typed error that changes nothing."""
        readers = [named_bus.subscribe(">", lossy=True) for _ in range(2048)]
        before = named_bus.stats()

        with pytest.raises(CapacityError, match="2048"):
            named_bus.subscribe(">")

        assert before["readers"] == named_bus.stats()["readers"] == 2048
        readers.pop().close()
        assert named_bus.subscribe(">").poll() is None
