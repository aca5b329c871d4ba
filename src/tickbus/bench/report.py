"""
The outcome for people (a table) and for machines (JSON-able, everything the table says and more).

A ratio is how many times slower a contender is than tickbus in the same round ("blinker 17 ×" took
17 times as long, or moved a 17th of the events); below 1 it is faster, as floors are.
"""

from __future__ import annotations

from typing import Any

from tickbus.bench.histogram import percentiles
from tickbus.bench.jobs import JOBS
from tickbus.bench.model import TICKBUS, Result, Unit
from tickbus.bench.runner import Outcome
from tickbus.bench.targets import TARGETS, Target, Verdict

VERSION = 1


def number(value: float, unit: Unit) -> str:
    """Three digits and a unit: ``83.1 ns``, ``4.20 µs``, ``5.31 M/s``."""
    if unit is Unit.NS:
        return _scaled(value, (("s", 1e9), ("ms", 1e6), ("µs", 1e3), ("ns", 1.0)))
    if unit is Unit.EVENTS_PER_S:
        return _scaled(value, (("M/s", 1e6), ("k/s", 1e3), ("/s", 1.0)))
    return f"{value:.3g}"


def _scaled(value: float, scales: tuple[tuple[str, float], ...]) -> str:
    for name, scale in scales:
        if value >= scale or scale == 1.0:
            scaled = value / scale
            digits = 2 if scaled < 10 else 1 if scaled < 100 else 0
            return f"{scaled:.{digits}f} {name}"
    raise AssertionError("the last scale takes everything")


def slower(result: Result, subject: Result) -> float:
    """How many times slower than *subject*, by the rounds' median."""
    return result.ratio_to(subject) if result.unit.lower_is_better else subject.ratio_to(result)


def _subject_of(results: list[Result], figure: str) -> Result | None:
    return next((r for r in results if r.figure == figure and r.contender == TICKBUS), None)


def to_json(outcome: Outcome, machine: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Everything, as plain types; ``version`` is that of this layout."""
    figures = []
    for result in outcome.results:
        subject = _subject_of(outcome.results, result.figure)
        row: dict[str, Any] = {
            "job": result.job,
            "figure": result.figure,
            "contender": result.contender,
            "kind": result.kind.value,
            "unit": result.unit.value,
            "median": result.median,
            "min": result.spread[0],
            "max": result.spread[1],
            "samples": result.values,
            "times_slower_than_tickbus": None if subject is None else slower(result, subject),
            "notes": result.notes(),
        }
        if result.samples[0].latencies_ns:
            row["latency_ns"] = percentiles(n for sample in result.samples for n in sample.latencies_ns)
        figures.append(row)
    return {
        "version": VERSION,
        "machine": machine,
        "options": options,
        "figures": figures,
        "targets": [_target_row(target, outcome) for target in _relevant(outcome)],
        "absent": [vars(absent) for absent in outcome.absents],
        "failures": [vars(failure) for failure in outcome.failures],
    }


def _relevant(outcome: Outcome) -> list[Target]:
    """Targets of the jobs that were run."""
    ran = {result.figure for result in outcome.results} | {absent.figure for absent in outcome.absents}
    ran |= {failure.figure for failure in outcome.failures}
    return [target for target in TARGETS if target.figure in ran]


def _target_row(target: Target, outcome: Outcome) -> dict[str, Any]:
    measured, verdict = target.judge(outcome.results)
    return {
        "figure": target.figure,
        "target": target.text(),
        "measured": measured,
        "verdict": verdict.value,
        "floor_itself": target.floor_itself(outcome.results),
    }


def to_text(outcome: Outcome, machine: dict[str, Any], quick: bool = False) -> str:
    """The table, the targets, and what is missing, with the machine on top. A quick run meets nothing."""
    titles = {job.name: job.title for job in JOBS}
    lines = [
        f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}, load {machine['load_1min']:g}",
        f"{machine['python']}; commit {machine['commit'] or 'unknown'}; {machine['when']}",
    ]
    job = ""
    for figure in dict.fromkeys(result.figure for result in outcome.results):
        rows = _ordered([result for result in outcome.results if result.figure == figure])
        if rows[0].job != job:
            job = rows[0].job
            lines += ["", f"{job}: {titles.get(job, '')}"]
        lines += ["", *_figure_lines(figure, rows, _subject_of(outcome.results, figure))]
    if quick:
        lines += ["", "a quick run only shows that everything runs: its figures mean nothing"]
    else:
        lines += ["", *_target_lines(outcome)]
    lines += [f"left out: {absent.figure}: {absent.contender}: {absent.reason}" for absent in outcome.absents]
    lines += [f"FAILED: {f.figure} {f.contender}: {f.reason}" for f in outcome.failures]
    return "\n".join(lines) + "\n"


def _ordered(rows: list[Result]) -> list[Result]:
    """Best first."""
    return sorted(rows, key=lambda r: r.median if r.unit.lower_is_better else -r.median)


def _figure_lines(figure: str, rows: list[Result], subject: Result | None) -> list[str]:
    lines = [f"  {figure:<34}{'median':>12}{'min .. max':>26}{'slower than tickbus':>21}"]
    for row in rows:
        low, high = row.spread
        spread = f"{number(low, row.unit)} .. {number(high, row.unit)}"
        ratio = "" if subject is None or row is subject else f"{slower(row, subject):.2f} ×"
        mark = "*" if row.contender == TICKBUS else " "
        lines.append(f"  {mark} {row.contender:<32}{number(row.median, row.unit):>12}{spread:>26}{ratio:>21}")
        beside = _beside(row)
        if beside:
            lines.append(f"      {beside}")
    return lines


def _beside(row: Result) -> str:
    """Percentiles and the notes that are not zero; a loss is never left out."""
    parts = []
    if row.samples[0].latencies_ns:
        found = percentiles(n for sample in row.samples for n in sample.latencies_ns)
        parts += [f"{key} {number(value, Unit.NS)}" for key, value in found.items() if key != "p90"]
    for key, value in row.notes().items():
        timed = key.startswith("p9") or key.endswith("_ns")
        if value:
            parts.append(f"{key.removesuffix('_ns')} {number(value, Unit.NS) if timed else _count(value)}")
    return ", ".join(parts)


def _count(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _target_lines(outcome: Outcome) -> list[str]:
    lines = [f"  {'target':<30}{'to reach':<42}{'measured':>12}  verdict"]
    units = {result.figure: result.unit for result in outcome.results}
    for target in _relevant(outcome):
        measured, verdict = target.judge(outcome.results)
        if measured is None or verdict is Verdict.UNKNOWN:
            shown = "-"
        elif target.versus is not None:
            shown = f"{measured:.2f} ×"
        else:
            shown = f"{measured:,.0f}" if target.note else number(measured, units[target.figure])
        bound = target.text()
        if target.versus is None and target.note is None and target.figure in units:
            sign, limit = ("≤", target.at_most) if target.at_most is not None else ("≥", target.at_least)
            bound = f"{sign} {number(limit or 0.0, units[target.figure])}"
        floor = target.floor_itself(outcome.results)
        beside = "" if floor is None else f" (the floor itself: {floor:.2f} ×)"
        lines.append(f"  {target.figure:<30}{bound:<42}{shown:>12}  {verdict.value}{beside}")
    return lines
