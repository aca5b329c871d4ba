"""
Host a named bus: its journal, its delivery loop and its metrics, until SIGTERM or Ctrl-C:

    tickbus serve desk --journal desk.journal
    tickbus serve desk --config desk.toml --set journal.keep=30d
    tickbus serve desk --config desk.toml --check

Strategies attach by name, may crash and come back; the host keeps what they publish, follows critical
events until they are acknowledged, and serves figures to Prometheus. Settings come from --config (TOML),
from the environment (TICKBUS_SERVE_JOURNAL_PATH is journal.path) and from flags, the last of which wins;
what is no setting is an error. --check validates all of it, prints what is in effect and why, and opens
nothing.

One process keeps a journal. A second host of the same one is refused with the PID of the first, or waits for
its end with --standby.

Exit code: 0 when it was ended by a signal, or what --check read is valid; 1 when the bus or journal cannot be
opened, or a sync has failed; 2 when the configuration is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tickbus.serve import Host, Settings

HELP = "host a bus: journal, delivery, metrics"

#: Flags for what is set most often; --set does the rest.
_FLAGS = {
    "journal": "journal.path",
    "critical": "journal.critical",
    "metrics": "metrics.listen",
    "log_format": "log.format",
    "log_level": "log.level",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("bus", metavar="NAME", help="name of the bus")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings in TOML")
    parser.add_argument("--journal", metavar="PATH", help="directory of the journal, made if need be")
    parser.add_argument(
        "--critical", metavar="LEVEL", help="level of critical events: memory, os, interval, disk"
    )
    parser.add_argument("--metrics", metavar="HOST:PORT", help="serve figures to Prometheus there")
    parser.add_argument("--log-format", metavar="FORMAT", help="plain or json")
    parser.add_argument("--log-level", metavar="LEVEL", help="debug, info, warning or error")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any setting by its name, such as journal.keep=30d; more than once",
    )
    parser.add_argument(
        "--standby", action="store_true", help="wait for the end of the journal's other keeper"
    )
    parser.add_argument("--check", action="store_true", help="validate the configuration and print it")
    parser.add_argument("--json", action="store_true", help="with --check: one JSON object")


def run(args: argparse.Namespace) -> int:
    """Run the command; returns its exit code."""
    from tickbus.errors import ConfigError
    from tickbus.serve import Host, read
    from tickbus.serve.logs import set_up

    try:
        settings = read(args.config, os.environ, _given(args))
        host = Host(args.bus, settings, standby=args.standby)
    except ConfigError as error:
        print(f"tickbus: {error}", file=sys.stderr)
        return 2
    if args.check:
        _show(host, settings, as_json=args.json)
        return 0
    set_up(settings["log.format"], settings["log.level"])
    return host.run()


def _given(args: argparse.Namespace) -> dict[str, object]:
    from tickbus.errors import ConfigError

    flags: dict[str, object] = {}
    for text in args.set:
        name, found, value = text.partition("=")
        if not found:
            raise ConfigError(f"--set {text}: is NAME=VALUE")
        flags[name] = value
    for flag, name in _FLAGS.items():
        if (given := getattr(args, flag)) is not None:
            flags[name] = given
    return flags


def _show(host: Host, settings: Settings, *, as_json: bool) -> None:
    from tickbus.taxonomy import EventType

    names = {int(one): one.name.lower() for one in EventType}
    policies = {names.get(number, str(number)): policy for number, policy in host.policies.items()}
    if as_json:
        rows = {name: {"value": settings[name], "from": settings.origins[name]} for name in settings.values}
        said = {name: repr(policy) for name, policy in {"default": host.default, **policies}.items()}
        print(json.dumps({"bus": host.name, "settings": rows, "policies": said}))
        return
    width = max(map(len, settings.values))
    for name, value in settings.values.items():
        print(f"{name:<{width}}  {'-' if value is None else value}  ({settings.origins[name]})")
    for name, policy in {"default": host.default, **policies}.items():
        if name != "default" or policy is not None:
            print(f"policy of {name}: {'not followed' if policy is None else policy}")
    print(f"bus {host.name}: the configuration is valid")
