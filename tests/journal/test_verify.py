"""
Every way in which files of a journal can be changed is told of in the right words, and changes nothing.

Sealed and packed segments, and every bit: crates/tickbus-core/tests/journal_audit.rs.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tickbus as tb
from tickbus import cli
from tickbus.errors import JournalError, JournalLockedError
from tickbus.journal import Journal, inspect, salvage, verify

MARKET, RISK = tb.EventType.PRICE_UPDATE, tb.EventType.DRAWDOWN_ALERT
HEADER, EVENTS, ALERTS = 4096, 80_000, 40
#: The event that `bit_in_an_event` changes; what else is lost with it depends on how it was written.
DAMAGED = 19_000


@contextlib.contextmanager
def unsealed(path):
    """Keep full segments as they are: where a draft of the sealed one would be made, there is a folder."""
    drafts = [path / f"{position:020}.seg.new" for position in range(0, 6 * 32768, 32768)]
    for draft in drafts:
        draft.mkdir()
    yield
    for draft in drafts:
        draft.rmdir()


def fill(path, events=EVENTS, alerts=ALERTS):
    """Keep a journal of several segments of 1 MiB: batches of market events, and an alert now and then."""
    with contextlib.ExitStack() as finally_:
        bus = tb.Bus(journal=Journal(path, segment_mib=1), source="desk")
        finally_.enter_context(unsealed(path))
        finally_.enter_context(bus)
        symbols = [bus.symbol_id(name) for name in ("BTC-USDT", "ETH-USDT")]
        for first in range(0, events, 2000):
            rows = np.zeros(2000, tb.EVENT_DTYPE)
            rows["event_type"], rows["priority"], rows["symbol"] = MARKET, 1, symbols[first // 2000 % 2]
            rows["value"] = np.arange(first, first + 2000)
            rows["timestamp"] = 1000 + rows["value"].astype(np.uint64)
            bus.publish_batch(rows)
            if alerts:
                bus.publish(RISK, "BTC-USDT", float(first), timestamp=1000 + first)
        bus.journal.sync()
        while len(segments(path)) < 4:  # The next segment is prepared behind the writer's back.
            time.sleep(0.001)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A closed journal of three segments and one prepared; tests change copies of it."""
    path = tmp_path_factory.mktemp("journals") / "original"
    fill(path)
    return path


@pytest.fixture(scope="module")
def unclosed(tmp_path_factory):
    """A journal as kill -9 leaves it: nothing says that its last batches are on the disk."""
    path = tmp_path_factory.mktemp("journals") / "unclosed"
    with tb.Bus(journal=Journal(path, segment_mib=1)) as bus:
        for number in range(100):
            bus.publish(MARKET, "BTC-USDT", float(number))
        bus.journal.sync(disk=False)
        while len(segments(path)) < 2:  # The next one is made and renamed meanwhile.
            time.sleep(0.001)
        shutil.copytree(path, copy := path.with_name("killed"))
    return copy


@pytest.fixture
def path(original, tmp_path):
    return shutil.copytree(original, tmp_path / "journal")


def segments(path):
    return sorted(path.glob("*.log"))


def change(file, offset, data):
    with file.open("r+b") as stream:
        stream.seek(offset)
        stream.write(data)


def flip(file, offset, bit=0):
    change(file, offset, bytes([file.read_bytes()[offset] ^ 1 << bit]))


def digest(path):
    """Names, kinds and bytes of everything below a folder, and when it was changed."""

    def of(entry):
        data = entry.read_bytes() if entry.is_file() and not entry.is_symlink() else b""
        return entry.name, entry.lstat().st_mode, entry.lstat().st_mtime_ns, hashlib.sha256(data).digest()

    return sorted(of(entry) for entry in path.iterdir())


def run(capsys, path, *arguments):
    """The command's exit code and what it printed; the journal is the same afterwards."""
    before = digest(path) if path.is_dir() else None
    code = cli.main(["verify", str(path), *map(str, arguments)])
    assert before == (digest(path) if path.is_dir() else None)
    printed = capsys.readouterr()
    return code, printed.out + printed.err


def bit_in_an_event(path):
    file = segments(path)[0]
    price = struct.pack("<dQ", DAMAGED, 0)
    flip(file, file.read_bytes().index(price))


