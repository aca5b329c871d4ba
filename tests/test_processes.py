"""One bus, several processes: names are shared, leaving cleans up, and what is foreign is refused."""

import gc
import multiprocessing
import os
import pickle
import stat
import struct
import subprocess
import sys
from pathlib import Path

import pytest

import tickbus as tb
from tickbus.errors import BusForkedError, BusOwnerError, CapacityError, InvalidNameError, LayoutError

MARKET, RISK = tb.EventType.PRICE_UPDATE, tb.EventType.DRAWDOWN_ALERT
LONG_S = 30


def file_of(name: str) -> Path:
    return Path(f"/dev/shm/tickbus.{name}")


def left_of(name: str) -> list[str]:
    """Files in shared memory that belong to the bus."""
    return sorted(path.name for path in Path("/dev/shm").glob(f"tickbus.{name}*"))


def finish(process: subprocess.Popen) -> str:
    """What a child said; it must have ended well and without complaints."""
    out, err = process.communicate(timeout=LONG_S)
    assert (0, "") == (process.returncode, err)
    return out.strip()


class TestSharing:
    def test_events_cross_processes(self, named_bus, python):
        """Each of several processes reads what all of them publish, in one order."""
        program = """
import sys, tickbus as tb
with tb.Bus(sys.argv[1], source=sys.argv[2]) as bus, bus.subscribe("trading.>") as reader:
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(50):
        bus.publish(tb.EventType.ORDER_PLACED, "BTC-USDT", float(number))
    seen = []
    while len(seen) < 150:
        event = reader.poll(timeout_s=30)
        seen.append((event.source, int(event.value)))
    print(seen)
"""
        children = [python(program, named_bus.name, f"p{number}") for number in range(3)]
        for child in children:
            assert "ready\n" == child.stdout.readline()
        for child in children:
            child.stdin.write("go\n")
            child.stdin.flush()

        first, *others = [finish(child) for child in children]

        assert [first] * 2 == others, "one total order"
        for number in range(3):
            assert list(range(50)) == [value for source, value in eval(first) if source == f"p{number}"]

    def test_names_are_given_once(self, named_bus, python):
        """Two processes that intern the same new names at the same time agree on their numbers."""
        program = """
import sys, tickbus as tb
with tb.Bus(sys.argv[1]) as bus:
    print("ready", flush=True)
    sys.stdin.readline()
    order = range(300) if sys.argv[2] == "0" else reversed(range(300))
    numbers = {number: (bus.symbol_id(f"S{number}"), bus.source_id(f"s{number}")) for number in order}
    print(sorted(numbers.items()))
"""
        children = [python(program, named_bus.name, number) for number in range(2)]
        for child in children:
            child.stdout.readline()
        for child in children:
            child.stdin.write("go\n")
            child.stdin.flush()

        one, two = (finish(child) for child in children)

        assert one == two
        assert list(range(1, 301)) == sorted(numbers[0] for _, numbers in eval(one))
        assert (300, 300) == (named_bus.stats()["symbols"], named_bus.stats()["sources"])
        assert all(f"S{number}" == named_bus.symbol_name(ids[0]) for number, ids in eval(one))

    def test_types_are_shared(self, named_bus, python):
        finish(
            python(
                "import sys, tickbus as tb\n"
                "with tb.Bus(sys.argv[1]) as bus:\n"
                "    bus.register_type(40, 'hedge_done', value='ratio', metadata='cost', encoding='f64')",
                named_bus.name,
            )
        )

        assert 40 == named_bus.types()["hedge_done"]
        with named_bus.subscribe("trading.hedge_done.>") as reader:
            named_bus.publish(40, "BTC-USDT", 0.5)
            assert 0.5 == reader.poll().field("ratio")

    def test_participants_are_counted(self, named_bus, python):
        child = python(
            "import sys, tickbus as tb\n"
            "with tb.Bus(sys.argv[1]) as bus, bus.subscribe('>') as reader:\n"
            "    print('ready', flush=True); sys.stdin.readline()",
            named_bus.name,
        )
        child.stdout.readline()
        during = named_bus.stats()
        child.stdin.write("go\n")
        child.stdin.flush()
        finish(child)
        after = named_bus.stats()

        assert (2, 1) == (during["participants"], during["readers"])
        assert (1, 0) == (after["participants"], after["readers"])

    def test_numbers_run_out_with_an_error(self, named_bus):
        """One name too many is refused, and the others go on to work."""
        for number in range(4095):
            named_bus.source_id(f"s{number}")
        before = named_bus.stats()

        with pytest.raises(CapacityError, match="one-too-many"):
            named_bus.publish(MARKET, "BTC-USDT", 1.0, source="one-too-many")

        assert before["sources"] == named_bus.stats()["sources"]
        assert 0 == named_bus.stats()["lanes"]["high"]["published"]
        assert 1 == named_bus.source_id("s0")

    def test_places_run_out_with_an_error(self, named_bus):
        """One handle too many is refused, and gets in when another has left."""
        others = [tb.Bus(named_bus.name) for _ in range(254)]
        with pytest.raises(CapacityError, match="255"):
            tb.Bus(named_bus.name)
        assert 255 == named_bus.stats()["participants"]

        others.pop().close()
        with tb.Bus(named_bus.name) as another:
            another.publish(MARKET, "BTC-USDT", 1.0)

        for other in others:
            other.close()
        assert 1 == named_bus.stats()["lanes"]["high"]["published"]


