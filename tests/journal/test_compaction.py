"""Sealed segments become packed ones by whoever asks for it, and a reader sees the same events."""

from __future__ import annotations

import json
import os
import random
import time
from datetime import timedelta

import pytest
from journal_parts import SMALL, kept, numbered, publish, read_all, segments, until, until_sealed

import tickbus as tb
from tickbus import cli
from tickbus.errors import InvalidEventError, JournalError
from tickbus.journal import compact_old


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal"


@pytest.fixture
def closed(path):
    """A closed journal with some twenty sealed segments, and the ids in it."""
    with tb.Bus(journal=kept(path), **SMALL) as bus:
        ids = publish(bus, 20_000)
        until_sealed(bus)
    return path, ids


def events(path):
    with tb.Bus(journal=kept(path), **SMALL) as bus:
        return read_all(bus.subscribe(">", start="earliest"))


def sizes(path):
    return {file.name: file.stat().st_size for file in path.iterdir() if file.suffix in (".seg", ".segz")}


class TestCompaction:
    def test_of_a_closed_journal_keeps_every_event(self, closed):
        path, ids = closed
        before = sizes(path)

        done = compact_old(path, timedelta(0))

        assert len(before) == done.segments
        assert (sum(before.values()), sum(sizes(path).values())) == (done.bytes_before, done.bytes_after)
        assert done.bytes_after < done.bytes_before
        assert 0 == done.younger
        assert [] == done.failed
        assert numbered(ids) == events(path)

    def test_leaves_what_is_young(self, closed):
        path, _ = closed
        before = sizes(path)

        done = compact_old(path, timedelta(days=1))

        assert (0, len(before)) == (done.segments, done.younger)
        assert before == sizes(path)

    def test_done_twice_is_done_once(self, closed):
        path, _ = closed
        compact_old(path, 0)
        assert 0 == compact_old(path, 0).segments

    def test_goes_on_while_the_journal_is_written(self, path, bus_name, fork):
        """Another process packs what this one seals."""

        def pack():
            while True:
                compact_old(path, 0)
                time.sleep(0.01)

        with tb.Bus(journal=kept(path), **SMALL) as bus:
            child = fork(pack)
            ids = []
            until(lambda: ids.extend(publish(bus, 1000, first=len(ids))) or segments(bus)["packed"] > 10)
            child.kill()
            assert numbered(ids) == read_all(bus.subscribe(">", start="earliest"))

    def test_is_done_by_the_writer_if_asked_for(self, path):
        with tb.Bus(journal=kept(path, pack_after=timedelta(0)), **SMALL) as bus:
            ids = publish(bus, 10_000)
            until(lambda: segments(bus)["packed"] > 5)
            assert bus.stats()["journal"]["packed"] >= segments(bus)["packed"]
            assert numbered(ids) == read_all(bus.subscribe(">", start="earliest"))

    def test_leaves_a_damaged_segment_and_says_so(self, closed):
        path, _ = closed
        name, *rest = sorted(sizes(path))
        spoiled = bytearray((path / name).read_bytes())
        spoiled[4096 + 100] ^= 1
        (path / name).write_bytes(spoiled)

        done = compact_old(path, 0)

        assert len(rest) == done.segments
        assert 1 == len(done.failed)
        assert name in done.failed[0]
        assert bytes(spoiled) == (path / name).read_bytes()

    def test_tells_how_far_it_is_and_ends_with_what_is_raised(self, closed):
        path, ids = closed
        told = []

        def progress(done, of):
            told.append((done.segments, of))
            if len(told) == 3:
                raise KeyboardInterrupt

        count = len(sizes(path))
        with pytest.raises(KeyboardInterrupt):
            compact_old(path, 0, progress)

        assert [(1, count), (2, count), (3, count)] == told
        assert numbered(ids) == events(path)

    def test_killed_at_any_instant_loses_nothing(self, closed, fork):
        path, ids = closed
        random_number, kills = random.Random(5), 0
        while any(path.glob("*.seg")):
            child = fork(lambda: compact_old(path, 0))
            time.sleep(random_number.random() * 0.03)
            kills += child.kill() == -9
            assert numbered(ids) == events(path)
        assert kills > 0
        compact_old(path, 0)
        assert [] == [file for file in os.listdir(path) if file.endswith(".segz.new")]

    @pytest.mark.parametrize("age", [-1, timedelta(seconds=-1), "1d", None])
    def test_refuses_what_is_no_age(self, closed, age):
        with pytest.raises(InvalidEventError, match="older_than"):
            compact_old(closed[0], age)

    def test_of_no_journal_is_refused(self, tmp_path):
        with pytest.raises(JournalError, match="nowhere"):
            compact_old(tmp_path / "nowhere", 0)


class TestCommand:
    def test_prints_what_it_did(self, closed, capsys):
        path, _ = closed
        count = len(sizes(path))

        assert 0 == cli.main(["compact", str(path), "--older-than", "0s"])

        assert f"packed {count} segments" in capsys.readouterr().out

    def test_prints_json(self, closed, capsys):
        path, _ = closed
        assert 0 == cli.main(["compact", str(path), "--older-than", "1d", "--json"])
        done = json.loads(capsys.readouterr().out)
        assert (0, len(sizes(path)), []) == (done["segments"], done["younger"], done["failed"])

    def test_fails_when_a_segment_is_damaged(self, closed, capsys):
        path, _ = closed
        name = min(sizes(path))
        (path / name).write_bytes((path / name).read_bytes()[:-4096])

        assert 1 == cli.main(["compact", str(path), "--older-than", "0s"])

        assert name in capsys.readouterr().err

    @pytest.mark.parametrize("age", ["1", "d", "-1d", "1y", "1e9d", "9" * 30 + "w"])
    def test_refuses_what_is_no_age(self, tmp_path, age, capsys):
        with pytest.raises(SystemExit) as refused:
            cli.main(["compact", str(tmp_path), f"--older-than={age}"])
        assert 2 == refused.value.code
        assert age in capsys.readouterr().err


def test_the_command_refuses_what_is_no_journal(tmp_path, capsys):
    """A wrong path in a cron job is noticed."""
    assert cli.main(["compact", str(tmp_path), "--older-than", "0s"]) == 1
    assert "is no journal" in capsys.readouterr().err
