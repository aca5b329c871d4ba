"""
priority.critical: p99.9 of a critical event, one way to a polling reader in another process, while
the high and the normal lane are kept full; beside it the same with both lanes idle.
priority.normal_share: of the high and normal events that reader got meanwhile, the share of normal.
"""

from __future__ import annotations

from tickbus.bench import histogram
from tickbus.bench.backlog import run
from tickbus.bench.model import TICKBUS, Absent, BehaviourError, Case, Kind, Options, Sample, Unit

CRITICAL, SHARE = "priority.critical", "priority.normal_share"


def cases(options: Options) -> list[Case | Absent]:
    histogram.require()
    count = options.count(10_000, quick=100)

    def check() -> None:
        found = run(100, backlog=True)
        if found.lost or found.disordered:
            raise BehaviourError(f"critical events: lost {found.lost}, disordered {found.disordered}")

    def late(*, backlog: bool) -> Sample:
        found = run(count, backlog=backlog)
        latencies = tuple(sorted(found.latencies_ns))
        beside = found.high + found.normal
        notes: dict[str, float] = {
            "lost": found.lost,
            "disordered": found.disordered,
            "delivered_beside": beside,
        }
        return Sample(float(latencies[len(latencies) * 999 // 1000]), latencies, notes)

    def share() -> Sample:
        found = run(count, backlog=True)
        return Sample(found.normal / max(1, found.high + found.normal))

    return [
        Case(CRITICAL, TICKBUS, Kind.SUBJECT, Unit.NS, lambda: late(backlog=True), check),
        Case(CRITICAL, "tickbus, idle lanes", Kind.SUBJECT, Unit.NS, lambda: late(backlog=False), check),
        Case(SHARE, TICKBUS, Kind.SUBJECT, Unit.SHARE, share, check),
    ]
