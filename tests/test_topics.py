"""Topics: which events a pattern selects, and that a pattern which selects none is an error."""

import fnmatch
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tickbus as tb
from tickbus.errors import PatternError

TYPES = [
    tb.EventType.PRICE_UPDATE,
    tb.EventType.ORDER_PLACED,
    tb.EventType.DRAWDOWN_ALERT,
    tb.EventType.BLACK_SWAN_DETECTED,
]
SOURCES = ["binance", "kraken"]
SYMBOLS = ["BTC-USDT", "BTC-EUR", "ETH-USDT", "B"]
EVENTS = list(itertools.product(TYPES, SOURCES, SYMBOLS))

#: Pattern levels, most of which select something of EVENTS.
_categories = st.sampled_from(["*", "market", "trading", "risk", "critical", "system"])
_sources = st.sampled_from(["*", *SOURCES, "coinbase"])
_symbols = st.one_of(st.sampled_from(["*", *SYMBOLS, "NEW"]), st.text("BTC-USDERH*?", min_size=1, max_size=6))


@st.composite
def patterns(draw):
    """A valid pattern."""
    category = draw(_categories)
    named = [
        kind.name.lower() for kind in TYPES if category in ("*", tb.Event(kind, "B", 0.0).topic.split(".")[0])
    ]
    kind = draw(st.sampled_from(["*", *named]))
    levels = [category, kind, draw(_sources), draw(_symbols)]
    keep = draw(st.integers(0, 4))
    return ".".join([*levels[:keep], *([">"] if keep < 4 else [])])


def selects(pattern: str, topic: str) -> bool:
    """The rules, in one line: levels are equal, ``*``, or matched as a glob at the symbol."""
    wanted, found = pattern.split("."), topic.split(".")
    if wanted[-1] == ">":
        wanted[-1:] = ["*"] * (5 - len(wanted))
    return all(
        level in ("*", is_) for level, is_ in zip(wanted[:3], found[:3], strict=True)
    ) and fnmatch.fnmatchcase(found[3], wanted[3])


class TestSelection:
    @given(st.lists(patterns(), min_size=1, max_size=5))
    def test_follows_the_rules(self, wanted):
        """Every event that any pattern selects is delivered, and no other."""
        with tb.Bus(critical_size=64, high_size=64, normal_size=64) as bus:
            reader = bus.subscribe(*wanted, lossy=True)
            inline = []
            bus.on(*wanted)(lambda event: inline.append(event.topic))
            for kind, source, symbol in EVENTS:
                bus.publish(kind, symbol, 1.0, source=source)

            topics = [tb.Event(kind, symbol, 1.0, source=source).topic for kind, source, symbol in EVENTS]
            expected = [topic for topic in topics if any(selects(pattern, topic) for pattern in wanted)]

            assert sorted(expected) == sorted(event.topic for event in reader.drain(4096))
            assert expected == inline

    def test_sees_symbols_that_are_new(self, bus):
        """A symbol first seen after subscribing matches at once."""
        glob, rest = bus.subscribe("market.*.*.BRAND-*"), bus.subscribe("market.>")

        for number in range(50):
            bus.publish(0, f"BRAND-NEW-{number}", 1.0)
            assert f"BRAND-NEW-{number}" == glob.poll().symbol == rest.poll().symbol

    def test_sees_types_registered_later(self, named_bus):
        reader = named_bus.subscribe("trading.>")

        named_bus.register_type(40, "hedge_done")
        named_bus.publish(40, "BTC-USDT", 1.0)

        assert "trading.hedge_done.-.BTC-USDT" == reader.poll().topic

    def test_ignores_the_lane(self, bus):
        """The category is the type's; a publisher that overrides the priority changes only the lane."""
        market, critical = bus.subscribe("market.>"), bus.subscribe("critical.>")

        bus.publish(0, "BTC-USDT", 1.0, priority=tb.Priority.CRITICAL)

        assert critical.poll() is None
        assert tb.Priority.CRITICAL == market.poll().priority

    def test_without_a_source_needs_a_wildcard(self, bus):
        named, any_source = bus.subscribe("market.*.binance.>"), bus.subscribe("market.*.*.BTC-USDT")

        bus.publish(0, "BTC-USDT", 1.0)

        assert named.poll() is None
        assert any_source.poll() is not None

    def test_delivers_once_however_many_patterns_match(self, bus):
        reader = bus.subscribe("market.>", ">", "*.*.*.BTC-*", "market.price_update.*.BTC-USDT")

        bus.publish(0, "BTC-USDT", 1.0)

        assert 1 == len(reader.drain(10))


class TestImpossiblePattern:
    @pytest.mark.parametrize(
        ("pattern", "found"),
        [
            ("", "empty"),
            ("market", "1 level"),
            ("market.price_update.binance", "3 level"),
            ("market.price_update.binance.BTC-USDT.x", "5 level"),
            ("market..binance.BTC-USDT", "level 2"),
            ("market.>.binance", "level 2"),
            ("weather.>", "weather"),
            ("mark*.>", r"mark\*"),
            ("Market.>", "Market"),
            ("market.price.>", "price"),
            ("market.order_placed.>", "order_placed"),
            ("market.price_*.>", r"price_\*"),
            ("market.*.bin*.BTC-USDT", r"bin\*"),
            ("market.*.*.BTC>", "BTC>"),
            ("market.*.*.BTC USDT", "BTC USDT"),
            ("market.*.*." + "x" * 57, "x" * 57),
            ("market.*." + "x" * 57 + ".>", "x" * 57),
        ],
    )
    @pytest.mark.parametrize(
        "register",
        [
            lambda bus, *patterns: bus.subscribe(*patterns),
            lambda bus, *patterns: bus.on(*patterns)(print),
        ],
        ids=["subscribe", "on"],
    )
    def test_is_refused(self, named_bus, register, pattern, found):
        """The message names the pattern and what is wrong; nothing is registered, not even a name."""
        before = named_bus.stats()

        with pytest.raises(PatternError, match=found):
            register(named_bus, "market.*.new-source.NEW-SYMBOL", pattern)

        assert before == named_bus.stats()
        assert () == named_bus.handlers

    def test_is_none_at_all(self, bus):
        with pytest.raises(PatternError):
            bus.subscribe()
        with pytest.raises(PatternError):
            bus.on()(print)

    def test_says_what_is_allowed(self, bus):
        with pytest.raises(PatternError, match=r"market, trading, risk, system, critical"):
            bus.subscribe("weather.>")


class TestExplain:
    def test_says_what_is_selected_now(self, bus):
        bus.publish(0, "BTC-USDT", 1.0, source="binance")
        with bus.subscribe("market.price_update.binance.BTC-*", "risk.>") as reader:
            market, risk = reader.explain()

        assert "price_update" in market
        assert "binance" in market
        assert "BTC-*" in market
        assert "drawdown_alert" in risk

    def test_keeps_the_patterns(self, bus):
        assert ["market.>", "risk.>"] == bus.subscribe("market.>", "risk.>").patterns

    def test_of_a_handler(self, bus):
        bus.on("risk.>")(print)

        assert "drawdown_alert" in bus.handlers[0].explain()[0]
