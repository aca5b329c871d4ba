"""`tickbus inspect`, `tickbus record` and `tickbus doctor`; what `verify` says is in tests/journal."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import tickbus as tb
from tickbus import cli, doctor
from tickbus.doctor.storage import (
    Device,
    device_of,
    judge_flush,
    judge_mount,
    judge_space,
    measure,
    mount_of,
)
from tickbus.journal import Journal, inspect, verify

MARKET, RISK = tb.EventType.PRICE_UPDATE, tb.EventType.DRAWDOWN_ALERT


@pytest.fixture
def journal(tmp_path):
    """Kept twice: trades of two symbols, a quote, a type of one's own, payloads."""
    path = tmp_path / "journal"
    for run in range(2):
        with tb.Bus(journal=Journal(path, segment_mib=1), source="desk") as bus:
            bus.register_type(200, "kill_switch", value="level")
            for number in range(10):
                symbol = "ETH-USDT" if number % 5 == 0 else "BTC-USDT"
                bus.publish(
                    MARKET,
                    symbol,
                    100.0 + number,
                    metadata=tb.pack_quantity(-1.5),
                    timestamp=10**18 + 1000 * run + number,
                )
            bus.publish(200, "BTC-USDT", 2.0, payload=b"by hand", timestamp=10**18 + 1000 * run + 500)
    return path