class TestFile:
    def test_is_for_its_owner_only(self, named_bus):
        assert 0o600 == stat.S_IMODE(file_of(named_bus.name).stat().st_mode)

    def test_lives_as_long_as_somebody_has_it_open(self, bus_name):
        with tb.Bus(bus_name) as first, tb.Bus(bus_name) as second:
            first.publish(MARKET, "BTC-USDT", 1.0)
            first.close()
            assert [f"tickbus.{bus_name}"] == left_of(bus_name)
            second.publish(MARKET, "BTC-USDT", 1.0)
            assert 2 == second.stats()["lanes"]["high"]["published"]
        assert [] == left_of(bus_name)

    def test_of_a_slept_reader_is_removed_too(self, named_bus):
        with named_bus.subscribe(">") as reader:
            reader.poll(timeout_s=0.01)
        named_bus.close()

        assert [] == left_of(named_bus.name)

    def test_survives_a_crash_of_all(self, bus_name, python):
        """The next to come finds the events, and the places of the dead are free."""
        child = python(
            "import os, sys, tickbus as tb\nbus = tb.Bus(sys.argv[1])\nreader = bus.subscribe('>')\n"
            "for number in range(10): bus.publish(0, 'BTC-USDT', float(number))\n"
            "os.kill(os.getpid(), 9)",
            bus_name,
        )
        child.wait(LONG_S)

        with tb.Bus(bus_name) as bus, bus.subscribe(">", start="earliest") as reader:
            assert [float(number) for number in range(10)] == [event.value for event in reader.drain(100)]
            assert (1, 1) == (bus.stats()["participants"], bus.stats()["readers"])
        assert [] == left_of(bus_name)


