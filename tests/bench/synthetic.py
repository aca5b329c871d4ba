"""Results and cases made by hand, for tests of what judges and shows them."""

from collections.abc import Callable

from tickbus.bench.jobs import Job
from tickbus.bench.model import TICKBUS, Case, Kind, Result, Sample, Unit


def result(figure: str, contender: str, *values: float, unit: Unit = Unit.NS, **notes: float) -> Result:
    """A contender whose rounds gave *values*; every sample carries *notes*."""
    kind = Kind.SUBJECT if contender == TICKBUS else Kind.PEER
    samples = tuple(Sample(value, notes=notes) for value in values)
    return Result("job", figure, contender, kind, unit, samples)


def case(
    contender: str,
    sample: Callable[[], Sample],
    check: Callable[[], None] = lambda: None,
    close: Callable[[], None] = lambda: None,
) -> Case:
    """A contender of the figure "job.figure"."""
    return Case("job.figure", contender, Kind.PEER, Unit.NS, sample, check, close)


def job(*cases: Case) -> Job:
    """A job of these cases."""
    return Job("job", "a job", lambda options: list(cases))
