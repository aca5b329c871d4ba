"""Each example runs by itself and prints what its reader is told it prints."""

import subprocess
import sys
from pathlib import Path

import pytest

import tickbus.demo.strategies

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

OUTPUT = {
    "stop_loss.py": "stop-loss BTC-USDT: sell 0.5 at 60,760\n",
    "arbitrage_alert.py": "arbitrage BTC-USDT: 20.9 basis points on 0.40\n",
    "drawdown_stop.py": (
        "drawdown_alert on BTC-USDT: 2.3% below the peak\nemergency_stop on BTC-USDT: 5.7% below the peak\n"
    ),
    "coordinated_action.py": (
        "momentum: signal_generated {'strength': 1.0, 'signal_id': 0}\n"
        "taker_flow: signal_generated {'strength': 1.0, 'signal_id': 0}\n"
        "quorum: order_placed {'price': 0.0, 'quantity': 0.1, 'side': 1}\n"
    ),
    "spoofing_warning.py": "SOL-USDT: large bids shown and pulled, score 0.99\n",
    "first_steps.py": (
        "inline: market.price_update.binance.BTC-USDT 64000.0\n"
        "later: market.price_update.binance.BTC-USDT 64000.0\n"
        "ledger: {'published': 1, 'delivered': 1, 'filtered': 0, 'missed': 0, 'pending': 0}\n"
    ),
    "replay_session.py": (
        "1 s: buy at 64010.0\n3 s: buy at 64020.0\n"
        "orders: [64010.0, 64020.0]\n"
        "again, from 3 s on:\n3 s: buy at 64020.0\n"
        "1 s: buy at 64010.0\n3 s: buy at 64020.0\n"
        "1 s: buy at 64010.0\n3 s: buy at 64020.0\n"
        "4 prices, 2 orders, the same as recorded\n"
    ),
    "keep_events.py": (
        "risk.drawdown_alert.desk.BTC-USDT 0.04\n"
        "market.price_update.binance.BTC-USDT 64000.0\n"
        "market.price_update.binance.BTC-USDT 61500.0\n"
        "missed: 0\n"
    ),
    "record_a_venue.py": (
        "a connection is lost: closed 1006\n"
        "the venue told 99 trades, the bus 99\n"
        "the recording gives the same 99: True\n"
    ),
    "two_processes.py": "the strategy saw 62900.0\nthe desk saw stop_loss_triggered at 62900.0\n",
}
#: Libraries of extras that an example needs.
NEEDS = {"record_a_venue.py": ("websockets", "zstandard")}


def test_every_example_is_run():
    """A new example says here what it prints."""
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(OUTPUT)


@pytest.mark.parametrize("name", OUTPUT)
def test_prints_what_it_says(name):
    """What a newcomer sees is what we promise."""
    for library in NEEDS.get(name, ()):
        pytest.importorskip(library, reason="extra 'exchanges' is not installed")
    result = subprocess.run(
        [sys.executable, str(EXAMPLES / name)], capture_output=True, text=True, check=False, timeout=60
    )

    assert (result.stdout, result.stderr) == (OUTPUT[name], "")


def test_the_demo_plays_the_same_files():
    """The demo's strategies are the examples, not copies of them."""
    folder = Path(tickbus.demo.strategies.__file__).parent

    played = [path for path in folder.glob("*.py") if path.name != "__init__.py"]

    assert len(played) == 5
    assert all(path.samefile(EXAMPLES / path.name) for path in played)
