"""What the benchmark's tests share."""

import pytest

from tickbus.bench import floor


@pytest.fixture(scope="session")
def extension():
    """The C floor; a machine without compiler or headers has none."""
    try:
        return floor.extension()
    except floor.NoFloorError as error:
        pytest.skip(str(error))