class TestAttaching:
    def test_takes_the_sizes_that_are_there(self, named_bus):
        with tb.Bus(named_bus.name) as other:
            sizes = {name: lane["capacity"] for name, lane in other.stats()["lanes"].items()}

        assert {"critical": 64, "high": 128, "normal": 256} == sizes

    @pytest.mark.parametrize(
        "same",
        [{"critical_size": 64}, {"high_size": 128}, {"critical_size": 64, "normal_size": 256}],
        ids=str,
    )
    def test_may_ask_for_what_is_there(self, named_bus, same):
        """Sizes that are not asked for are not compared."""
        with tb.Bus(named_bus.name, **same) as other:
            assert 2 == other.stats()["participants"]

    @pytest.mark.parametrize(
        ("other", "found"),
        [({"critical_size": 128}, "128"), ({"high_size": 64}, "64"), ({"payload_bytes": 4096}, "payload")],
        ids=str,
    )
    def test_refuses_other_sizes(self, named_bus, other, found):
        """The message names what was asked for and what is there; the bus is as it was."""
        before = named_bus.stats()

        with pytest.raises(LayoutError, match=found):
            tb.Bus(named_bus.name, **other)

        assert before == named_bus.stats()

    def test_refuses_a_foreign_file(self, bus_name):
        file_of(bus_name).write_bytes(b"something else" * 1000)

        with pytest.raises(LayoutError, match=bus_name):
            tb.Bus(bus_name)

        assert b"something else" * 1000 == file_of(bus_name).read_bytes()

    @pytest.mark.parametrize("length", [0, 8, 71, 72, 4096, 100_000])
    def test_refuses_a_truncated_file(self, named_bus, bus_name, length):
        data = file_of(named_bus.name).read_bytes()
        named_bus.close()
        file_of(bus_name).write_bytes(data[:length])

        with pytest.raises(LayoutError):
            tb.Bus(bus_name)

    def test_refuses_a_longer_file(self, named_bus, bus_name):
        data = file_of(named_bus.name).read_bytes()
        named_bus.close()
        file_of(bus_name).write_bytes(data + bytes(4096))

        with pytest.raises(LayoutError):
            tb.Bus(bus_name)

    @pytest.mark.parametrize(
        ("offset", "word", "found"),
        [
            (0, 0x1234, "1234"),
            (16, 99, "99"),
            (24, 1, "checksum"),
            (40, 2**40, "checksum"),
            (64, 7, "checksum"),
        ],
        ids=["magic", "version", "length", "size", "boot"],
    )
    def test_refuses_another_header(self, named_bus, bus_name, offset, word, found):
        """Another version, or a header that is damaged anywhere: the message says which."""
        data = bytearray(file_of(named_bus.name).read_bytes())
        named_bus.close()
        data[offset : offset + 8] = struct.pack("<Q", word)
        file_of(bus_name).write_bytes(data)

        with pytest.raises(LayoutError, match=found):
            tb.Bus(bus_name)

        assert bytes(data) == file_of(bus_name).read_bytes()

    @pytest.mark.parametrize("kind", ["directory", "fifo", "link"])
    def test_refuses_what_is_no_file(self, bus_name, tmp_path, kind):
        path = file_of(bus_name)
        match kind:
            case "directory":
                path.mkdir()
            case "fifo":
                os.mkfifo(path)
            case _:
                path.symlink_to(tmp_path / "elsewhere")

        with pytest.raises(LayoutError):
            tb.Bus(bus_name)

        assert [] == list(tmp_path.iterdir())

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
    def test_refuses_another_users_bus(self, named_bus):
        os.chown(file_of(named_bus.name), 12_345, -1)

        with pytest.raises(BusOwnerError, match="12345"):
            tb.Bus(named_bus.name)
        with pytest.raises(PermissionError):
            tb.Bus(named_bus.name)

    def test_with_a_bad_name_makes_no_file(self):
        before = sorted(os.listdir("/dev/shm"))
        with pytest.raises(InvalidNameError):
            tb.Bus("../escape")

        assert [name for name in before if "escape" in name] == []

    def test_without_room_is_an_error_that_leaves_nothing(self, bus_name):
        room = os.statvfs("/dev/shm").f_bavail * os.statvfs("/dev/shm").f_frsize
        if room >= (2**26 * 40) * 3:
            pytest.skip("shared memory is too large to fill")

        with pytest.raises(CapacityError, match="shm"):
            tb.Bus(bus_name, critical_size=2**26, high_size=2**26, normal_size=2**26)

        assert [] == left_of(bus_name)


def in_child(work) -> int:
    """Exit code of a fork that runs *work*: what it returns, or 99 when it raises."""
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            code = int(work())
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


class TestFork:
    """A child of a fork opens the bus again; its parent's handles are dead there."""

    @pytest.mark.parametrize("shared", [False, True], ids=["private", "named"])
    def test_handles_of_the_parent_are_refused(self, bus, named_bus, shared):
        used = named_bus if shared else bus
        reader, send = used.subscribe(">"), used.publisher(MARKET, "BTC-USDT")
        used.publish(MARKET, "BTC-USDT", 1.0)

        def work():
            refused = 0
            for use in (
                lambda: used.publish(MARKET, "BTC-USDT", 2.0),
                lambda: send(2.0),
                lambda: used.subscribe(">"),
                lambda: used.on(">")(print),
                used.stats,
                reader.poll,
                reader.drain,
                reader.read_batch,
                lambda: next(iter(reader)),
            ):
                try:
                    use()
                except BusForkedError:
                    refused += 1
            return refused

        assert 9 == in_child(work)
        assert [1.0] == [event.value for event in reader.drain(10)], "the parent is unharmed"
        send(3.0)
        assert 3.0 == reader.poll().value

    @pytest.mark.parametrize(
        "ending", ["close", "collect", "exit"], ids=["closing them", "dropping them", "exiting normally"]
    )
    def test_child_takes_nothing_from_the_parent(self, named_bus, ending):
        """Closing or dropping its copies of the handles leaves the parent's registrations alone."""
        kept = {"reader": named_bus.subscribe("risk.>"), "slept": named_bus.subscribe("market.>")}
        kept["slept"].poll(timeout_s=0.01)
        before, files = named_bus.stats(), left_of(named_bus.name)

        def work():
            match ending:
                case "close":
                    for reader in kept.values():
                        reader.close()
                    named_bus.close()
                case "collect":
                    kept.clear()
                    gc.collect()
                case _:
                    process = multiprocessing.get_context("fork").Process(target=gc.collect)
                    process.start()
                    process.join()
            return 0

        assert 0 == in_child(work)
        assert before == named_bus.stats()
        assert files == left_of(named_bus.name)
        named_bus.publish(RISK, "BTC-USDT", 1.0)
        assert 1.0 == kept["reader"].poll().value

    def test_child_may_open_the_bus_again(self, named_bus):
        reader = named_bus.subscribe(">")

        def work():
            with tb.Bus(named_bus.name) as own:
                own.publish(MARKET, "BTC-USDT", 7.0)
                return own.stats()["participants"]

        assert 2 == in_child(work)
        assert 7.0 == reader.poll().value
        assert 1 == named_bus.stats()["participants"]

    def test_child_may_use_a_private_bus_of_its_own(self, bus):
        def work():
            with tb.Bus() as own, own.subscribe(">") as reader:
                own.publish(MARKET, "BTC-USDT", 7.0)
                return reader.poll().value

        assert 7 == in_child(work)