def bit_in_a_segment_header(path):
    flip(segments(path)[1], 30)


def bit_in_the_empty_part_of_a_segment_header(path):
    flip(segments(path)[1], 3000)


def cut_in_the_middle(path):
    os.truncate(segments(path)[1], 500_000)


def cut_to_nothing(path):
    os.truncate(segments(path)[0], 0)


def last_cut(path):
    os.truncate(segments(path)[2], HEADER + 1000 * 32)


def without_a_middle_one(path):
    segments(path)[1].unlink()


def without_the_first(path):
    segments(path)[0].unlink()


def without_the_last(path):
    segments(path)[2].unlink()


def without_any(path):
    for file in segments(path):
        file.unlink()


def swapped(path):
    first, second, *_ = segments(path)
    first.rename(path / "aside")
    second.rename(first)
    (path / "aside").rename(second)


def of_another_journal(path):
    other = path.with_name("other")
    fill(other, alerts=0)
    shutil.copy(segments(other)[1], segments(path)[1])


def of_another_time(path):
    """A backup of the second segment, made when it was half full."""
    file = segments(path)[1]
    half = len(file.read_bytes()) // 2
    change(file, half, bytes(len(file.read_bytes()) - half))


def zeros_in_a_block(path):
    change(segments(path)[0], HEADER * 40, bytes(HEADER))


def all_zeros(path):
    change(segments(path)[1], 0, bytes(segments(path)[1].stat().st_size))


def garbage_in_front(path):
    file = segments(path)[1]
    file.write_bytes(b"garbage!" + file.read_bytes()[:-8])


def a_text_in_its_place(path):
    segments(path)[1].write_text("not a segment\n" * 1000)


def a_directory_in_its_place(path):
    segments(path)[1].unlink()
    (path / "00000000000000032768.log").mkdir()


def a_pipe_in_its_place(path):
    file = segments(path)[1]
    file.unlink()
    os.mkfifo(file)


def a_link_in_its_place(path):
    file = segments(path)[1]
    file.rename(path.with_name("elsewhere"))
    file.symlink_to(path.with_name("elsewhere"))


def a_directory_as_lock(path):
    (path / "LOCK").unlink()
    (path / "LOCK").mkdir()


def named_otherwise(path):
    segments(path)[1].rename(path / "32768.log")


DAMAGE = [
    (bit_in_an_event, ["damaged:", "checksum is wrong; high 1", "Restore the file"]),
    (bit_in_a_segment_header, ["damaged:", "header is wrong"]),
    (bit_in_the_empty_part_of_a_segment_header, ["damaged:", "header is wrong"]),
    (cut_in_the_middle, ["damaged:", "has 500000 bytes and had 1052672", "high "]),
    (cut_to_nothing, ["damaged:", "header is wrong", "high 0 to "]),
    (last_cut, ["damaged:", "bytes and had", "high "]),
    (without_a_middle_one, ["missing:", "00000000000000032768.log", "position 32768 to 65535", "high "]),
    (without_the_first, ["missing:", "the beginning of the journal", "high 0 to ", "Put the file back"]),
    (without_the_last, ["missing:", "00000000000000065536.log", "high "]),
    (without_any, ["missing:", "there is no segment"]),
    (swapped, ["foreign:", "holds the segment of position 32768", "holds the segment of position 0"]),
    (of_another_journal, ["foreign:", "belongs to the journal", "Move the file away"]),
    (of_another_time, ["damaged:", "00000000000000032768.log"]),
    (zeros_in_a_block, ["damaged:", "high "]),
    (all_zeros, ["damaged:", "header is missing: zeros stand there"]),
    (garbage_in_front, ["foreign:", "is no segment of a journal"]),
    (a_text_in_its_place, ["foreign:", "is no segment of a journal"]),
    (a_directory_in_its_place, ["foreign:", "is a directory", "missing:"]),
    (a_pipe_in_its_place, ["foreign:", "is a pipe", "missing:"]),
    (a_link_in_its_place, ["foreign:", "is a symbolic link", "missing:"]),
    (a_directory_as_lock, ["foreign:", "stands in the lock's place"]),
    (named_otherwise, ["missing:", "stray:", "32768.log: is no file that a journal makes"]),
]


