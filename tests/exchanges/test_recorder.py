"""Promises of raw recordings: everything in them, readable to the last whole line, played back as it was."""

import asyncio
import errno
import os
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tickbus as tb
from tickbus.errors import CaptureCutOffError, CaptureError, MissingExtraError
from tickbus.exchanges import Frame, open_capture, recorder
from tickbus.exchanges.check import check
from tickbus.exchanges.recorder import COMPRESSIONS, Recorder
from tickbus.exchanges.replay import Replay

FRAMES = [
    b'{"channel":"heartbeat"}',
    '{"s":"币安人生USDT","q":"\\u0000"}'.encode(),
    b"\x1f\x8b\x00\xff binary",
    b"",
    b"pong",
    b'"quotes\\" and\\n lines"',
]


@pytest.fixture(params=COMPRESSIONS)
def compression(request):
    if request.param == "zstd":
        pytest.importorskip("zstandard", reason="extra 'exchanges' is not installed")
    return request.param


def record(path, frames, *, compression="none", start_ns=1_723_161_253_000_000_001, flush_s=0.0, **options):
    with Recorder(path, "kraken", compression=compression, flush_s=flush_s, **options) as made:
        made.opened("k.0.0.1", start_ns, "wss://x")
        for number, frame in enumerate(frames):
            made.received("k.0.0.1", start_ns + number, frame)
        made.sent("k.0.0.1", start_ns, '{"method":"ping"}')
        made.closed("k.0.0.1", start_ns + len(frames), "stopped")
    return made


class TestRecording:
    def test_gives_back_what_came(self, tmp_path, compression):
        """Any bytes, to the nanosecond, whatever the compression."""
        path = tmp_path / "x"
        record(path, FRAMES, compression=compression)
        capture = open_capture(path)
        first = 1_723_161_253_000_000_001

        assert ("rec.jsonl", "kraken", "spot") == (capture.format, capture.venue, capture.market)
        assert [Frame(first + n, "k.0.0.1", data) for n, data in enumerate(FRAMES)] == list(capture)
        assert ["connect", "close"] == [change.kind for change in capture.changes()]

    @given(
        frames=st.lists(
            st.binary(max_size=200) | st.text(max_size=50).map(lambda t: t.encode("utf-8", "ignore"))
        )
    )
    def test_any_bytes(self, tmp_path_factory, frames):
        path = tmp_path_factory.mktemp("any") / "x"
        record(path, frames)

        assert frames == [frame.data for frame in open_capture(path)]

    def test_never_overwrites(self, tmp_path):
        path = tmp_path / "x"
        record(path, FRAMES)
        with pytest.raises(CaptureError, match="File exists"):
            Recorder(path, "kraken")

    def test_closing_twice_is_fine(self, tmp_path):
        made = record(tmp_path / "x", FRAMES)
        made.close()

        assert made.written_bytes == (tmp_path / "x").stat().st_size

    def test_without_zstandard_the_extra_is_named(self, tmp_path, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "zstandard", None)
        with pytest.raises(MissingExtraError, match=r"tickbus\[exchanges\]"):
            Recorder(tmp_path / "x", "kraken")
        assert not (tmp_path / "x").exists(), "nothing is left behind"

    def test_flushes_when_it_is_time(self, tmp_path):
        """A frame waits for at most flush_s, also when no other one comes."""
        now_s = [0.0]
        made = Recorder(tmp_path / "x", "kraken", compression="none", flush_s=1.0, clock=lambda: now_s[0])
        header_bytes = made.written_bytes
        made.received("c", 1, b"one")
        assert header_bytes == made.written_bytes
        now_s[0] = 1.0
        made.flush_if_due()

        assert made.written_bytes > header_bytes
        made.close()


