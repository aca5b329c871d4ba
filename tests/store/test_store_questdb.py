"""
The sink `questdb` against a real server, if one can be had: Java 17, the client, and the server's jar.

The jar is taken from QUESTDB_JAR, or Maven brings it into target/questdb. A skip says what is missing.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import tickbus as tb
from tickbus.errors import MissingExtraError, QueryError, StoreError
from tickbus.store import MemorySource, Names
from tickbus.store.sinks import copy_to, open_sink

ROOT = Path(__file__).resolve().parents[2]
JAR = ROOT / "target" / "questdb" / "questdb-9.1.0.jar"
MIDNIGHT = 1_786_233_600 * 10**9

CONFIGURATION = """
http.net.bind.to=127.0.0.1:{}
http.min.enabled=false
pg.enabled=false
line.tcp.enabled=false
telemetry.enabled=false
shared.worker.count=1
"""


def jar() -> Path:
    if "QUESTDB_JAR" in os.environ:
        return Path(os.environ["QUESTDB_JAR"])
    if not JAR.exists():
        maven = shutil.which("mvn") or pytest.skip("no QUESTDB_JAR, and no Maven to bring it")
        where = ["-Dartifact=org.questdb:questdb:9.1.0", f"-DoutputDirectory={JAR.parent}"]
        try:
            subprocess.run(
                [maven, "-q", "dependency:copy", *where], check=True, timeout=90, capture_output=True
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            pytest.skip("Maven cannot bring QuestDB's jar here")
    return JAR


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of a QuestDB on this machine."""
    pytest.importorskip("questdb", reason="the extra questdb is not installed")
    java = shutil.which("java") or pytest.skip("no Java to run QuestDB")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("questdb")
    (folder / "conf").mkdir()
    (folder / "conf" / "server.conf").write_text(CONFIGURATION.format(port))
    command = [java, "-p", str(jar()), "-m", "io.questdb/io.questdb.ServerMain", "-d", str(folder)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            for _ in range(600):
                if process.poll() is not None:
                    pytest.skip(f"QuestDB does not start here: {(folder / 'log').read_text()[-300:]}")
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    time.sleep(0.1)
            yield f"http::addr=127.0.0.1:{port};"
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def log():
    events = np.zeros(1000, tb.EVENT_DTYPE)
    events["timestamp"] = MIDNIGHT + np.arange(1000)
    events["priority"] = np.arange(1000) % 3
    events["event_type"][::2] = 4
    events["symbol"] = 1
    events["value"] = np.arange(1000)
    events["metadata"] = tb.pack_quantity(-2.0)
    return MemorySource(events, Names({1: "BTC-USDT"}))


@pytest.mark.slow
class TestServer:
    def test_has_every_event_once(self, server, log, wait_until):
        """Copied, copied again, and written twice as after a crash: each event is there once."""
        sink = open_sink("questdb", server)
        assert copy_to(log, sink, max_rows=300) == (1000, 0)
        # The server applies its own log a moment later; until then it tells less than it has.
        wait_until(lambda: sink.query("select count() from tickbus_events") == [[1000]])
        assert copy_to(log, sink, max_rows=300) == (0, 1000)

        sink.last = lambda log_id: {}
        assert copy_to(log, sink, max_rows=300) == (1000, 0)

        applied = "select writerTxn = sequencerTxn from wal_tables() where name = 'tickbus_events'"
        wait_until(lambda: sink.query(applied) == [[True]])
        totals = "count(), min(lane), max(lane), max(sequence), max(ts), sum(price), sum(side), count(bid)"
        assert sink.query(f"select {totals}, first(symbol) from tickbus_events") == [
            [1000, 0, 2, 333, "2026-08-09T00:00:00.000000999Z", 250_000.0, -500, 500, "BTC-USDT"]
        ]
        sink.close()


class TestRefusals:
    @pytest.mark.parametrize("target", ["127.0.0.1:9000", "tcp::addr=127.0.0.1:9009;", "http::", ""])
    def test_of_a_target(self, target):
        """The message shows what one looks like."""
        pytest.importorskip("questdb", reason="the extra questdb is not installed")
        with pytest.raises(QueryError, match="like http::addr="):
            open_sink("questdb", target)

    def test_of_a_server_that_is_not_there(self):
        """Told when the sink is opened, not at the first write."""
        pytest.importorskip("questdb", reason="the extra questdb is not installed")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with pytest.raises(StoreError, match="does not answer"):
            open_sink("questdb", f"http::addr=127.0.0.1:{port};")

    def test_without_the_client_names_the_extra(self, monkeypatch):
        """As every other optional part."""
        monkeypatch.setitem(sys.modules, "questdb", None)

        with pytest.raises(MissingExtraError, match=r"tickbus\[questdb\]"):
            open_sink("questdb", "http::addr=127.0.0.1:1;")