def _publish_in_child(bus: tb.Bus, count: int) -> None:
    with bus:
        for number in range(count):
            bus.publish(MARKET, "BTC-USDT", float(number))


class TestSpawn:
    def test_takes_a_named_bus_along(self, named_bus):
        """A named bus is pickled by its name."""
        reader = named_bus.subscribe(">")
        process = multiprocessing.get_context("spawn").Process(target=_publish_in_child, args=(named_bus, 5))
        process.start()
        process.join(LONG_S)

        assert 0 == process.exitcode
        assert [0.0, 1.0, 2.0, 3.0, 4.0] == [event.value for event in reader.drain(10)]

    def test_keeps_how_the_bus_was_opened(self, bus_name):
        """What this handle was told, its copy is told too."""
        with tb.Bus(bus_name, source="arb", allow_nan=True) as bus, bus.subscribe(">") as reader:
            with pickle.loads(pickle.dumps(bus)) as copy:
                copy.publish(MARKET, "BTC-USDT", float("nan"))

            assert "arb" == reader.poll().source

    def test_cannot_take_a_private_bus_along(self, bus):
        with pytest.raises(TypeError, match="private"):
            pickle.dumps(bus)


_THREAD = """
import threading, time
reader = bus.subscribe(">", wait="{wait}")
threading.Thread(target=list, args=(reader,), daemon=True).start()
time.sleep(0.1)
"""
#: Programs that have opened ``bus`` and just end.
PROGRAMS = {
    "idle": "",
    "subscription": "reader = bus.subscribe('>'); bus.publish(0, 'A', 1.0); event = reader.poll()",
    "handler": "bus.on('market.>')(lambda event: bus.publish(33, 'A', 1.0)); bus.publish(0, 'A', 1.0)",
    "sleeping thread": _THREAD.format(wait="sleep"),
    "spinning thread": _THREAD.format(wait="spin"),
    "asyncio": """
import asyncio
async def take():
    async for event in bus.subscribe(">"): pass
async def main():
    task = asyncio.create_task(take())
    await asyncio.sleep(0.05)
asyncio.run(main())
""",
    "sys.exit": "import sys; sys.exit(0)",
}


class TestInterpreterExit:
    """A program that just ends is quiet, exits with 0 and leaves no file."""

    @pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
    @pytest.mark.parametrize("shared", [False, True], ids=["private", "named"])
    def test_is_clean(self, bus_name, python, program, shared):
        name = repr(bus_name) if shared else ""

        assert "" == finish(python(f"import tickbus as tb\nbus = tb.Bus({name})\n{program}"))

        assert [] == left_of(bus_name)

    def test_frees_the_places(self, named_bus, python):
        finish(
            python(
                "import sys, threading, time, tickbus as tb\n"
                "bus = tb.Bus(sys.argv[1]); readers = [bus.subscribe('risk.>') for _ in range(3)]\n"
                "threading.Thread(target=list, args=(readers[0],), daemon=True).start()\n"
                "time.sleep(0.1)",
                named_bus.name,
            )
        )

        assert (1, 0) == (named_bus.stats()["participants"], named_bus.stats()["readers"])

    def test_of_a_raising_program_is_its_own(self, bus_name):
        """The exit code and the traceback are the program's; the file is gone nevertheless."""
        outcome = subprocess.run(
            [sys.executable, "-c", f"import tickbus as tb\nbus = tb.Bus({bus_name!r})\n1 / 0"],
            capture_output=True,
            text=True,
            timeout=LONG_S,
        )

        assert 1 == outcome.returncode
        assert outcome.stderr.rstrip().endswith("ZeroDivisionError: division by zero")
        assert [] == left_of(bus_name)
