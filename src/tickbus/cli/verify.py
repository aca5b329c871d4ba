"""
Read every byte of a journal and say what is whole, torn, damaged, missing, foreign or left over:

    tickbus verify desk.journal
    tickbus verify desk.journal --salvage desk.saved

Checksums, the chain from batch to batch, sequences and names are checked through log, sealed and packed
segments, also while a process writes the journal. Nothing of it is changed. --salvage writes everything
that can be read as a new journal, with gaps in the place of the rest.

Progress goes to standard error. Exit code: 0 whole, 1 damaged, 2 when it cannot be read or is no journal,
or the new one cannot be written.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tickbus.journal.audit import Report, Salvaged

HELP = "say whether a journal is whole, and save what can be read of it"

#: Findings of a kind that are printed; --json has them all.
_SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("path", metavar="PATH", help="directory of the journal")
    parser.add_argument("--salvage", metavar="OUT", help="write what can be read as a new journal, OUT")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress")


def run(args: argparse.Namespace) -> int:
    """Run the command; returns its exit code."""
    from tickbus.cli._progress import shown
    from tickbus.errors import JournalError
    from tickbus.journal import salvage, verify

    saved = None
    try:
        with shown("reading", quiet=args.quiet) as progress:
            if args.salvage is None:
                report = verify(args.path, progress=progress)
            else:
                saved = salvage(args.path, args.salvage, progress=progress)
                report = saved.report
    except JournalError as error:
        print(f"tickbus: {error}", file=sys.stderr)
        return 2
    if args.json:
        said = report.as_dict()
        if saved is not None:
            said["salvaged"] = saved.as_dict()
        print(json.dumps(said, indent=1))
    else:
        print(_text(report))
        if saved is not None:
            print(_salvaged(saved))
    return exit_code(report)


def exit_code(report: Report) -> int:
    """0 whole, 1 damaged, 2 not known."""
    if report.damage:
        return 1
    return 2 if report.unreadable else 0


def _text(report: Report) -> str:
    lines = [_verdict(report), *_facts(report)]
    kinds = dict.fromkeys(finding.kind for finding in report.findings)
    for kind in kinds:
        findings = [finding for finding in report.findings if finding.kind == kind]
        lines += ["", f"{kind.replace('_', ' ')}:"]
        lines += [f"  {finding}" for finding in findings[:_SHOWN]]
        if len(findings) > _SHOWN:
            lines.append(f"  and {len(findings) - _SHOWN} more; --json has all")
        lines.append(f"  What to do: {findings[0].advice}")
    if report.lost:
        lines += ["", "not to be had any more:", *(f"  {lost}" for lost in report.lost[:_SHOWN])]
        if len(report.lost) > _SHOWN:
            lines.append(f"  and {len(report.lost) - _SHOWN} more ranges; --json has all")
    return "\n".join(lines)


def _verdict(report: Report) -> str:
    if report.damage:
        return f"{report.path} is damaged"
    if report.unreadable:
        return f"{report.path} cannot be read as a whole; what could be read is whole"
    return f"{report.path} is whole"


def _facts(report: Report) -> list[str]:
    prepared = sum(segment.prepared for segment in report.segments)
    begun = [segment for segment in report.segments if not segment.prepared]
    forms = [(form, sum(segment.form == form for segment in begun)) for form in ("log", "sealed", "packed")]
    said = ", ".join(f"{count} {form}" for form, count in forms if count)
    events = ", ".join(f"{count:,} {lane}" for lane, count in report.events.items())
    state = "closed" if report.closed else "not closed"
    if report.writer is not None:
        state = f"being written by process {report.writer}"
    ready = f", {prepared} prepared" if prepared else ""
    lines = [
        f"  {report.bytes_read:,} bytes read; segments: {said or 'none'}{ready}",
        f"  events: {events}; the log ends at position {report.position}, {state}",
    ]
    if report.gaps:
        count = sum(gap.count for gap in report.gaps)
        lines.append(f"  gaps that the journal knows of: {len(report.gaps)}, of {count:,} events")
        lines += [f"    {gap}" for gap in report.gaps[:_SHOWN]]
    return lines


def _salvaged(saved: Salvaged) -> str:
    events = ", ".join(f"{saved.events[lane]:,} {lane}" for lane in sorted(saved.events))
    lines = ["", f"salvaged to {saved.path}: events: {events}; {saved.records:,} other records"]
    if saved.lost:
        known = sum(lost.count or 0 for lost in saved.lost)
        ranges = f"{len(saved.lost)} {'range' if len(saved.lost) == 1 else 'ranges'}"
        if all(lost.count is not None for lost in saved.lost):
            lines.append(f"  lost: {known:,} events in {ranges}:")
        else:
            count = f"at least {known:,} events; how many is unknown" if known else "an unknown number"
            lines.append(f"  lost: {count}, in {ranges}:")
        lines += [f"    {lost}" for lost in saved.lost[:_SHOWN]]
    else:
        lines.append("  nothing is lost")
    if saved.made_up:
        lines.append(f"  names made up for lost ones: {', '.join(saved.made_up[:_SHOWN])}")
    return "\n".join(lines)
