"""Promises of the job `decode`: everybody gets the same trades, written as the venue writes them."""

import pytest

from tickbus.bench import runner
from tickbus.bench.jobs import JOBS
from tickbus.bench.jobs.decode import PEERS
from tickbus.bench.model import BehaviourError, Options
from tickbus.bench.peers.contract import installed
from tickbus.bench.trade_frames import MARKETS, recorded, simulated
from tickbus.cli import bench
from tickbus.exchanges import decoder_for

(JOB,) = (job for job in JOBS if job.name == "decode")


@pytest.mark.parametrize("venue", MARKETS)
class TestFrames:
    def test_are_the_simulators_trades_on_every_venue(self, venue):
        """As many as asked for, the same every time, and each is one trade of the expected instrument."""
        trades = simulated(venue, 100)
        decoder = decoder_for(venue, trades.market)

        assert trades == simulated(venue, 100)
        assert 100 <= len(trades.frames) == len(trades.expected)
        told = [decoder.decode(frame) for frame in trades.frames]
        assert [(symbol, price) for symbol, price, _ in trades.expected] == [
            row[1:3] for rows in told for row in rows
        ]
        assert set(trades.symbols.values()) == {symbol for symbol, *_ in trades.expected}

    def test_may_be_recorded(self, venue, data):
        """The trades of a recording, with the venue's own names of their instruments."""
        pytest.importorskip("zstandard", reason="extra 'exchanges' is not installed")
        trades = recorded(venue, data)

        assert len(trades.frames) >= 10
        for wire, symbol in trades.symbols.items():
            assert any(wire.encode() in frame for frame in trades.frames), (wire, symbol)


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_peers_tell_the_same_trades(peer):
    """Each that is installed, on each of its venues; one that told others would not be timed."""
    if not installed(peer.requires):
        pytest.skip(f"{peer.requires} is not installed")
    for venue in peer.venues:
        trades = simulated(venue, 200)
        parse = peer.make(trades)
        told = [seen for frame in trades.frames for seen in peer.seen(parse(peer.prepare(frame)), trades)]
        assert trades.expected == told


def test_a_peer_that_tells_others_is_not_timed(monkeypatch):
    """Here: one that turns the taker's side round."""
    outcome = runner.run([JOB], Options(quick=True, repeats=1))
    assert [] == outcome.failures
    from tickbus.bench.jobs import decode

    def turned(rows, trades):
        return [(symbol, price, -size) for symbol, price, size in decode._seen(rows, trades)]

    wrong = decode.Parser("wrong", None, decode._decoder, turned)
    case = decode._case("decode.okx", wrong, decode.Kind.PEER, simulated("okx", 10), 1)
    with pytest.raises(BehaviourError, match="trades told"):
        case.check()


def test_missing_recordings_are_refused_at_once(tmp_path, capsys):
    """Before anything is measured."""
    assert 2 == bench.main(["decode", "--recordings", str(tmp_path / "absent")])
    assert "no such folder" in capsys.readouterr().err
