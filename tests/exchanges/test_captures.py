"""Promises of captures: three formats, three compressions, real recordings explained to the frame."""

import base64
import gzip
import json

import pytest

from tickbus.errors import CaptureError, MissingExtraError
from tickbus.exchanges import Frame, lines, merge, open_capture

FRAME = b'{"event":"heartbeat"}'
TSJSON = b"1617666541676557000 " + FRAME + b"\n"
TEXT = (
    b'configuration: {"ticker":["BTC-USD"]}\n'
    b"wss://ws.kraken.com <-> 1617666422.6348429\n"
    b'wss://ws.kraken.com <- 1617666423.122873: {"event":"subscribe"}\n'
    b"https://api.kraken.com/x -> 1617666423.2: {}\n"
    b"1617666423.1243808: " + FRAME + b"\n"
    b"1617666424: b'\\x1f\\x8b\"'\n"
    b"\n"
)


def jsonl(*received: tuple[str, str, bytes]) -> bytes:
    header = '{"t":"header","format":2,"exchange":"KRAKEN"}\n'
    header += '{"t":"http","conn":"h","ts":1.5,"url":"u","data":"x"}\n'
    rows = (
        f'{{"t":"recv","conn":"{conn}","ts":{ts},"data":{json.dumps(data.decode())}}}\n'
        for conn, ts, data in received
    )
    return (header + "".join(rows)).encode()


@pytest.fixture
def capture_of(tmp_path):
    def write(content: bytes, name: str = "kraken.capture", **market):
        path = tmp_path / name
        path.write_bytes(content)
        return open_capture(path, **market)

    return write


class TestFormats:
    def test_nanoseconds_and_json(self, capture_of):
        """tsjson: the time as it stands, the frame untouched."""
        capture = capture_of(TSJSON * 2)

        assert ("tsjson", "kraken", "spot") == (capture.format, capture.venue, capture.market)
        assert [Frame(1_617_666_541_676_557_000, "0", FRAME)] * 2 == list(capture)

    def test_text_recorder(self, capture_of):
        """rec.txt: received frames only, binary ones as bytes, times exact to the last digit."""
        capture = capture_of(TEXT)

        assert ("rec.txt", "kraken") == (capture.format, capture.venue)
        expected = [
            Frame(1_617_666_423_124_380_800, "wss://ws.kraken.com", FRAME),
            Frame(1_617_666_424_000_000_000, "wss://ws.kraken.com", b'\x1f\x8b"'),
        ]
        assert expected == list(capture)

    def test_json_lines_recorder(self, capture_of):
        """rec.jsonl: text and binary frames; what the recorder did itself is passed over."""
        binary = {"t": "recv", "conn": "a", "ts": 1626916410, "b64": base64.b64encode(b"\x00\xff").decode()}
        capture = capture_of(jsonl(("a", "1626916408.60732", FRAME)) + json.dumps(binary).encode() + b"\n")

        assert ("rec.jsonl", "kraken") == (capture.format, capture.venue)
        expected = [
            Frame(1_626_916_408_607_320_000, "a", FRAME),
            Frame(1_626_916_410_000_000_000, "a", b"\x00\xff"),
        ]
        assert expected == list(capture)

    def test_connections_are_merged_by_time(self, capture_of):
        """Recorded one connection after the other, replayed as they happened."""
        capture = capture_of(
            jsonl(("a", "1.0", b"1"), ("a", "3.0", b"3"), ("b", "0.5", b"0"), ("b", "2.0", b"2"))
        )

        assert [b"0", b"1", b"2", b"3"] == [frame.data for frame in capture]
        assert ["b", "a", "b", "a"] == [frame.connection for frame in capture]

    def test_files_are_merged_by_time(self, capture_of):
        """Several captures replay as one."""
        one = capture_of(b"1000000000000000001 {}\n1000000000000000003 {}\n", "a", venue="kraken")
        two = capture_of(b"1000000000000000002 []\n", "b", venue="coinbase")

        assert ["kraken", "coinbase", "kraken"] == [capture.venue for capture, _ in merge([one, two])]

    def test_compression_is_told_by_content(self, capture_of):
        """gzip, also in several members; the name does not matter."""
        capture = capture_of(gzip.compress(TSJSON, mtime=0) + gzip.compress(TSJSON), "kraken.txt")

        assert [FRAME, FRAME] == [frame.data for frame in capture]
        assert capture.size_bytes == capture.position_bytes

    def test_zstandard(self, capture_of):
        """Zstandard, also in several frames."""
        zstandard = pytest.importorskip("zstandard", reason="extra 'exchanges' is not installed")
        stored = zstandard.compress(TSJSON)

        assert [FRAME, FRAME] == [frame.data for frame in capture_of(stored + stored)]

    def test_zstandard_missing_names_the_extra(self, capture_of, monkeypatch):
        """Without the library the error says what to install."""
        monkeypatch.setitem(__import__("sys").modules, "zstandard", None)

        with pytest.raises(MissingExtraError, match=r"tickbus\[exchanges\]"):
            capture_of(lines.ZSTD_MAGIC + b"....")

    def test_argument_overrides_detection(self, capture_of):
        """The caller knows better."""
        capture = capture_of(TSJSON, venue="binance", market="usdm")

        assert ("binance", "usdm") == (capture.venue, capture.market)
        assert ("binance", "usdm") == (capture.decoder().venue, capture.decoder().market)


