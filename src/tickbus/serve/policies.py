"""
Policies of critical events from the tables of a configuration:

    [delivery.default]
    escalate_after = "5s"
    ladder = [{ role = "duty-officer" }, { notify = ["mailtos://..."] }]

    [delivery.types.stop_loss_triggered]
    required = ["oms"]
    retry = { attempts = 20, first = "50ms", factor = 2.0, most = "1s", jitter = 0.1 }
    ladder = [{ call = "desk.risk:page_me" }, { publish = "emergency_stop", symbol = "DESK" }]

    [delivery.types]
    margin_warning = false                  # not followed
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from tickbus._native import is_followed_type
from tickbus.delivery import Action, NextRole, Notify, Policy, Publish, Retry
from tickbus.errors import ConfigError, InvalidEventError
from tickbus.serve.settings import duration, meant
from tickbus.taxonomy import EventType

__all__ = ["policies_of"]

_RETRY = {
    "attempts": "attempts",
    "first": "first_s",
    "factor": "factor",
    "most": "most_s",
    "jitter": "jitter",
}
_POLICY = ("required", "retry", "escalate_after", "step", "ladder")
_STEPS = ("role", "notify", "publish", "call")


def policies_of(tables: Mapping[str, Any], file: str) -> tuple[dict[int, Policy | None], Policy | None]:
    """
    Policies by type number, and the one of all others; ``None`` where that is delivery's own.

    Raises:
        ConfigError: A key or type that is none, or an impossible value; with its place.
    """
    default = None
    if "default" in tables:
        default = _policy(tables["default"], f"{file}: delivery.default")
    types = tables.get("types", {})
    if not isinstance(types, dict):
        raise ConfigError(f"{file}: delivery.types is no table")
    found: dict[int, Policy | None] = {}
    for name, content in types.items():
        where = f"{file}: delivery.types.{name}"
        number = _type_number(name, where)
        found[number] = None if content is False else _policy(content, where, tables.get("default", {}))
    return found, default


def _type_number(name: str, where: str) -> int:
    """Of a built-in type by name, or of any by number: what a desk registers has its name on its bus only."""
    names = {one.name.lower(): int(one) for one in EventType if is_followed_type(int(one))}
    if name in names:
        return names[name]
    if name.isdecimal() and int(name) < 256 and is_followed_type(int(name)):
        return int(name)
    raise ConfigError(
        f"{where}: {name!r} is no risk or critical type, by name or by number{meant(name, names)}"
    )


def _policy(content: object, where: str, default: Mapping[str, Any] | None = None) -> Policy:
    # What a type's table does not say is as in the table of all.
    keys = {**(default or {}), **_keys(content, _POLICY, where)}
    arguments: dict[str, Any] = {}
    if "required" in keys:
        required = keys["required"]
        arguments["required"] = tuple(required) if isinstance(required, list) else required
    if "retry" in keys:
        retry = _keys(keys["retry"], tuple(_RETRY), f"{where}.retry")
        given = {_RETRY[key]: _retry_value(key, value, where) for key, value in retry.items()}
        arguments["retry"] = _made(Retry, given, f"{where}.retry")
    for key, argument in (("escalate_after", "escalate_after_s"), ("step", "step_s")):
        if key in keys:
            arguments[argument] = _duration(keys[key], f"{where}.{key}")
    if "ladder" in keys:
        steps = keys["ladder"]
        if not isinstance(steps, list):
            raise ConfigError(f"{where}.ladder is no list of steps")
        named = enumerate(steps, 1)
        arguments["ladder"] = tuple(_step(step, f"{where}.ladder, step {number}") for number, step in named)
    policy: Policy = _made(Policy, arguments, where)
    return policy


def _retry_value(key: str, value: object, where: str) -> object:
    return _duration(value, f"{where}.retry.{key}") if key in ("first", "most") else value


def _step(content: object, where: str) -> Action:
    keys = _keys(content, (*_STEPS, "timeout", "symbol", "value"), where)
    kinds = [key for key in _STEPS if key in keys]
    if len(kinds) != 1:
        raise ConfigError(f"{where} has {len(kinds)} of {', '.join(_STEPS)}; a step has one")
    kind = kinds[0]
    allowed = {"notify": {"timeout"}, "publish": {"symbol", "value"}}.get(kind, set())
    if others := keys.keys() - allowed - {kind}:
        raise ConfigError(f"{where}: {kind!r} has no {sorted(others)[0]!r}")
    value = keys[kind]
    if kind == "notify":
        urls = [value] if isinstance(value, str) else value
        if not isinstance(urls, list) or not urls or not all(isinstance(url, str) for url in urls):
            raise ConfigError(f"{where}: notify is a URL or a list of them")
        if "timeout" in keys:
            return Notify(tuple(urls), _duration(keys["timeout"], f"{where}.timeout"))
        return Notify(tuple(urls))
    if not isinstance(value, str):
        raise ConfigError(f"{where}: {kind} is text; found {value!r}")
    if kind == "role":
        return NextRole(value)
    if kind == "call":
        return _callback(value, where)
    return Publish(_type_number(value, where), keys.get("symbol"), float(keys.get("value", 0.0)))


def _callback(path: str, where: str) -> Action:
    module, _, name = path.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f'{where}: {path!r} is no "module:function" that can be imported: {error}'
        ) from error
    if not callable(found):
        raise ConfigError(f"{where}: {path!r} cannot be called")
    action: Action = found
    return action


def _keys(content: object, known: tuple[str, ...], where: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise ConfigError(f"{where} is no table; found {content!r}")
    for key in content:
        if key not in known:
            raise ConfigError(f"{where}: there is no {key!r}{meant(key, known)}")
    return content


def _duration(value: object, where: str) -> float:
    try:
        return duration(value)
    except ValueError as error:
        raise ConfigError(f"{where} {error}; found {value!r}") from None


def _made(kind: type[Any], arguments: dict[str, Any], where: str) -> Any:
    try:
        return kind(**arguments)
    except (InvalidEventError, TypeError) as error:
        raise ConfigError(f"{where}: {error}") from error
