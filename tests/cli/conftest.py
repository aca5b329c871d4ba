"""Where the recorded captures are: tests that read them skip on a machine that has none."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data() -> Path:
    beside_checkout = Path(__file__).resolve().parents[3] / "shared" / "data"
    folder = Path(os.environ.get("TICKBUS_DATA", beside_checkout))
    if not folder.is_dir():
        pytest.skip(f"no recorded captures in {folder}; set TICKBUS_DATA")
    return folder