class TestCutOff:
    """A file whose writer was killed, or whose copy was: what is whole is read, and the end is said."""

    @settings(max_examples=60)
    @given(cut=st.floats(0.0, 1.0), data=st.data())
    def test_anywhere(self, tmp_path_factory, cut, data):
        """Cut after any byte: a whole beginning, never a wrong frame, and all up to the last whole flush."""
        compression = data.draw(st.sampled_from(["gzip", "none"]))
        folder = tmp_path_factory.mktemp("cut")
        frames = [b'{"number":%d}' % number for number in range(40)]
        record(folder / "x", frames, compression=compression)
        whole = (folder / "x").read_bytes()
        header_bytes = whole.find(b"\n") + 1 if compression == "none" else whole.find(b"\x1f\x8b", 2)
        kept = header_bytes + int(cut * (len(whole) - header_bytes))
        (folder / "y").write_bytes(whole[:kept])
        capture = open_capture(folder / "y", accept_cut=True)
        found = [frame.data for frame in capture]

        assert frames[: len(found)] == found
        if kept == len(whole):
            assert frames == found
        strict = open_capture(folder / "y")
        if capture.cut_off:
            with pytest.raises(CaptureCutOffError, match="cut off"):
                list(strict)
        else:
            assert len(found) == len(list(strict))

    def test_loses_the_last_flush_at_most(self, tmp_path, compression):
        """Every frame of every flush that is whole."""
        path, sizes = tmp_path / "x", []
        made = Recorder(path, "kraken", compression=compression, flush_s=1e9)
        for number in range(300):
            made.received("c", number + 1, b'{"number":%d}' % number)
            if number % 30 == 29:
                made.flush()
                sizes.append(made.written_bytes)
        made.close()
        for flush, size in enumerate(sizes[:-1]):
            (tmp_path / "cut").write_bytes(path.read_bytes()[: size + (sizes[flush + 1] - size) // 2 + 3])
            capture = open_capture(tmp_path / "cut", accept_cut=True)
            found = list(capture)
            assert 30 * (flush + 1) <= len(found) < 30 * (flush + 2)
            assert capture.cut_off
            assert check(capture).unexplained[-1].startswith("cut off")

    def test_killed_while_it_records(self, tmp_path, python):
        """kill -9: what was flushed is there."""
        path = tmp_path / "x"
        process = python(
            "import sys; from tickbus.exchanges.recorder import Recorder\n"
            "made = Recorder(sys.argv[1], 'kraken', compression='gzip', flush_s=0.0)\n"
            "for n in range(10**9):\n"
            "    made.received('c', n + 1, b'{\"number\":%d}' % n)\n"
            "    if n == 500: print('there', flush=True)\n",
            path,
        )
        assert "there" == process.stdout.readline().strip()
        process.kill()
        process.wait()
        found = [frame.data for frame in open_capture(path, accept_cut=True)]

        assert len(found) > 500
        assert [b'{"number":%d}' % n for n in range(len(found))] == found


class FullDisk:
    """`os.write` that takes so many bytes in all, some of them in halves, until there is room again."""

    def __init__(self, monkeypatch, room):
        self.room = room
        self._write = os.write
        monkeypatch.setattr(recorder.os, "write", self)

    def __call__(self, file, data):
        if self.room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        count = self._write(file, bytes(data[: self.room]))
        self.room -= count
        return count


class TestFullDisk:
    @pytest.mark.parametrize("room", [400, 1_000, 5_000])
    def test_goes_on_when_there_is_space_again(self, tmp_path, monkeypatch, compression, room):
        """Nothing half-written stays in the file; what waited is written, in order."""
        frames = [random.Random(n).randbytes(60) for n in range(200)]
        made = Recorder(tmp_path / "x", "kraken", compression=compression, flush_s=0.0)
        disk = FullDisk(monkeypatch, room)
        for number, frame in enumerate(frames[:150]):
            made.received("c", number + 1, frame)
        assert "No space left" in made.problem
        disk.room = 1 << 30
        for number, frame in enumerate(frames[150:]):
            made.received("c", 150 + number + 1, frame)
        made.close()

        assert ("", 0) == (made.problem, made.lost_frames)
        assert frames == [frame.data for frame in open_capture(tmp_path / "x")]

    def test_what_does_not_fit_is_counted(self, tmp_path, monkeypatch):
        """And told in the file, where a reader of it may look."""
        monkeypatch.setattr(recorder, "KEPT_BYTES_MAX", 2_000)
        made = Recorder(tmp_path / "x", "kraken", compression="none", flush_s=0.0)
        disk = FullDisk(monkeypatch, 0)
        for number in range(100):
            made.received("c", number + 1, b"x" * 50)
        lost = made.lost_frames
        assert 0 < lost < 100
        disk.room = 1 << 30
        made.received("c", 101, b"kept or lost")
        made.close()

        found = list(open_capture(tmp_path / "x"))
        assert 101 == len(found) + made.lost_frames
        assert f'"frames":{made.lost_frames}' in (tmp_path / "x").read_text()

    def test_a_disk_that_stays_full_is_an_error_at_the_end(self, tmp_path, monkeypatch):
        made = Recorder(tmp_path / "x", "kraken", compression="none", flush_s=0.0)
        FullDisk(monkeypatch, 0)
        made.received("c", 1, b"x")
        with pytest.raises(CaptureError, match="1 frames at the end are lost"):
            made.close()
        assert 1 == made.lost_frames


class TestReplay:
    @pytest.mark.parametrize("venue", ["binance", "coinbase", "kraken", "okx", "bybit"])
    @pytest.mark.parametrize("connections", [1, 2])
    def test_gives_the_same_events(self, tmp_path, venue, connections):
        """Byte for byte, with connections that break and come back, duplicates and followers."""
        pytest.importorskip("websockets", reason="extra 'exchanges' is not installed")
        from test_feed import FREE, Desk

        from tickbus.testing.venue_server import Faults, VenueServer

        async def live():
            faults = Faults(duplicate=0.02, truncate=0.01)
            made = Recorder(tmp_path / "x", venue, compression="gzip")
            async with (
                VenueServer(venue, limits=FREE, faults=faults) as server,
                Desk(server, connections=connections, recorder=made) as desk,
            ):
                await desk.live(connections)
                await desk.caught_up(200)
                server.abort(0)
                await desk.live(connections + 1)
                await desk.caught_up(200)
                events = desk.events.drain(1 << 20)
                made.close()
                return [event.bytes() for event in events], [event.topic for event in events]

        events, topics = asyncio.run(live())
        with tb.Bus(high_size=1 << 16) as bus:
            read = bus.subscribe("market.>")
            replay = Replay([open_capture(tmp_path / "x")], bus)
            replay.run()
            again = read.drain(1 << 20)

        assert len(events) > 200
        assert topics == [event.topic for event in again]
        assert events == [event.bytes() for event in again]
        assert (len(events), {}) == (replay.events, replay.summary()["cut_off"])

    def test_goes_at_the_recorded_pace(self, tmp_path):
        """At so many times of it: waits are asked for, for the time that is left."""
        trade = b'{"channel":"trade","type":"update","data":[]}'
        with Recorder(tmp_path / "x", "kraken", compression="none") as made:
            for second in range(1, 4):
                made.received("c", second * 1_000_000_000, trade)
        waits = []
        with tb.Bus() as bus:
            Replay([open_capture(tmp_path / "x")], bus, speed=0.01, sleep=waits.append).run()

        # Nobody slept, so the waits add up: 100 and 200 seconds after the first.
        assert [100, 200] == [round(wait_s) for wait_s in waits]

    def test_other_recordings_are_told_as_they_are(self, data):
        """Frame by frame as its decoders do; merged only when asked for."""
        pytest.importorskip("zstandard", reason="extra 'exchanges' is not installed")
        names = [data / f"okx/2021-07-22_redundant_conn{number}.rec.txt.zst" for number in (1, 2, 3)]
        counts = []
        for merge in (False, True):
            with tb.Bus() as bus:
                replay = Replay(map(open_capture, names), bus, merge=merge)
                replay.run()
                counts.append(replay.events)

        assert 0 < counts[1] < 0.7 * counts[0]


class TestCheck:
    @pytest.mark.parametrize(
        ("name", "frames", "events"),
        [
            ("kraken/2021-04-05_spot_trade.rec.txt.zst", 142, 28),
            ("coinbase/2026-08-09_advanced_trade_btc_eth.rec.jsonl.zst", 1_030, 239),
            ("binance/2021-07-22_coinm_10symbols.rec.jsonl.zst", 4_371, 2_291),
            ("okx/2022-02-27_ws.rec.txt.zst", 3_777, None),
            ("bybit/2026-08-09_v5_linear_spot.rec.jsonl.zst", 3_227, None),
        ],
    )
    def test_recordings_are_explained(self, data, name, frames, events):
        """Every frame in one sum, nothing missing, nothing twice."""
        pytest.importorskip("zstandard", reason="extra 'exchanges' is not installed")
        report = check(open_capture(data / name))

        assert [] == report.unexplained
        assert frames == report.frames["frames"] == report.frames["data"] + report.frames["other"]
        assert events in (None, sum(row.events for row in report.rows.values()))
        assert 0 == sum(row.duplicates for row in report.rows.values())

    def test_markets_are_told_apart(self, data):
        """Bybit calls a perpetual and a spot pair the same; they have a row each."""
        pytest.importorskip("zstandard", reason="extra 'exchanges' is not installed")
        report = check(open_capture(data / "bybit/2026-08-09_v5_linear_spot.rec.jsonl.zst"))

        assert ("linear", "publicTrade", "BTCUSDT") in report.rows
        assert ("spot", "publicTrade", "BTCUSDT") in report.rows

    def test_what_is_wrong_is_named(self, tmp_path):
        """A gap, a repeat, noise, and frames nobody knows."""
        trade = (
            '{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"buy","price":1.5,"qty":2,'
            '"ord_type":"market","trade_id":%d,"timestamp":"2024-01-01T00:00:00.000000Z"}]}'
        )
        frames = [trade % number for number in (1, 2, 2, 5, 6)]
        frames += ['{"channel":"tra', '{"new":"thing"}', (trade % 7).replace("1.5", "NaN")]
        record(tmp_path / "x", [frame.encode() for frame in frames])
        report = check(open_capture(tmp_path / "x"))
        row = report.rows["spot", "trade", "BTC/USD"]

        assert (1, 1, 2, 5) == (row.duplicates, row.gaps, row.missing, row.events)
        assert (2, 1) == (report.frames["unreadable"] + report.frames["unknown"], row.gaps)
        text = "\n".join(report.unexplained)
        for what in ("1 gaps, 2 messages missing", "frames unreadable", "frames unknown", "malformed"):
            assert what in text

    def test_a_venue_nobody_reads_is_said(self, data):
        pytest.importorskip("zstandard", reason="extra 'exchanges' is not installed")
        report = check(open_capture(data / "bitmex/2021-04-05_ws.rec.txt.zst"))

        assert ["no readings for bitmex: 7043 frames unread"] == report.unexplained
