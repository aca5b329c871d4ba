"""Promises of readings and sequences: what recordings hold is understood, and harm to a sequence is told."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickbus.exchanges import VENUES, open_capture
from tickbus.exchanges.readings import VENUES_READ, Kind, Sequence, reader
from tickbus.exchanges.sequences import GAP, LATE, OK, REPEATED, Chain, Chains

#: Recordings, and how many of their frames are read here; all, where the file is small.
RECORDED = [
    ("binance", "binance/2024-08-08_spot_btcusdt.tsjson.zst", 8_000),
    ("binance", "binance/2024-07-18_usdm_btcusdt.tsjson.zst", 8_000),
    ("binance", "binance/2024-08-08_coinm_btcusd_perp.tsjson.zst", 8_000),
    ("binance", "binance/2021-04-05_spot_10symbols_with_rest.rec.txt.zst", None),
    ("binance", "binance/2021-04-05_usdm_5symbols_with_rest.rec.txt.zst", None),
    ("binance", "binance/2021-07-22_coinm_10symbols.rec.jsonl.zst", None),
    ("coinbase", "coinbase/2026-08-09_advanced_trade_btc_eth.rec.jsonl.zst", None),
    ("coinbase", "coinbase/2021-04-17_pro_5products.rec.txt.zst", None),
    ("kraken", "kraken/2021-04-05_spot_trade.rec.txt.zst", None),
    ("kraken", "kraken/2021-04-05_spot_ticker.rec.txt.zst", None),
    ("kraken", "kraken/2021-04-05_spot_book.rec.txt.zst", 3_000),
    ("okx", "okx/2022-02-27_ws.rec.txt.zst", None),
    ("okx", "okx/2021-07-22_redundant_conn1.rec.txt.zst", None),
    ("bybit", "bybit/2026-08-09_v5_linear_spot.rec.jsonl.zst", None),
]


class TestRecordings:
    @pytest.mark.parametrize(("venue", "name", "limit"), RECORDED, ids=[row[1] for row in RECORDED])
    def test_are_understood(self, data, venue, name, limit):
        """Every frame; no id twice, no sequence broken; an id or None for each event of the decoder."""
        pytest.importorskip("zstandard", reason="extra 'exchanges' is not installed")
        capture = open_capture(data / name)
        read, chains, seen = reader(venue), Chains(), set()
        decoders = capture.decoders()
        for number, frame in enumerate(capture):
            if number == limit:
                break
            reading = read(frame.data)
            assert reading.kind not in (Kind.UNKNOWN, Kind.UNREADABLE), frame.data[:300]
            for part in reading.parts if reading.kind == Kind.DATA else ():
                stream = (frame.connection, part.channel, part.symbol)
                assert OK == chains.check(stream, part.sequence), frame.data[:300]
                keys = {(*stream, id) for id in part.ids if id is not None}
                assert not keys & seen
                seen |= keys
            assert OK == chains.check(frame.connection, reading.sequence)
            ids = [id for part in reading.parts for id in part.ids]
            decoder = decoders[frame.connection]
            rows = decoder.decode(frame.data)
            # Healthy frames may tell no event: contracts of unknown size, prices that did not change.
            expected = (len(ids),) if decoder.outcome[0] == "events" else (len(ids), 0)
            assert len(rows) in expected, frame.data[:300]

    def test_every_decoder_has_its_readings(self):
        assert set(VENUES) <= set(VENUES_READ)


class TestAnyBytes:
    @given(venue=st.sampled_from(VENUES_READ), frame=st.binary(max_size=200))
    def test_are_a_reading(self, venue, frame):
        """Noise raises nothing."""
        assert reader(venue)(frame).kind

    @given(
        venue=st.sampled_from(VENUES_READ),
        key=st.sampled_from(
            ["e", "type", "channel", "topic", "arg", "data", "event", "method", "stream", "op"]
        ),
        value=st.recursive(
            st.none() | st.integers() | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["data", "type", "channel", "s", "u", "e"]), inner, max_size=3
                )
            ),
            max_leaves=6,
        ),
    )
    def test_json_of_any_shape_is_a_reading(self, venue, key, value):
        """So does JSON that no venue sends."""
        assert reader(venue)(json.dumps({key: value, "data": value}).encode()).kind

    def test_nothing_nests_too_deep(self):
        assert Kind.UNREADABLE == reader("kraken")(b"[" * 200_000).kind

    def test_an_unknown_venue_is_named(self):
        with pytest.raises(ValueError, match="'mtgox'"):
            reader("mtgox")


def one_by_one(numbers: list[int]) -> list[Sequence]:
    return [Sequence(number, number) for number in numbers]


def named(numbers: list[int]) -> list[Sequence]:
    """Each names the one before, as OKX and Binance futures do."""
    return [Sequence(b, b, a) for a, b in itertools.pairwise(numbers)]


class TestChain:
    @pytest.mark.parametrize(
        ("numbers", "verdicts"),
        [
            ([5, 6, 7], [OK, OK, OK]),
            ([5, 7, 8], [OK, GAP, OK]),
            ([5, 7, 6, 8], [OK, GAP, LATE, OK]),
            ([5, 6, 6, 7], [OK, OK, REPEATED, OK]),
            ([5, 9, 7, 6, 8, 8], [OK, GAP, LATE, LATE, LATE, REPEATED]),
        ],
    )
    def test_numbered_one_by_one(self, numbers, verdicts):
        chain = Chain()

        assert verdicts == [chain.check(sequence) for sequence in one_by_one(numbers)]

    def test_ranges(self):
        """Binance spot: an update begins where the last ended."""
        chain = Chain()
        sequences = [Sequence(1, 4), Sequence(5, 9), Sequence(12, 13), Sequence(10, 11)]

        assert [OK, OK, GAP, LATE] == [chain.check(sequence) for sequence in sequences]
        assert (1, 0, 1) == (chain.gaps, chain.missing, chain.late)

    def test_named_predecessors_jump(self):
        """OKX: numbers say nothing but through the predecessor; a reset is no loss."""
        chain = Chain()
        rows = [Sequence(10, 10, -1, restarts=True), Sequence(17, 17, 10), Sequence(17, 17, 17)]
        rows += [Sequence(3, 3, 17), Sequence(9, 9, 3), Sequence(30, 30, 20)]

        assert [OK, OK, OK, OK, OK, GAP] == [chain.check(row) for row in rows]

    def test_a_snapshot_begins_anew(self):
        chain = Chain()
        rows = [Sequence(10, 10), Sequence(2, 2, None, restarts=True), Sequence(3, 3)]

        assert [OK, OK, OK] == [chain.check(row) for row in rows]

    @given(
        length=st.integers(3, 60),
        jumps=st.lists(st.integers(1, 9), min_size=60, max_size=60),
        harm=st.sampled_from(["drop", "repeat", "swap"]),
        at=st.floats(0.0, 0.999),
        by_name=st.booleans(),
    )
    def test_any_harm_is_told(self, length, jumps, harm, at, by_name):
        """One message lost, repeated or swapped, anywhere but at the ends, in either kind of sequence."""
        numbers = [sum(jumps[: i + 1]) if by_name else i for i in range(length + 1)]
        rows = named(numbers) if by_name else one_by_one(numbers)
        place = 1 + int(at * (len(rows) - 2))
        if harm == "drop":
            del rows[place]
        elif harm == "repeat":
            rows.insert(place, rows[place])
        else:
            rows[place], rows[place + 1 :] = rows[place + 1], [rows[place], *rows[place + 2 :]]
        chain = Chain()
        verdicts = [chain.check(row) for row in rows]

        assert {"drop": GAP, "repeat": REPEATED, "swap": GAP}[harm] in verdicts
        assert (harm != "drop") or (chain.gaps, chain.missing) == (1, 1)
