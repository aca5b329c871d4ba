"""
Runs jobs: every contender is checked before it is timed, then all are sampled round-robin.

Round k starts with a different contender each time, so that none always runs on a warm or a tired
machine. A contender that fails its check or raises is left out and reported as a failure; the
others go on. The outcome says what failed, and the command's exit code follows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tickbus.bench.jobs import Job
from tickbus.bench.model import Absent, Case, Options, Result, Sample

#: Told what is going on: job, what it does, done and total of this job.
Progress = Callable[[str, str, int, int], None]


@dataclass(frozen=True)
class Failure:
    """A job or contender that could not be measured, and why."""

    job: str
    figure: str
    contender: str
    reason: str


@dataclass
class Outcome:
    """Everything a report needs."""

    results: list[Result] = field(default_factory=list)
    absents: list[Absent] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


def run(jobs: Iterable[Job], options: Options, progress: Progress = lambda *_: None) -> Outcome:
    """Run *jobs* in order. Raises nothing a job raised: that is a `Failure`."""
    outcome = Outcome()
    for job in jobs:
        _run_job(job, options, progress, outcome)
    return outcome


def _run_job(job: Job, options: Options, progress: Progress, outcome: Outcome) -> None:
    progress(job.name, "setting up", 0, 1)
    try:
        made = job.cases(options)
    except Exception as error:
        outcome.failures.append(Failure(job.name, job.name, "", _text(error)))
        return
    outcome.absents += [case for case in made if isinstance(case, Absent)]
    cases = [case for case in made if isinstance(case, Case)]
    samples: dict[int, list[Sample]] = {id(case): [] for case in cases}
    alive = _checked(job, cases, progress, outcome)
    steps = len(alive) * options.repeats
    try:
        for done in range(steps):
            case = _turn(alive, done)
            if samples.get(id(case)) is None:
                continue
            progress(job.name, f"{case.figure}: {case.contender}", done, steps)
            try:
                samples[id(case)].append(case.sample())
            except Exception as error:
                outcome.failures.append(Failure(job.name, case.figure, case.contender, _text(error)))
                del samples[id(case)]
    finally:
        for case in cases:
            case.close()
    outcome.results += [
        Result(job.name, case.figure, case.contender, case.kind, case.unit, tuple(samples[id(case)]))
        for case in alive
        if samples.get(id(case))
    ]


def _turn(cases: list[Case], step: int) -> Case:
    """The case of this step: round-robin, each round starting one further."""
    round_number, place = divmod(step, len(cases))
    return cases[(round_number + place) % len(cases)]


def _checked(job: Job, cases: list[Case], progress: Progress, outcome: Outcome) -> list[Case]:
    passed = []
    for number, case in enumerate(cases):
        progress(job.name, f"checking {case.figure}: {case.contender}", number, len(cases))
        try:
            case.check()
        except Exception as error:
            outcome.failures.append(Failure(job.name, case.figure, case.contender, _text(error)))
        else:
            passed.append(case)
    return passed


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