class TestInspect:
    def test_says_what_is_in_a_journal(self, journal, capsys):
        assert cli.main(["inspect", str(journal)]) == 0

        printed = capsys.readouterr().out
        for words in (
            "closed; whole",
            "events: 2 critical, 20 high, 0 normal",
            "high 0 to 19",
            "2001-09-09T01:46:40.000000000Z",
            f"opened by process {os.getpid()}",
            "records: ",
            "2 payload",
        ):
            assert words in printed
        assert [line.split() for line in printed.splitlines() if "USDT" in line] == [
            ["BTC-USDT", "18"],
            ["ETH-USDT", "4"],
        ]
        assert [line.split() for line in printed.splitlines() if "price_update" in line] == [
            ["price_update", "20"]
        ]

    def test_prints_events_in_words(self, journal, capsys):
        """The last ones of all lanes by their time; what a type's fields are is in the journal, too."""
        assert cli.main(["inspect", str(journal), "--events", "2"]) == 0
        *_, before, last = capsys.readouterr().out.splitlines()
        assert before.split("  ")[2:] == [
            "high 19",
            "price_update desk BTC-USDT: price 109, quantity 1.5, side -1",
        ]
        assert last.split("  ")[2].startswith("critical 1")
        assert "kill_switch desk BTC-USDT: level 2, metadata" in last

        assert cli.main(["inspect", str(journal), "--events", "1", "--first"]) == 0
        assert "high 0  price_update desk ETH-USDT: price 100" in capsys.readouterr().out.splitlines()[-1]

    def test_prints_json(self, journal, capsys):
        assert cli.main(["inspect", str(journal), "--json", "--events", "3"]) == 0

        said = json.loads(capsys.readouterr().out)
        assert said["symbols"] == {"BTC-USDT": 18, "ETH-USDT": 4}
        assert said["types"] == {"price_update": 20, "kill_switch": 2}
        assert said["sources"] == {"desk": 22}
        assert [event["sequence"] for event in said["first"]] == [0, 1, 2]
        assert [opening["pid"] for opening in said["openings"]] == [os.getpid(), None] * 2
        assert [opening["this_boot"] for opening in said["openings"]] == [True, None] * 2
        assert len(said["buses"]) == 2
        assert said["report"]["whole"] is True

    def test_counts_what_is_whole_of_a_damaged_one(self, journal, capsys):
        file = journal / "00000000000000000000.log"
        data = bytearray(file.read_bytes())
        data[data.index(np.float64(105.0).tobytes())] ^= 1
        file.write_bytes(data)

        assert cli.main(["inspect", str(journal)]) == 1
        assert "NOT WHOLE" in capsys.readouterr().out

    def test_of_one_that_is_written_names_the_writer(self, tmp_path, capsys):
        with tb.Bus(journal=Journal(tmp_path / "journal", segment_mib=1)):
            assert cli.main(["inspect", str(tmp_path / "journal")]) == 0
        assert f"being written by process {os.getpid()}" in capsys.readouterr().out

    def test_lists_durable_subscriptions(self, tmp_path, capsys):
        """How far behind each is, on every lane, and who has it open."""
        path = tmp_path / "journal"
        with tb.Bus(journal=Journal(path, critical="os")) as bus:
            with bus.subscribe("risk.>", durable="risk-engine", start="earliest") as reader:
                for number in range(5):
                    bus.publish(tb.EventType.DRAWDOWN_ALERT, "BTC-USDT", float(number))
                reader.drain(2)
                reader.ack()
                bus.journal.sync()
                assert cli.main(["inspect", str(path)]) == 0
                assert f"process {os.getpid()} has it open" in capsys.readouterr().out
            bus.journal.sync()

        assert cli.main(["inspect", str(path)]) == 0
        printed = capsys.readouterr().out
        assert (
            "risk-engine  risk.>: events behind: critical 3, high 0, normal 0; nobody has it open" in printed
        )

    def test_of_no_journal_is_exit_code_2(self, tmp_path, capsys):
        assert cli.main(["inspect", str(tmp_path)]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.fixture
def record():
    """Start `tickbus record`; killed at the test's end if need be."""
    started = []

    def start(*arguments):
        command = [sys.executable, "-m", "tickbus", "record", *map(str, arguments), "--segment-mib", "1"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def journaled(path, process):
    """Whether a recorder has not only opened the journal but begun to keep the bus's."""
    if not (path / "LOCK").exists() or verify(path).writer != process.pid:
        return False
    contents = inspect(path)
    opened = [opening for opening in contents.openings if opening.pid is not None]
    kept, _ = contents.records.get("bus", (0, 0))
    return bool(opened) and opened[-1].pid == process.pid and kept == len(opened)


class TestRecord:
    def test_keeps_the_journal_of_a_bus_that_runs(self, named_bus, tmp_path, record, wait_until):
        """What was published before is in it as far as the lane still has it; the rest as it comes."""
        path = tmp_path / "journal"
        ids = [named_bus.publish(MARKET, "BTC-USDT", float(n)) for n in range(50)]
        recorder = record(named_bus.name, path, "--json")
        wait_until(lambda: journaled(path, recorder))
        ids += [named_bus.publish(MARKET, "BTC-USDT", float(n)) for n in range(50, 1000)]
        ids += [named_bus.publish(RISK, "BTC-USDT", 0.1) for _ in range(10)]
        time.sleep(1.1)
        recorder.send_signal(signal.SIGINT)
        out, error = recorder.communicate(timeout=20)

        assert (recorder.returncode, error) == (0, "")
        *running, last = map(json.loads, out.splitlines())
        assert (last["ended"], last["events"], last["gaps"]) == (True, 1010, 0)
        assert last["lag"] == {"critical": 0, "high": 0, "normal": 0}
        assert running[-1]["events_per_s"] >= 0
        report = verify(path)
        assert (report.whole, report.closed) == (True, True)
        assert report.events == {"critical": 10, "high": 1000, "normal": 0}

    def test_goes_on_after_it_was_killed(self, named_bus, tmp_path, record, wait_until):
        """Each time some events are published while nobody keeps the journal; the lanes have them."""
        path, count = tmp_path / "journal", 0
        for _ in range(3):
            recorder = record(named_bus.name, path, "--critical", "os")
            wait_until(lambda recorder=recorder: journaled(path, recorder))
            for _ in range(200):
                named_bus.publish(MARKET, "BTC-USDT", float(count))
                count += 1
            recorder.kill()
            recorder.wait()
            for _ in range(20):
                named_bus.publish(MARKET, "BTC-USDT", float(count))
                count += 1

        last = record(named_bus.name, path, "--for", "0.5", "--json")
        out, error = last.communicate(timeout=20)
        assert (last.returncode, error) == (0, "")
        assert json.loads(out.splitlines()[-1])["gaps"] == 0
        report = verify(path)
        assert (report.whole, report.events["high"], report.gaps) == (True, count, ())

    def test_ends_on_sigterm_and_says_so_in_plain_lines(self, named_bus, tmp_path, record, wait_until):
        recorder = record(named_bus.name, tmp_path / "journal")
        wait_until(lambda: journaled(tmp_path / "journal", recorder))
        line = recorder.stdout.readline()
        recorder.terminate()
        out, _ = recorder.communicate(timeout=20)

        assert recorder.returncode == 0
        assert line.startswith("0 events, 0 a second")
        assert out.splitlines()[-1].startswith("ended: 0 events")

    def test_is_refused_while_another_keeps_it(self, named_bus, tmp_path, record, wait_until):
        """With the other's PID, whether it writes the same directory or keeps the same bus."""
        holder = record(named_bus.name, tmp_path / "journal")
        wait_until(lambda: journaled(tmp_path / "journal", holder))

        for path in (tmp_path / "journal", tmp_path / "another"):
            refused = record(named_bus.name, path)
            out, error = refused.communicate(timeout=20)
            assert (refused.returncode, out) == (1, "")
            assert f"process {holder.pid}" in error
            assert len(error.splitlines()) == 1

    def test_needs_a_number_of_seconds(self, capsys):
        for text in ("soon", "0", "-1", "inf", "nan"):
            with pytest.raises(SystemExit):
                cli.main(["record", "desk", "journal", "--for", text])
            assert f"argument --for: '{text}' is no" in capsys.readouterr().err

    def test_needs_a_bus(self, tmp_path, capsys):
        assert cli.main(["record", "no-such-bus", str(tmp_path / "journal")]) == 1
        assert 'no bus runs under the name "no-such-bus"' in capsys.readouterr().err
        assert not (tmp_path / "journal").exists()

    @pytest.mark.parametrize(
        "wrong", [["--critical", "fast"], ["--for", "0"], ["--interval-ms", "nan"], ["--when-full", "drop"]]
    )
    def test_wrong_use_is_2(self, wrong, tmp_path):
        with pytest.raises(SystemExit) as ended:
            cli.main(["record", "desk", str(tmp_path), *wrong])
        assert ended.value.code == 2


MOUNTS = """\
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 27 0:25 / /dev/shm rw - tmpfs tmpfs rw,size=1000k
31 27 0:40 / /srv/files rw - nfs4 server:/files rw,vers=4.2
32 27 8:1 / /srv/with\\040blank rw,noatime - ext4 /dev/sda1 rw,barrier=0,data=writeback
33 27 0:50 / /srv/box rw - overlay overlay rw,lowerdir=/a
34 27 8:2 / /srv/old ro - xfs /dev/sda2 ro
35 27 8:2 / /srv/old rw - xfs /dev/sda2 rw
36 27 0:60 / /srv/cow rw - btrfs /dev/sdb rw
37 27 0:61 / /srv/fuse rw - fuse.sshfs me@host rw
38 27 8:3 / /srv/frozen ro - ext4 /dev/sda3 rw
"""


class TestDoctorOnFileSystems:
    @pytest.mark.parametrize(
        ("path", "state", "words"),
        [
            ("/home/desk", "ok", "ext4 at /"),
            ("/dev/shm/x", "problem", "is memory"),
            ("/srv/files/a/b", "problem", "not local"),
            ("/srv/with blank/x", "problem", "does not flush"),
            ("/srv/box", "warning", "layers of a container"),
            ("/srv/old", "ok", "xfs at /srv/old"),
            ("/srv/cow", "warning", "btrfs"),
            ("/srv/fuse/x", "problem", "not local"),
            ("/srv/frozen", "problem", "read-only"),
            ("/srv/filesystem", "ok", "ext4 at /"),
        ],
    )
    def test_knows_what_a_mount_promises(self, path, state, words):
        check = judge_mount(mount_of(Path(path), MOUNTS))

        assert (check.state, words in check.says) == (state, True), check
        assert bool(check.advice) == (state != "ok")

    def test_says_when_nothing_is_mounted_there(self):
        assert judge_mount(mount_of(Path("/x"), "")).state == "warning"

    @pytest.mark.parametrize(
        ("mib", "inodes", "state"),
        [(100_000, 10**6, "ok"), (1000, 10**6, "warning"), (100, 10**6, "problem"), (100_000, 5, "problem")],
    )
    def test_knows_how_much_room_a_journal_needs(self, mib, inodes, state):
        blocks = mib * 256
        space = os.statvfs_result((4096, 4096, 2 * blocks, blocks, blocks, 10**7, inodes, inodes, 0, 255))

        assert judge_space(space).state == state

    def test_counts_no_inodes_where_there_are_none(self):
        space = os.statvfs_result((4096, 4096, 10**9, 10**9, 10**9, 0, 0, 0, 0, 255))

        assert judge_space(space).state == "ok"

    def test_finds_the_disk_of_a_partition_and_of_a_mapped_device(self, tmp_path):
        disk = tmp_path / "devices/nvme0n1"
        for part in (disk / "nvme0n1p1", disk / "queue", tmp_path / "devices/dm-0/slaves"):
            part.mkdir(parents=True)
        (disk / "nvme0n1p1/partition").write_text("1\n")
        (disk / "queue/rotational").write_text("0\n")
        (disk / "queue/write_cache").write_text("write back\n")
        (tmp_path / "devices/dm-0/slaves/nvme0n1p1").symlink_to(disk / "nvme0n1p1")
        blocks = tmp_path / "block"
        blocks.mkdir()
        (blocks / "259:1").symlink_to(disk / "nvme0n1p1")
        (blocks / "253:0").symlink_to(tmp_path / "devices/dm-0")

        found = [device_of(number, blocks) for number in ("259:1", "253:0", "0:40")]

        nvme = Device("nvme0n1", rotational=False, write_cache="write back", virtual=False)
        assert found == [nvme, nvme, None]


FLASH = Device("nvme0n1", rotational=False, write_cache="write back", virtual=False)
DISK = Device("sda", rotational=True, write_cache="write back", virtual=False)
VIRTUAL = Device("vda", rotational=True, write_cache="write back", virtual=True)


class TestDoctorOnFlushes:
    @pytest.mark.parametrize(
        ("p50", "p99", "device", "state", "words"),
        [
            (5e-4, 2e-3, FLASH, "ok", "as long as an honest device may take"),
            (5e-5, 2e-4, FLASH, "ok", "protected"),
            (5e-6, 2e-5, FLASH, "warning", "faster than a device"),
            (8e-3, 2e-2, DISK, "ok", "honest"),
            (2e-4, 2e-2, DISK, "warning", "faster than a rotating disk"),
            (9e-3, 9e-2, DISK, "warning", "p99 90,000 us"),
            (2e-4, 1e-3, VIRTUAL, "ok", "no proof"),
            (2e-6, 1e-5, VIRTUAL, "warning", "faster than"),
            (2e-4, 1e-3, None, "ok", "no proof"),
        ],
    )
    def test_knows_what_a_device_can_do(self, p50, p99, device, state, words):
        check = judge_flush([p50] * 97 + [p99] * 3, device)

        assert (check.state, words in check.says) == (state, True), check

    def test_takes_memory_for_no_device(self):
        assert judge_flush([1e-6], None, in_memory=True).state == "problem"

    def test_leaves_no_file_behind(self, tmp_path, monkeypatch):
        """Also where files without a name cannot be had."""
        before = shutil.disk_usage(tmp_path)
        assert len(measure(tmp_path)) >= 1
        unnamed = os.open

        def refuse(path, flags, *arguments, **options):
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError("not supported")
            return unnamed(path, flags, *arguments, **options)

        monkeypatch.setattr("tickbus.doctor.storage.os.open", refuse)
        assert len(measure(tmp_path)) >= 1
        assert list(tmp_path.iterdir()) == []
        assert before.total == shutil.disk_usage(tmp_path).total


class TestDoctor:
    def test_says_a_line_a_check_and_the_worst_is_the_exit_code(self, tmp_path, capsys):
        code = cli.main(["doctor", str(tmp_path), "--json"])

        said = json.loads(capsys.readouterr().out)
        states = [check["state"] for check in said["checks"]]
        assert code == max({"ok": 0, "warning": 1, "problem": 2}[state] for state in states)
        assert {"kernel", "clock", "limits", "shared memory", "file system", "space", "device", "flush"} <= {
            check["name"] for check in said["checks"]
        }
        assert all(check["advice"] for check in said["checks"] if check["state"] == "problem")
        assert list(tmp_path.iterdir()) == []

    def test_prints_the_advice_below(self, monkeypatch, capsys):
        checks = [doctor.Check("one", "ok", "fine"), doctor.Check("two", "problem", "bad", "mend it")]
        monkeypatch.setattr("tickbus.doctor.examine", lambda path: checks)

        assert cli.main(["doctor"]) == 2
        assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
            ["ok", "one", "fine"],
            ["problem", "two", "bad"],
            ["->", "mend", "it"],
        ]

    def test_looks_above_a_path_that_is_not_there_yet(self, tmp_path):
        checks = {check.name: check for check in doctor.examine(tmp_path / "a" / "b")}

        assert str(tmp_path) in checks["path"].says
        assert not (tmp_path / "a").exists()

    def test_takes_memory_for_no_place_for_a_journal(self, capsys):
        assert cli.main(["doctor", "/dev/shm"]) == 2
        assert "is memory" in capsys.readouterr().out

    def test_ends_when_a_file_system_does_not_answer(self):
        """The child that asks it is left behind, killed."""
        began = time.monotonic()
        (check,) = doctor.in_child(lambda: time.sleep(60) or [], 0.2)

        assert (check.state, "not answered" in check.says) == ("problem", True)
        assert time.monotonic() - began < 30

    def test_says_what_it_may_not_ask(self):
        def forbidden():
            raise PermissionError("not for you")

        (check,) = doctor.in_child(forbidden, 20)
        assert (check.state, "not for you" in check.says) == ("warning", True)

    def test_finds_buses_that_nobody_has_open(self, named_bus, tmp_path):
        """By what the processes of this user have mapped."""
        (tmp_path / "tickbus.gone").write_bytes(bytes(4096))
        assert [check.name for check in doctor.shared_memory(tmp_path, Path("/proc"))] == [
            "shared memory",
            "buses",
        ]

        real = doctor.shared_memory(Path("/dev/shm"), Path("/proc"))
        stale = [name for check in real for name in check.figures.get("stale", [])]
        assert f"tickbus.{named_bus.name}" not in stale
        assert Path(f"/dev/shm/tickbus.{named_bus.name}").exists()


def test_a_full_disk_below_the_output_is_one_line(journal):
    """And no traceback, also not when Python flushes at its end."""
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "tickbus", "inspect", str(journal), "--json"]
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)

    assert ended.returncode == 1
    assert ended.stderr.splitlines() == ["tickbus: [Errno 28] No space left on device"]