class TestDamage:
    @pytest.mark.parametrize(("edit", "words"), DAMAGE, ids=[edit.__name__ for edit, _ in DAMAGE])
    def test_is_named_and_nothing_is_changed(self, path, capsys, edit, words):
        """Exit code 1, the file, the place, the events and what to do."""
        edit(path)

        code, printed = run(capsys, path)

        assert code == 1
        assert "is damaged" in printed
        assert [word for word in words if word not in printed] == [], printed

    @pytest.mark.parametrize("edit", [edit for edit, _ in DAMAGE], ids=lambda edit: edit.__name__)
    def test_costs_no_event_that_is_not_accounted_for(self, path, edit):
        """Events read, events lost and gaps are all there ever were."""
        edit(path)

        report = verify(path)

        for lane, count in {"high": EVENTS, "critical": ALERTS}.items():
            lost = [(lost.first, lost.count) for lost in report.lost if lost.lane == lane]
            if any(known is None for _, known in lost) or edit is without_any:
                # Which lane's events were in what is gone nobody knows.
                assert report.events[lane] <= count
                assert sum(report.events.values()) < EVENTS + ALERTS
            else:
                assert report.events[lane] + sum(known for _, known in lost) == count

    def test_of_one_header_costs_no_event(self, path):
        """The batches of the segment vouch for what reading them takes."""
        bit_in_the_empty_part_of_a_segment_header(path)

        report = verify(path)

        assert (report.whole, report.events["high"], report.lost) == (False, EVENTS, ())

    @settings(max_examples=60)
    @given(data=st.data())
    def test_of_any_byte_that_was_acknowledged_is_noticed(self, original, tmp_path_factory, data):
        """Closing vouches for everything before it."""
        path = shutil.copytree(original, tmp_path_factory.mktemp("any") / "journal")
        report = verify(path)
        number = data.draw(st.integers(0, 2), "segment")
        used = min(report.position - 32768 * number, 32768) * 32
        # The last commit says that the log was closed; nothing vouches for that one.
        offset = data.draw(st.integers(0, HEADER + used - 8192 - 1), "offset")
        flip(segments(path)[number], offset, data.draw(st.integers(0, 7), "bit"))

        assert not verify(path).whole
        shutil.rmtree(path.parent)


class TestWhatIsNoDamage:
    def test_a_whole_journal(self, path, capsys):
        code, printed = run(capsys, path)

        assert code == 0
        assert f"{path} is whole" in printed
        assert f"{ALERTS} critical, {EVENTS:,} high, 0 normal" in printed
        assert "3 log, 1 prepared" in printed
        assert ", closed" in printed

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("00000000000000098304.log.new", ["leftover:", "was being made"]),
            ("00000000000000000000.seg.new", ["leftover:", "was being made"]),
            ("00000000000000000640.torn", ["leftover:", "earlier opening cut off"]),
            ("notes.txt", ["stray:", "notes.txt", "Move it elsewhere"]),
        ],
    )
    def test_what_lies_beside_it(self, path, capsys, name, words):
        (path / name).write_bytes(b"something")

        code, printed = run(capsys, path)

        assert code == 0
        assert [word for word in words if word not in printed] == [], printed

    def test_garbage_behind_a_segment(self, path, capsys):
        with segments(path)[0].open("ab") as file:
            file.write(b"garbage")

        code, printed = run(capsys, path)

        assert (code, "7 bytes behind the segment's end" in printed) == (0, True)

    def test_a_folder_of_cursors(self, path, capsys):
        (path / "cursors").mkdir()

        assert run(capsys, path)[0] == 0
        assert inspect(path).durable == ()

    def test_a_tail_that_is_torn(self, unclosed, tmp_path, capsys):
        """Behind the last commit that something vouches for, a batch that is not whole is no damage."""
        path = shutil.copytree(unclosed, tmp_path / "journal")
        end = verify(path).position
        flip(segments(path)[0], HEADER + (end - 1) * 32)

        code, printed = run(capsys, path)

        assert code == 0
        assert "torn:" in printed
        assert "the next opening cuts it" in printed
        with tb.Bus(journal=path):
            pass
        assert verify(path).whole

    def test_a_killed_writer(self, unclosed, capsys):
        code, printed = run(capsys, unclosed)

        assert (code, "not closed" in printed) == (0, True)