class TestDamage:
    """Each error names the file and the line; frames before it have been yielded."""

    @pytest.mark.parametrize(
        ("content", "line", "what"),
        [
            (b"", 1, "empty"),
            (b"\x7fELF\x00\x01", 1, "known format"),
            (b"hello\nworld\n", 1, "known format"),
            (b"date,open,close\n", 1, "known format"),
            (b'{"stream":"x"}\n', 1, "known format"),
        ],
    )
    def test_foreign_file(self, capture_of, content, line, what):
        with pytest.raises(CaptureError, match=rf"kraken.capture:{line}: .*{what}"):
            capture_of(content)

    @pytest.mark.parametrize(
        ("content", "line", "what"),
        [
            (TSJSON + b'1617666541676557001 {"ev', 2, "cut off"),
            (TSJSON + b"garbage\n", 2, "expected 'NANOSECONDS FRAME'"),
            (TEXT + b"garbage\n", 8, "expected 'SECONDS: FRAME'"),
            (TEXT + b"1617666425: [1,2", 8, "cut off"),
            (TEXT + b"1617666425: b'\\x1'\n", 8, "bytes literal"),
            (jsonl(("a", "1.0", FRAME)) + b'{"t":"recv","co', 4, "cut off"),
            (jsonl(("a", "1.0", FRAME)) + b'{"t":"recv"}\n', 4, "without conn"),
            (jsonl(("a", "1.0", FRAME)) + b'{"t":"recv","conn":"a","ts":1,"b64":"%"}\n', 4, "without conn"),
            (jsonl(("a", "1.0", FRAME)) + b"[]\n", 4, "expected a record"),
            (gzip.compress(TSJSON * 1000, mtime=0)[:-20], 1, "cut off"),
            (gzip.compress(TSJSON, mtime=0)[:-8] + b"\x00" * 8, 1, "damaged"),
        ],
    )
    def test_damaged_file(self, capture_of, content, line, what):
        with pytest.raises(CaptureError, match=rf"kraken.capture:\d+: .*{what}") as error:
            list(capture_of(content))
        # How far a damaged compressed stream gets before it is noticed is the library's business.
        if not content.startswith(lines.GZIP_MAGIC):
            assert f":{line}: " in str(error.value)

    def test_cut_off_zstandard(self, capture_of):
        """The library itself would take a cut-off stream for a short one."""
        zstandard = pytest.importorskip("zstandard", reason="extra 'exchanges' is not installed")
        with pytest.raises(CaptureError, match="cut off"):
            list(capture_of(zstandard.compress(TSJSON * 1000)[:-3]))

    def test_missing_file(self, tmp_path):
        with pytest.raises(CaptureError, match="No such file"):
            open_capture(tmp_path / "absent")

    def test_endless_line(self, capture_of, monkeypatch):
        """A file without line ends does not fill the memory."""
        monkeypatch.setattr(lines, "LINE_BYTES_MAX", 1 << 20)
        with pytest.raises(CaptureError, match="longer than 1 MiB"):
            capture_of(b"x" * (3 << 20))


