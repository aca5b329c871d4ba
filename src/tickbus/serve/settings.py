"""
What ``tickbus serve`` can be told: one table of settings, from which file, environment and flags are read.

A flag wins over the environment, the environment over the file, the file over the default. What is not in the
table is an error that names its place, wherever it comes from.
"""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tickbus.errors import ConfigError

__all__ = ["SETTINGS", "Setting", "Settings", "duration", "meant", "read"]

#: Environment variables of settings: TICKBUS_SERVE_JOURNAL_PATH is ``path`` of table ``journal``.
PREFIX = "TICKBUS_SERVE_"
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\Z")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|KiB|MiB|GiB|TiB)\Z")
_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("is text")
    return value


def _flag(value: object) -> bool:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in words:
        return words[value.lower()]
    raise ValueError("is true or false")


def _count(value: object) -> int:
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError("is a whole number from 1")
    return value


def _number(value: object) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if not 0 < number < math.inf:
        raise ValueError("is a number above 0")
    return number


def duration(value: object) -> float:
    """
    Seconds of a number, or of text such as "250ms", "5s", "1.5h" or "30d".

    Raises:
        ValueError: It is none of these.
    """
    if isinstance(value, str) and (found := _DURATION.match(value)):
        return float(found[1]) * _SECONDS[found[2]]
    try:
        return _number(value)
    except ValueError:
        raise ValueError('is a number of seconds, or text such as "250ms", "5s", "1.5h" or "30d"') from None


def _size(value: object) -> int:
    if isinstance(value, str) and (found := _SIZE.match(value)):
        return int(float(found[1]) * _BYTES[found[2]])
    try:
        return _count(value)
    except ValueError:
        raise ValueError('is a number of bytes, or text such as "512MiB" or "20GiB"') from None


def _address(value: object) -> str:
    host, _, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not host or not port.isdecimal() or not 0 <= int(port) < 1 << 16:
        raise ValueError('is HOST:PORT, such as "127.0.0.1:9464"')
    return f"{host}:{port}"


def _one_of(*choices: str) -> Callable[[object], str]:
    def check(value: object) -> str:
        if value not in choices:
            raise ValueError(f"is one of {', '.join(choices)}")
        return str(value)

    return check


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: table and key in the file, what a value is, the default, and what it is for."""

    table: str
    key: str
    check: Callable[[object], Any]
    default: Any
    says: str
    is_path: bool = False

    @property
    def name(self) -> str:
        return f"{self.table}.{self.key}"

    @property
    def variable(self) -> str:
        return f"{PREFIX}{self.table}_{self.key}".upper()


_LEVELS = _one_of("memory", "os", "interval", "disk")

SETTINGS: tuple[Setting, ...] = (
    Setting("bus", "critical_size", _count, None, "events of the critical lane, a power of two (4,096)"),
    Setting("bus", "high_size", _count, None, "events of the high lane (65,536)"),
    Setting("bus", "normal_size", _count, None, "events of the normal lane (65,536)"),
    Setting("bus", "payload_bytes", _size, None, "size of the ring of payloads (1MiB)"),
    Setting("journal", "path", _text, None, "directory of the journal; without it nothing is kept", True),
    Setting("journal", "critical", _LEVELS, "disk", "level of critical events"),
    Setting("journal", "high", _LEVELS, "os", "level of high events"),
    Setting("journal", "normal", _LEVELS, "os", "level of normal events"),
    Setting("journal", "interval", duration, 0.1, "time between two syncs of level interval"),
    Setting("journal", "when_full", _one_of("wait", "overwrite"), "wait", "for high and normal publishers"),
    Setting("journal", "segment", _size, 64 << 20, "size of a log segment"),
    Setting("journal", "pack_after", duration, None, "age at which sealed segments are packed"),
    Setting("journal", "keep", duration, None, "age at which they are removed"),
    Setting("journal", "keep_bytes", _size, None, "size of the journal above which the oldest are removed"),
    Setting("delivery", "enabled", _flag, True, "follow critical events until they are acknowledged"),
    Setting("delivery", "max_in_flight", _count, 10_000, "critical events without outcome at once"),
    Setting("metrics", "listen", _address, None, "HOST:PORT for Prometheus; without it there is none"),
    Setting("log", "format", _one_of("plain", "json"), "plain", "lines of text or JSON objects"),
    Setting(
        "log", "level", _one_of("debug", "info", "warning", "error"), "info", "least level that is logged"
    ),
)
_BY_NAME = {setting.name: setting for setting in SETTINGS}
#: Tables of the file that are more than settings; ``policies.py`` reads them.
_FREE = {"delivery": ("default", "types")}


@dataclass(frozen=True, slots=True)
class Settings:
    """
    The settings in effect.

    Attributes:
        values: By name (``journal.path``).
        origins: Of each, where it comes from: "default", the file, the variable or the flag.
        policies: The tables ``delivery.default`` and ``delivery.types`` as they stand in the file.
        file: The file, for messages.
    """

    values: Mapping[str, Any]
    origins: Mapping[str, str]
    policies: Mapping[str, Any]
    file: str

    def __getitem__(self, name: str) -> Any:
        return self.values[name]


def read(file: Path | None, environment: Mapping[str, str], flags: Mapping[str, object]) -> Settings:
    """
    Settings of a TOML file, the environment, and flags by name.

    Raises:
        ConfigError: A file that cannot be read, a name that is none, or a value that is impossible; with
            its place.
    """
    values = {setting.name: setting.default for setting in SETTINGS}
    origins = dict.fromkeys(values, "default")
    policies: dict[str, Any] = {}
    if file is not None:
        for table, content in _tables(file).items():
            if not isinstance(content, dict):
                raise ConfigError(
                    f"{file}: {table!r} is no table; settings stand in tables such as [journal]"
                )
            for key, value in content.items():
                if key in _FREE.get(table, ()):
                    policies[key] = value
                    continue
                setting = _known(f"{table}.{key}", _BY_NAME, str(file))
                checked = _checked(setting, value, f"{file}: {setting.name}")
                if setting.is_path:
                    # The file may be read from anywhere; what it names stands beside it.
                    checked = str(file.absolute().parent / checked)
                values[setting.name], origins[setting.name] = checked, str(file)
    variables = {setting.variable: setting for setting in SETTINGS}
    for variable, text in sorted(environment.items()):
        if variable.startswith(PREFIX):
            setting = _known(variable, variables, "environment")
            values[setting.name] = _checked(setting, text, f"environment: {variable}")
            origins[setting.name] = variable
    for name, value in flags.items():
        setting = _known(name, _BY_NAME, "--set")
        values[name], origins[name] = _checked(setting, value, name), "flag"
    return Settings(values, origins, policies, str(file or "configuration"))


def _tables(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: is no UTF-8: {error.reason} at byte {error.start}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: is no TOML: {error}") from error


def _known(name: str, known: Mapping[str, Setting], where: str) -> Setting:
    if name in known:
        return known[name]
    raise ConfigError(f"{where}: there is no setting {name!r}{meant(name, known)}")


def meant(name: str, known: Iterable[str]) -> str:
    """A guess at what a wrong name was meant to be, to go behind a message."""
    close = difflib.get_close_matches(name, list(known), 1, 0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def _checked(setting: Setting, value: object, where: str) -> Any:
    try:
        return setting.check(value)
    except ValueError as error:
        raise ConfigError(f"{where} {error}; found {value!r}") from None