class TestWhatIsNoJournal:
    @pytest.mark.parametrize(
        "make", [lambda path: None, lambda path: path.mkdir(), lambda path: path.touch()]
    )
    def test_is_exit_code_2(self, tmp_path, capsys, make):
        """Nothing there, an empty folder, a file."""
        path = tmp_path / "nothing"
        make(path)

        code, printed = run(capsys, path)

        assert code == 2
        assert str(path) in printed
        assert len(printed.splitlines()) == 1

    def test_is_a_folder_of_other_files(self, tmp_path, capsys):
        (tmp_path / "00000000000000000000.log").write_text("a log of something else\n" * 1000)

        assert run(capsys, tmp_path)[0] == 2

    def test_a_file_that_may_not_be_read(self, path, fork):
        """Not root, to whom everything may be read."""
        for readable in (*path.parents[:3], path, *path.iterdir()):
            readable.chmod(0o755)
        segments(path)[1].chmod(0)
        receive, send = os.pipe()

        def read():
            if os.getuid() == 0:
                os.setuid(65534)
            code = cli.main(["verify", str(path), "--json", "--quiet"])
            os.write(send, bytes([code]))

        assert fork(read).wait() == 0
        assert os.read(receive, 1) == b"\x02"

    @pytest.mark.skipif(shutil.which("strace") is None, reason="a failing device is made with strace")
    def test_a_device_that_fails(self, path):
        """What cannot be read is told with the system's words; the rest is read."""
        command = [sys.executable, "-m", "tickbus", "verify", str(path), "--json"]
        strace = ["strace", "-f", "-o", os.devnull, "-P", str(segments(path)[1])]
        strace += ["-e", "inject=pread64:error=EIO:when=4+", "-e", "trace=pread64"]
        result = subprocess.run([*strace, *command], capture_output=True, text=True, check=False, timeout=60)
        if not result.stdout:
            pytest.skip(f"strace may not trace here: {result.stderr[-200:]}")

        report = json.loads(result.stdout)

        assert result.returncode == 2
        assert "Input/output error" in report["findings"][0]["why"]
        assert report["events"]["high"] > EVENTS / 3


class TestWhileItIsWritten:
    def test_it_is_whole_and_its_writer_is_named(self, tmp_path, python):
        """Segments come and go, and batches are half written, while they are read."""
        path = tmp_path / "journal"
        code = f"""
            import tickbus as tb
            from tickbus.journal import Journal
            with tb.Bus(journal=Journal({str(path)!r}, segment_mib=1)) as bus:
                print("ready", flush=True)
                number = 0
                while True:
                    for _ in range(500):
                        bus.publish({int(MARKET)}, "BTC-USDT", float(number))
                        number += 1
                    bus.publish({int(RISK)}, "BTC-USDT", float(number))
        """
        writer = python(textwrap.dedent(code))
        assert writer.stdout.readline() == "ready\n"
        last = 0
        for _ in range(15):
            report = verify(path)
            assert report.damage == ()
            assert (report.whole, report.writer) == (True, writer.pid)
            assert report.events["high"] >= last
            last = report.events["high"]
        writer.send_signal(signal.SIGKILL)
        writer.wait()

        report = verify(path)
        assert (report.whole, report.writer) == (True, None)


