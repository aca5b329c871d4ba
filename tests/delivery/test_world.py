"""
A desk at work on clocks that stand still until moved: whatever happens in whatever order, every event
ends acknowledged or as a dead letter, and is escalated once a step and never early.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from delivery_desk import Hung, Time, crash
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import tickbus as tb
from tickbus.delivery import Delivery, Outcome, Policy, Retry, files, wire
from tickbus.delivery.loop import Loop
from tickbus.delivery.policy import Policies
from tickbus.delivery.roles import RoleSubscription
from tickbus.delivery.state import Fate, Kind
from tickbus.errors import CursorLockedError, InFlightFullError
from tickbus.journal import Journal

ALL, ANY, NAMED = (
    tb.EventType.DRAWDOWN_ALERT,
    tb.EventType.STOP_LOSS_TRIGGERED,
    tb.EventType.RISK_LIMIT_APPROACHED,
)
RETRY = Retry(attempts=4, jitter=0.1)
LADDER = (lambda _: None, lambda _: None)
POLICIES = {
    ALL: Policy(escalate_after_s=5.0, step_s=2.0, ladder=LADDER, retry=RETRY),
    ANY: Policy("any", escalate_after_s=1.0, step_s=0.5, ladder=LADDER, retry=RETRY),
    NAMED: Policy(("risk",), escalate_after_s=1.0, retry=RETRY),
}
ROLES = {
    "oms": ("risk.>",),
    "risk": ("risk.drawdown_alert.>", "risk.risk_limit_approached.>"),
    "boss": ("risk.>",),
}
#: Has one member at a time, and says so.
EXCLUSIVE = "boss"
#: Of each type, whose acknowledgements settle it.
NEEDED = {ALL: set(ROLES), NAMED: {"risk"}}
#: Events without outcome that the desk's own publisher may have.
IN_FLIGHT = 6


class World(RuleBasedStateMachine):
    @initialize()
    def open(self):
        self.folder = Path(tempfile.mkdtemp())
        self.time = Time()
        self.loop, self.hung = None, []
        self.members = {name: [] for name in ROLES}
        self.in_log = defaultdict(set)
        #: Of each event its type, and when it was published.
        self.published = {}
        self.own = set()
        self.acked = {name: set() for name in ROLES}
        self.escalated = Counter()
        self.jumped = False
        self.open_bus()
        self.start_loop()
        for name in ROLES:
            self.join(name)

    def open_bus(self):
        self.bus = tb.Bus(
            journal=Journal(self.folder / "journal", critical="os", segment_mib=1), payload_bytes=1 << 16
        )
        wire.register(self.bus)
        self.place = files.folder_of(self.folder / "journal")
        self.log = self.bus.subscribe(">", lossy=True)
        self.delivery = Delivery(self.bus, POLICIES, loop=False, max_in_flight=IN_FLIGHT)

    def teardown(self):
        if hasattr(self, "bus"):
            self.settle()
            self.delivery.close()
            self.bus.close()
            shutil.rmtree(self.folder)

    def start_loop(self, watch=None):
        policies = Policies(POLICIES)
        clock = self.time.clock()
        self.loop = Loop(self.bus, policies, self.place, clock=clock, chance=lambda: 0.5, watch=watch)

    def join(self, name):
        member = RoleSubscription(
            self.bus,
            self.place,
            ROLES[name],
            name,
            ack="manual",
            exclusive=name == EXCLUSIVE,
            start="latest",
            wait="sleep",
            known=lambda role: self.loop.state.roles.get(role) if self.loop else None,
            done=self.delivery._done,
        )
        self.members[name].append(member)

    names = st.sampled_from(sorted(ROLES))

    kinds = st.sampled_from(sorted(POLICIES))

    @rule(kind=kinds, count=st.integers(1, 5))
    def publish(self, kind, count):
        for _ in range(count):
            number = self.bus.publish(kind, "BTC-USDT", 1.0, timestamp=self.time.wall)
            self.published[number >> 2] = kind, self.time.now

    def forget_own_with_an_outcome(self):
        pending = (Outcome.TIMEOUT, Outcome.ESCALATED)
        self.own = {one for one in self.own if self.delivery.result(one).outcome in pending}

    @rule(kind=kinds, count=st.integers(1, IN_FLIGHT))
    def publish_for_receipts(self, kind, count):
        for _ in range(count):
            self.publish_for_a_receipt(kind)

    def publish_for_a_receipt(self, kind):
        self.forget_own_with_an_outcome()
        before = self.bus.stats()["lanes"]["critical"]["published"]
        if len(self.own) >= IN_FLIGHT:
            with pytest.raises(InFlightFullError):
                self.delivery.publish_critical(kind, "BTC-USDT", 1.0, timeout_s=0.0)
            assert self.bus.stats()["lanes"]["critical"]["published"] == before
            return
        receipt = self.delivery.publish_critical(
            kind, "BTC-USDT", 1.0, timestamp=self.time.wall, timeout_s=0.0
        )
        self.own.add(receipt.event_id)
        self.published[receipt.event_id >> 2] = kind, self.time.now

    @precondition(lambda self: self.delivery.dead_letters())
    @rule(which=st.integers(0, 9))
    def redrive(self, which):
        self.forget_own_with_an_outcome()
        letters = self.delivery.dead_letters()
        event_id = letters[which % len(letters)].event_id
        self.delivery.redrive(event_id)
        assert self.delivery.result(event_id).outcome is Outcome.ESCALATED, "it has been, and is pending"

    @rule(
        name=names,
        which=st.integers(0, 2),
        count=st.integers(1, 6),
        fate=st.sampled_from(["ack", "nak", "keep"]),
    )
    def work(self, name, which, count, fate):
        members = self.members[name]
        if not members:
            return
        member = members[which % len(members)]
        for _ in range(count):
            event = member.poll()
            if event is None:
                return
            assert event.sequence not in self.acked[name], "an acknowledged event was handed out again"
            if fate == "ack":
                member.ack(event)
                self.acked[name].add(event.sequence)
            elif fate == "nak":
                member.nak(event)

    @rule(name=names)
    def another_member(self, name):
        if name == EXCLUSIVE and self.members[name]:
            with pytest.raises(CursorLockedError):
                self.join(name)
        elif len(self.members[name]) < 3:
            self.join(name)

    @precondition(lambda self: any(self.members.values()))
    @rule(name=names, which=st.integers(0, 2))
    def a_member_dies(self, name, which):
        if members := self.members[name]:
            member = members.pop(which % len(members))
            crash(member)

    @rule(seconds=st.sampled_from([0.01, 0.06, 0.3, 1.0, 5.0]))
    def time_passes(self, seconds):
        self.time.move(seconds)

    @precondition(lambda self: self.loop is not None)
    @rule(seconds=st.integers(5, 15))
    def nobody_works_for_a_while(self, seconds):
        """Long enough for last attempts, last steps, and dead letters."""
        for _ in range(seconds):
            self.time.move(1.1)
            self.loop.step(0.0)

    @rule(seconds=st.sampled_from([-86_400.0, -3.0, 2.0, 86_400.0]))
    def the_wall_clock_is_set(self, seconds):
        self.time.jump(seconds)
        self.jumped = True

    @precondition(lambda self: self.loop is not None)
    @rule()
    def the_loop_turns(self):
        self.loop.step(0.0)

    @precondition(lambda self: self.loop is not None)
    @rule(orderly=st.booleans())
    def the_loop_ends(self, orderly):
        self.loop.close() if orderly else self.loop.abandon()
        self.loop = None

    @precondition(lambda self: self.loop is None)
    @rule()
    def a_loop_begins(self):
        self.start_loop()

    @precondition(lambda self: self.loop is not None and not self.hung)
    @rule()
    def the_loop_hangs_and_another_takes_over(self):
        self.hung.append(self.loop)
        self.start_loop(Hung())

    @precondition(lambda self: self.hung)
    @rule()
    def the_one_that_hung_goes_on(self):
        late = self.hung.pop()
        with pytest.raises(CursorLockedError):
            late.step(0.0)
        late.abandon()

    @rule()
    def everybody_dies_and_comes_back(self):
        self.nothing_is_escalated_twice_or_too_early()
        self.forget_own_with_an_outcome()
        for members in self.members.values():
            for member in members:
                crash(member)
            members.clear()
        for loop in (*self.hung, *filter(None, [self.loop])):
            loop.abandon()
        self.loop, self.hung = None, []
        self.delivery.close()
        self.bus.close()
        # Receipts of another run are asked for by id, and take no place in this one's table.
        self.own = set()
        self.open_bus()

    @invariant()
    def nothing_is_escalated_twice_or_too_early(self):
        if not hasattr(self, "log"):
            return
        for event in self.log.drain():
            if event.event_type == wire.NUMBERS[Kind.ACK]:
                self.in_log[event.metadata].add(event.source)
            if event.event_type == wire.NUMBERS[Kind.ESCALATED]:
                key = event.metadata, int(event.value)
                self.escalated[key] += 1
                assert self.escalated[key] == 1, f"{key} was escalated twice"
                kind, since = self.published[event.metadata]
                policy = POLICIES[kind]
                due = since + policy.escalate_after_s + (event.value - 1) * policy.step_s
                # Redriven, an event begins anew; a clock that was set makes a loop that begins err.
                redriven = event.value > policy.steps
                assert redriven or self.jumped or self.time.now >= due - 1e-6, f"{key} is early"

    def settle(self):
        """Everybody comes back and acknowledges what the role is given: nothing stays pending."""
        for late in self.hung:
            late.abandon()
        if self.loop is None:
            self.start_loop()
        for name in ROLES:
            if not self.members[name]:
                self.join(name)
            for member in self.members[name]:
                member._looked = 0.0
        for turn in range(60):
            for members in self.members.values():
                for member in members:
                    while (event := member.poll()) is not None:
                        if turn > 3:
                            member.ack(event)
            self.time.move(1.1)
            for _ in range(3):
                self.loop.step(0.0)
            self.nothing_is_escalated_twice_or_too_early()
        for sequence, (kind, _) in self.published.items():
            fate, by = self.loop.state.fate(sequence), self.in_log[sequence]
            # A loop that began later does not know by whom it was settled; the log does.
            settled = fate == Fate.UNKNOWN and (by >= NEEDED[kind] if kind in NEEDED else by)
            assert settled or fate in (Fate.ACKED, Fate.DEAD), f"event {sequence} is {fate}"
        for name, sequences in self.acked.items():
            for sequence in sequences:
                tracked = self.loop.state.find(sequence)
                assert tracked is None or name in tracked.acked, "an acknowledgement was lost"
        for members in self.members.values():
            for member in members:
                member.close()
        self.loop.close()


World.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestWorld = World.TestCase
