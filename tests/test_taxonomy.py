"""Event types: one native table, from which everything else follows."""

import ast
import inspect

import pytest

import tickbus as tb
from tickbus import _native, taxonomy
from tickbus.errors import InvalidEventError, InvalidNameError, TypeTakenError

#: The numbers of the specification. They are a file format: none may ever change.
SPECIFIED = {
    "PRICE_UPDATE": 0, "VOLUME_SPIKE": 1, "ORDER_BOOK_IMBALANCE": 2, "SPREAD_WIDENING": 3,
    "SIGNAL_GENERATED": 32, "ORDER_PLACED": 33, "ORDER_FILLED": 34, "ORDER_CANCELLED": 35,
    "POSITION_OPENED": 36, "POSITION_CLOSED": 37,
    "RISK_LIMIT_APPROACHED": 64, "STOP_LOSS_TRIGGERED": 65, "DRAWDOWN_ALERT": 66, "CORRELATION_SPIKE": 67,
    "STRATEGY_STARTED": 96, "STRATEGY_PAUSED": 97, "SYSTEM_OVERLOAD": 98, "CONNECTION_LOST": 99,
    "EMERGENCY_STOP": 128, "MARKET_MANIPULATION": 129, "BLACK_SWAN_DETECTED": 130, "CIRCUIT_BREAKER": 131,
}  # fmt: skip
#: First number of each category, its name and its default lane.
CATEGORIES = [
    (0, "market", tb.Priority.HIGH),
    (32, "trading", tb.Priority.NORMAL),
    (64, "risk", tb.Priority.CRITICAL),
    (96, "system", tb.Priority.NORMAL),
    (128, "critical", tb.Priority.CRITICAL),
]
ROWS = _native.taxonomy()


def category_of(number):
    return [row for row in CATEGORIES if row[0] <= number][-1]


class TestTable:
    def test_has_the_specified_numbers(self):
        assert SPECIFIED == {name: tb.EventType[name].value for name in SPECIFIED}

    def test_has_what_editors_see(self):
        """The enum written for mypy, the native table and the enum at run time are one."""
        tree = ast.parse(inspect.getsource(taxonomy))
        written = next(
            node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == "EventType"
        )
        members = {
            node.targets[0].id: node.value.value for node in written.body if isinstance(node, ast.Assign)
        }

        assert members == {row["name"].upper(): row["number"] for row in ROWS}
        assert members == {member.name: member.value for member in tb.EventType}

    @pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
    def test_follows_its_categories(self, row):
        _, category, priority = category_of(row["number"])

        assert (category, priority) == (row["category"], row["priority"])
        assert row["encoding"] in _native.ENCODINGS
        assert row["value"]
        assert row["value_unit"]

    @pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
    def test_makes_the_attributes(self, row):
        """Each field the table names can be read under its name."""
        value, metadata = 2.0, 0
        match row["encoding"]:
            case "f64" | "signed_quantity":
                metadata = tb.pack_quantity(3.0)
            case "u64":
                metadata = 3
            case "quote":
                value, metadata = tb.pack_quote(2.0, 2.5, 1.0, 1.0, 1)
        event = tb.Event(row["number"], "BTC-USDT", value, metadata=metadata)

        assert 2.0 == getattr(event, row["value"])
        assert event.fields()[row["value"]] == 2.0
        if row["encoding"] in ("f64", "signed_quantity", "u64"):
            assert 3 == getattr(event, row["metadata"])

    def test_is_what_topics_use(self):
        for member in tb.EventType:
            event = tb.Event(member, "X", 0.0)
            assert f"{category_of(member)[1]}.{member.name.lower()}.-.X" == event.topic


class TestRegistering:
    """A named bus has its own types; private buses of a process share theirs."""

    def test_gives_a_number_a_name_and_fields(self, named_bus):
        number = named_bus.register_type(40, "hedge_done", value="ratio", metadata="cost", encoding="f64")
        with named_bus.subscribe("trading.hedge_done.>") as reader:
            named_bus.publish(number, "BTC-USDT", 0.5, metadata=tb.pack_quantity(1.25))
            event = reader.poll()

        assert 40 == number == named_bus.types()["hedge_done"]
        assert "trading.hedge_done.-.BTC-USDT" == event.topic
        assert {"ratio": 0.5, "cost": 1.25} == event.fields()
        assert 1.25 == event.field("cost")

    def test_again_the_same_is_fine(self, named_bus):
        assert named_bus.register_type(40, "hedge_done") == named_bus.register_type(40, "hedge_done")

    @pytest.mark.parametrize(
        ("number", "name"), [(0, "mine"), (41, "price_update"), (40, "other"), (41, "hedge_done")]
    )
    def test_what_is_taken_is_refused(self, named_bus, number, name):
        """A number or a name stands for one thing; the message says for which."""
        named_bus.register_type(40, "hedge_done")
        before = named_bus.types()

        with pytest.raises(TypeTakenError, match=name):
            named_bus.register_type(number, name)

        assert before == named_bus.types()

    @pytest.mark.parametrize("name", ["", "a.b", "with space", "x" * 100, "star*"])
    def test_a_bad_name_is_refused(self, named_bus, name):
        before = named_bus.types()

        with pytest.raises(InvalidNameError):
            named_bus.register_type(40, name)

        assert before == named_bus.types()

    @pytest.mark.parametrize(
        ("number", "meaning"),
        [
            (256, {}),
            (-1, {}),
            (40, {"encoding": "nonsense", "metadata": "x"}),
            (40, {"encoding": "u64"}),
            (40, {"metadata": "x"}),
        ],
    )
    def test_a_bad_row_is_refused(self, named_bus, number, meaning):
        before = named_bus.types()

        with pytest.raises(InvalidEventError):
            named_bus.register_type(number, "mine", **meaning)

        assert before == named_bus.types()

    def test_all_free_numbers_can_be_taken(self, named_bus):
        free = sorted(set(range(256)) - set(named_bus.types().values()))

        for number in free:
            named_bus.register_type(number, f"mine_{number}")

        assert set(range(256)) == set(named_bus.types().values())
        assert all(named_bus.publish(number, "X", 1.0, priority=0) >= 0 for number in free)