class TestSalvage:
    def test_gives_a_journal_that_a_bus_goes_on_with(self, path, tmp_path, capsys):
        bit_in_an_event(path)
        out = tmp_path / "salvaged"

        code, printed = run(capsys, path, "--salvage", out)

        assert code == 1, "the original is damaged"
        (lost,) = verify(path).lost
        assert f"lost: {lost.count:,} events in 1 range:" in printed
        assert verify(out).whole
        assert [str(gap) for gap in verify(out).gaps] == [
            f"{lost}: lost to damage, and left out when the journal was salvaged"
        ]
        with tb.Bus(journal=Journal(out, segment_mib=1)) as bus:
            reader = bus.subscribe("market.>", start="earliest")
            values = []
            while len(batch := reader.read_batch(4096)):
                values += batch["value"].tolist()
            assert reader.missed == lost.count
            event = bus.subscribe("risk.>", start="earliest").poll()
            new = bus.publish(MARKET, "BTC-USDT", 1.0)
        missing = range(lost.first, lost.first + lost.count)
        assert DAMAGED in missing
        assert values == [float(n) for n in range(EVENTS) if n not in missing]
        assert (event.topic, event.value) == ("risk.drawdown_alert.desk.BTC-USDT", 0.0)
        assert new >> 2 == EVENTS

    @pytest.mark.parametrize("edit", [edit for edit, _ in DAMAGE[:-6]], ids=lambda edit: edit.__name__)
    def test_loses_what_is_damaged_and_no_more(self, path, tmp_path, edit):
        edit(path)
        if edit is without_any:
            pytest.skip("there is nothing to save")
        saved = salvage(path, tmp_path / "salvaged")

        report = verify(tmp_path / "salvaged")
        assert report.whole
        assert dict(saved.events) == report.events == saved.report.events
        assert {(gap.lane, gap.first, gap.count) for gap in report.gaps} == {
            (lost.lane, lost.first, lost.count) for lost in saved.lost if lost.count is not None
        }

    def test_of_a_whole_journal_is_the_same_again(self, path, tmp_path, capsys):
        code, printed = run(capsys, path, "--salvage", tmp_path / "salvaged")

        assert (code, "nothing is lost" in printed) == (0, True)
        assert inspect(path).symbols == inspect(tmp_path / "salvaged").symbols

    def test_is_refused_while_the_journal_is_written(self, tmp_path, capsys):
        with tb.Bus(journal=Journal(tmp_path / "journal", segment_mib=1)):
            with pytest.raises(JournalLockedError) as refused:
                salvage(tmp_path / "journal", tmp_path / "salvaged")
            assert cli.main(["verify", str(tmp_path / "journal"), "--salvage", str(tmp_path / "out")]) == 2

        assert refused.value.pid == os.getpid()
        assert not (tmp_path / "salvaged").exists()

    def test_replaces_nothing(self, path, tmp_path):
        (tmp_path / "there").mkdir()

        with pytest.raises(JournalError, match="there"):
            salvage(path, tmp_path / "there")
        assert list((tmp_path / "there").iterdir()) == []


class TestOneSegment:
    """A young journal: there is nothing before its only segment that could vouch for the header."""

    @pytest.mark.parametrize("offset", [10, 24, 40, 64, 76, 100, 2000, 4092])
    def test_whose_header_is_damaged_is_salvaged_by_its_first_batch(self, unclosed, tmp_path, offset):
        path = shutil.copytree(unclosed, tmp_path / "journal")
        flip(segments(path)[0], offset)

        saved = salvage(path, tmp_path / "saved")

        assert not saved.report.whole
        assert saved.events["high"] == 100

    def test_without_its_salt_is_lost_and_the_number_is_not_made_up(self, unclosed, tmp_path, capsys):
        """Every checksum is over the salt."""
        path = shutil.copytree(unclosed, tmp_path / "journal")
        flip(segments(path)[0], 72)

        code, printed = run(capsys, path, "--salvage", tmp_path / "saved")

        assert code == 1
        assert "lost: an unknown number, in 3 ranges" in printed


class TestProgress:
    def test_is_told_in_bytes_to_the_end(self, path):
        told = []
        verify(path, progress=lambda done, total: told.append((done, total)))

        size = sum(file.stat().st_size for file in segments(path))
        assert told == sorted(told)
        assert told[-1] == (size, size)

    def test_ends_the_reading_with_its_own_error(self, path):
        def stop(done, total):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            verify(path, progress=stop)
        with pytest.raises(KeyboardInterrupt):
            salvage(path, path.with_name("never"), progress=stop)
        assert not path.with_name("never").exists()


class TestJson:
    def test_has_all_of_the_report(self, path, capsys):
        bit_in_an_event(path)
        assert cli.main(["verify", str(path), "--json"]) == 1

        report = json.loads(capsys.readouterr().out)

        (lost,) = report["lost"]
        assert report["whole"] is False
        assert report["events"] == {"critical": ALERTS, "high": EVENTS - lost["count"], "normal": 0}
        assert [finding["kind"] for finding in report["findings"]] == ["damaged"]
        assert report["findings"][0]["sequences"] == {"high": [lost["first"], lost["first"] + lost["count"]]}
        assert report["findings"][0]["advice"]
        assert [segment["form"] for segment in report["segments"]] == ["log"] * 4