class TestVenues:
    def test_one_without_decoder(self, capture_of):
        """Its frames are read as they are; asking for a decoder says which there are."""
        capture = capture_of(b'{"t":"header","exchange":"MTGOX"}\n' + jsonl(("a", "1.0", FRAME)), "x")

        assert ("mtgox", "") == (capture.venue, capture.market)
        assert [FRAME] == [frame.data for frame in capture]
        with pytest.raises(CaptureError, match="no decoder for venue 'mtgox'; there are binance"):
            capture.decoder()

    @pytest.mark.parametrize(
        ("address", "expected"),
        [
            ("wss://ws.okx.com:8443/ws/v5/public", ("okx", "spot")),
            ("wss://ws.okex.com:8443/ws/v5/public", ("okx", "spot")),
            ("wss://stream.bybit.com/v5/public/linear", ("bybit", "linear")),
            ("wss://stream.bybit.com/v5/public/spot", ("bybit", "spot")),
            ("wss://futures.kraken.com/ws/v1", ("kraken_futures", "")),
            ("wss://www.bitmex.com/realtime", ("bitmex", "")),
            ("wss://stream.bybit.com/v5/public/option", ("bybit", "")),
        ],
    )
    def test_by_address(self, capture_of, address, expected):
        """Venue and market of the address the recorder was connected to."""
        capture = capture_of(address.encode() + b" <-> 1617666422.6\n1617666423.1: {}\n", "x")

        assert expected == (capture.venue, capture.market)

    @pytest.mark.parametrize(
        ("frame", "expected"),
        [
            ('{"arg":{"channel":"trades","instId":"ZEN-USDT"},"data":[]}', ("okx", "spot")),
            ('{"topic":"publicTrade.BTCUSDT","ts":1,"type":"snapshot"}', ("bybit", "spot")),
            ('{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":1}', ("bybit", "linear")),
            ('{"topic":"publicTrade.BTCUSDZ25","type":"snapshot","ts":1}', ("bybit", "inverse")),
            ('{"hello":1}', ("", "")),
        ],
    )
    def test_by_look(self, capture_of, frame, expected):
        """A file that says nothing of itself is told by its frames."""
        capture = capture_of(f"1617666541676557000 {frame}\n".encode(), "x")

        assert expected == (capture.venue, capture.market)

    def test_several_markets(self, capture_of):
        """Each connection has the market of its address, and a decoder of its own."""
        connect = '{{"t":"connect","conn":"{}","ts":1,"addr":"wss://stream.bybit.com/v5/public/{}"}}\n'
        content = b'{"t":"header","exchange":"BYBIT"}\n' + connect.format("a", "linear").encode()
        content += b'{"t":"recv","conn":"a","ts":2,"data":"{}"}\n' + connect.format("b", "spot").encode()
        capture = capture_of(content + b'{"t":"recv","conn":"b","ts":1,"data":"{}"}\n', "x")

        decoders = capture.decoders()

        assert {"a": "linear", "b": "spot"} == capture.markets
        assert ["linear", "spot"] == [decoders["a"].market, decoders["b"].market]
        assert decoders["a"] is decoders["a"]
        with pytest.raises(CaptureError, match=r"several markets \(linear, spot\)"):
            capture.decoder()

    def test_the_only_instrument(self, capture_of):
        """Of a recording of one instrument, also the frames that do not name it are its."""
        snapshot = b'1617666541676557001 {"lastUpdateId":5,"bids":[["1.10","2"]],"asks":[]}\n'
        stream = b'1617666541676557000 {"stream":"%s@trade","data":{"e":"x","M":true}}\n'
        one = capture_of(stream % b"ethusdt" + snapshot, "x")
        two = capture_of(stream % b"ethusdt" + stream % b"btcusdt" + snapshot, "y")
        books = []
        for capture in (one, two):
            decoder = capture.decoder()
            books.append([])
            for frame in capture:
                decoder.decode(frame.data)
                books[-1] += decoder.depths()

        assert ("ETHUSDT", None) == (one.instrument, two.instrument)
        assert [["ETH-USDT"], []] == [[book["symbol"] for book in found] for found in books]
