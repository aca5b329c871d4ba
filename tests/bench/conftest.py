"""What the benchmark's tests share."""

import os
from pathlib import Path

import pytest

from tickbus.bench import floor


@pytest.fixture(scope="session")
def data() -> Path:
    """Where the recorded captures are: tests that read them skip on a machine that has none."""
    beside_checkout = Path(__file__).resolve().parents[3] / "shared" / "data"
    folder = Path(os.environ.get("TICKBUS_DATA", beside_checkout))
    if not folder.is_dir():
        pytest.skip(f"no recorded captures in {folder}; set TICKBUS_DATA")
    return folder


@pytest.fixture(scope="session")
def extension():
    """The C floor; a machine without compiler or headers has none."""
    try:
        return floor.extension()
    except floor.NoFloorError as error:
        pytest.skip(str(error))
