"""Settings come from file, environment and flags, and what is none is an error that names its place."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickbus.delivery import NextRole, Notify, Policy, Publish, Retry
from tickbus.errors import ConfigError
from tickbus.serve import SETTINGS, read
from tickbus.serve.policies import policies_of
from tickbus.serve.settings import duration
from tickbus.taxonomy import EventType


@pytest.fixture
def file(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "desk.toml"
        path.write_text(text)
        return path

    return write


class TestPrecedence:
    def test_flag_before_environment_before_file_before_default(self, file):
        path = file('[journal]\nhigh = "interval"\nnormal = "interval"\ncritical = "os"')
        environment = {"TICKBUS_SERVE_JOURNAL_HIGH": "memory", "TICKBUS_SERVE_JOURNAL_NORMAL": "memory"}
        settings = read(path, environment, {"journal.normal": "os"})
        levels = {key: settings[f"journal.{key}"] for key in ("critical", "high", "normal", "when_full")}
        assert levels == {"critical": "os", "high": "memory", "normal": "os", "when_full": "wait"}
        assert settings.origins["journal.critical"] == str(path)
        assert settings.origins["journal.high"] == "TICKBUS_SERVE_JOURNAL_HIGH"
        assert settings.origins["journal.normal"] == "flag"
        assert settings.origins["journal.when_full"] == "default"

    def test_a_path_in_a_file_stands_beside_the_file(self, file, tmp_path):
        assert read(file('[journal]\npath = "kept"'), {}, {})["journal.path"] == str(tmp_path / "kept")
        assert read(None, {}, {"journal.path": "kept"})["journal.path"] == "kept"

    def test_other_variables_are_nobodys_business(self):
        assert read(None, {"TICKBUS_DATA": "x", "HOME": "y"}, {}).origins["journal.path"] == "default"

    @pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
    def test_each_has_a_variable(self, setting):
        value = str(
            {"journal.path": "x", "metrics.listen": "[::1]:1"}.get(setting.name, setting.default or 1024)
        )
        assert read(None, {setting.variable: value}, {}).origins[setting.name] == setting.variable


class TestRefused:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ('[jurnal]\npath = "x"', "no setting 'jurnal.path'; did you mean 'journal.path'"),
            ("[journal]\nkeeps = 1", "no setting 'journal.keeps'; did you mean 'journal.keep'"),
            ("path = 1", "'path' is no table"),
            ("[journal", "is no TOML"),
            (
                '[journal]\ncritical = "tape"',
                "journal.critical is one of memory, os, interval, disk; found 'tape'",
            ),
            ("[journal]\npath = 7", "journal.path is text"),
            ("[bus]\nhigh_size = 1.5", "bus.high_size is a whole number"),
            ("[bus]\nhigh_size = true", "bus.high_size is a whole number"),
            ('[journal]\nkeep = "soon"', "journal.keep is a number of seconds"),
            ("[journal]\nkeep = -1", "journal.keep is a number of seconds"),
            ('[journal]\nkeep_bytes = "many"', "journal.keep_bytes is a number of bytes"),
            ('[metrics]\nlisten = "9464"', "metrics.listen is HOST:PORT"),
            ('[delivery]\nenabled = "perhaps"', "delivery.enabled is true or false"),
        ],
    )
    def test_in_a_file(self, file, text, message):
        path = file(text)
        with pytest.raises(ConfigError) as error:
            read(path, {}, {})
        assert message in str(error.value)
        assert str(path) in str(error.value)

    def test_in_the_environment(self):
        with pytest.raises(
            ConfigError, match="environment: there is no setting 'TICKBUS_SERVE_JOURNAL_PAHT'"
        ):
            read(None, {"TICKBUS_SERVE_JOURNAL_PAHT": "x"}, {})
        with pytest.raises(
            ConfigError, match="environment: TICKBUS_SERVE_JOURNAL_KEEP is a number of seconds"
        ):
            read(None, {"TICKBUS_SERVE_JOURNAL_KEEP": "soon"}, {})

    def test_a_file_that_cannot_be_read(self, tmp_path):
        with pytest.raises(ConfigError, match="No such file"):
            read(tmp_path / "none.toml", {}, {})
        (tmp_path / "latin.toml").write_bytes(b'[journal]\npath = "\xe9"')
        with pytest.raises(ConfigError, match="no UTF-8"):
            read(tmp_path / "latin.toml", {}, {})


@pytest.mark.parametrize(
    ("text", "seconds"), [("250ms", 0.25), ("5s", 5), ("1.5h", 5400), ("30d", 2_592_000), (2, 2), ("3", 3)]
)
def test_durations(text, seconds):
    assert duration(text) == seconds


@given(st.text(alphabet="0123456789.eE+-smhd infa", max_size=12))
def test_any_other_text_is_no_duration_or_a_finite_one(text):
    try:
        seconds = duration(text)
    except ValueError:
        return
    assert 0 <= seconds < float("inf")


def page_me(escalation):
    """What the configuration of a test calls."""


class TestPolicies:
    def of(self, file, text):
        settings = read(file(text), {}, {})
        return policies_of(settings.policies, settings.file)

    def test_of_types_and_of_all_others(self, file):
        text = f"""
        [delivery.default]
        escalate_after = "2s"
        [delivery.types.stop_loss_triggered]
        required = ["oms"]
        retry = {{ attempts = 20, first = "50ms", most = "1s", factor = 1.5, jitter = 0 }}
        step = "1m"
        ladder = [
            {{ role = "boss" }},
            {{ notify = "json://127.0.0.1", timeout = "3s" }},
            {{ call = "{__name__}:page_me" }},
            {{ publish = "emergency_stop", symbol = "DESK", value = 1 }},
        ]
        [delivery.types.200]
        required = "any"
        [delivery.types]
        drawdown_alert = false
        """
        sys.modules.setdefault(__name__, sys.modules[__name__])
        policies, default = self.of(file, text)
        assert default == Policy(escalate_after_s=2.0)
        assert policies[EventType.DRAWDOWN_ALERT] is None
        assert policies[200] == Policy(required="any", escalate_after_s=2.0)
        assert policies[EventType.STOP_LOSS_TRIGGERED] == Policy(
            required=("oms",),
            retry=Retry(20, 0.05, 1.5, 1.0, 0),
            escalate_after_s=2.0,
            step_s=60.0,
            ladder=(
                NextRole("boss"),
                Notify(("json://127.0.0.1",), 3.0),
                page_me,
                Publish(EventType.EMERGENCY_STOP, "DESK", 1.0),
            ),
        )

    def test_none_are_deliverys_own(self, file):
        assert self.of(file, "") == ({}, None)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("types = 1", "delivery.types is no table"),
            ("default = 1", "delivery.default is no table"),
            ("types.stop_los_triggered = {}", "did you mean 'stop_loss_triggered'"),
            ("types.price_update = {}", "'price_update' is no risk or critical type"),
            ("types.300 = {}", "'300' is no risk or critical type"),
            ("default = { requird = 'all' }", "did you mean 'required'"),
            ("default = { required = 'most' }", "required='most' is none of"),
            ("default = { required = [] }", "required=() asks nobody"),
            ("default = { escalate_after = 'now' }", "escalate_after is a number of seconds"),
            ("default = { retry = { tries = 3 } }", "default.retry: there is no 'tries'"),
            ("default = { retry = { attempts = 0 } }", "attempts=0"),
            ("default = { retry = { attempts = 'many' } }", "default.retry"),
            ("default = { ladder = 1 }", "ladder is no list"),
            ("default = { ladder = [{}] }", "step 1 has 0 of role, notify, publish, call"),
            ("default = { ladder = [{ role = 'a', call = 'b:c' }] }", "step 1 has 2 of"),
            ("default = { ladder = [{ role = 1 }] }", "role is text; found 1"),
            ("default = { ladder = [{ role = 'a', timeout = 1 }] }", "'role' has no 'timeout'"),
            ("default = { ladder = [{ notify = [] }] }", "notify is a URL or a list"),
            ("default = { ladder = [{ call = 'no.such.module:f' }] }", "can be imported"),
            ("default = { ladder = [{ call = 'os:sep' }] }", "'os:sep' cannot be called"),
            ("default = { ladder = [{ publish = 'price_update' }] }", "no risk or critical type"),
        ],
    )
    def test_what_is_none_is_named(self, file, text, message):
        with pytest.raises(ConfigError) as error:
            self.of(file, f"[delivery]\n{text}")
        assert message in str(error.value)
        assert "desk.toml" in str(error.value)
