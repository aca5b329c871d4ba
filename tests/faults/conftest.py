"""
Campaigns: one fault tried at many places, as many as there is time for.

``TICKBUS_FAULTS`` says how many: nothing for what CI tries, a number of seconds that the campaigns
divide among them, or ``all``. ``TICKBUS_FAULTS_SEED`` repeats what a failure was found with. What was
tried is printed at the end. ``./dev faults`` sets both.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import pytest
from fault_campaign import Campaign
from fault_writers import Child

#: When the first of them began.
_begun: list[float] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "campaign" in getattr(item, "fixturenames", ()):
            # Longer than any machine takes for the usual number of trials.
            item.add_marker(pytest.mark.timeout(900))
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def campaign(request: pytest.FixtureRequest) -> Iterator[Campaign]:
    """The trials of one test."""
    _begun.append(time.monotonic())
    campaigns = sum("campaign" in getattr(item, "fixturenames", ()) for item in request.session.items)
    # What one leaves of its share is for those after it.
    to_come, spent = campaigns - len(_begun) + 1, _begun[-1] - _begun[0]
    campaign = Campaign.from_environment(request.node.name, os.environ, spent, to_come)
    yield campaign
    # With the report it gets to whoever prints the summary, also from another process.
    request.node.user_properties.append(("campaign", str(campaign)))


@pytest.fixture
def fork() -> Iterator[Callable[[Callable[[], object]], Child]]:
    """Run work in a child; whoever is left at the end is killed."""
    children: list[Child] = []

    def start(work: Callable[[], object]) -> Child:
        children.append(Child(work))
        return children[-1]

    yield start
    for child in children:
        child.kill()
