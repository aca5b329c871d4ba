"""
A desk at work on clocks that stand still until moved: whatever happens in whatever order, every event
ends acknowledged or as a dead letter, and is escalated once a step.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

from delivery_desk import Time, crash
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import tickbus as tb
from tickbus.delivery import Policy, Retry, files, wire
from tickbus.delivery.loop import Loop
from tickbus.delivery.policy import Policies
from tickbus.delivery.roles import RoleSubscription
from tickbus.delivery.state import Fate, Kind
from tickbus.journal import Journal

RISK = tb.EventType.DRAWDOWN_ALERT
POLICY = Policy(
    escalate_after_s=5.0,
    step_s=2.0,
    ladder=(lambda _: None, lambda _: None),
    retry=Retry(attempts=4, jitter=0.1),
)
ROLES = {"oms": ("risk.>",), "risk": ("risk.drawdown_alert.>", "critical.>")}


class World(RuleBasedStateMachine):
    @initialize()
    def open(self):
        self.folder = Path(tempfile.mkdtemp())
        self.bus = tb.Bus(
            journal=Journal(self.folder / "journal", critical="os", segment_mib=1), payload_bytes=1 << 16
        )
        wire.register(self.bus)
        self.place = files.folder_of(self.folder / "journal")
        self.time = Time()
        self.loop = None
        self.members = {name: [] for name in ROLES}
        self.in_log = defaultdict(set)
        self.published = {}
        self.acked = {name: set() for name in ROLES}
        self.log = self.bus.subscribe(">", lossy=True)
        self.escalated = Counter()
        self.start_loop()
        for name in ROLES:
            self.join(name)

    def teardown(self):
        if hasattr(self, "bus"):
            self.settle()
            self.bus.close()
            shutil.rmtree(self.folder)

    def start_loop(self):
        policies = Policies(default=POLICY)
        self.loop = Loop(self.bus, policies, self.place, clock=self.time.clock(), chance=lambda: 0.5)

    def join(self, name):
        member = RoleSubscription(
            self.bus,
            self.place,
            ROLES[name],
            name,
            ack="manual",
            exclusive=False,
            start="latest",
            wait="sleep",
            known=lambda role: self.loop.state.roles.get(role) if self.loop else None,
        )
        self.members[name].append(member)

    names = st.sampled_from(sorted(ROLES))

    @rule(count=st.integers(1, 5))
    def publish(self, count):
        for _ in range(count):
            number = self.bus.publish(RISK, "BTC-USDT", 1.0, timestamp=self.time.wall)
            self.published[number >> 2] = self.time.now

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
        if len(self.members[name]) < 3:
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

    @rule(seconds=st.sampled_from([-86_400.0, -3.0, 2.0, 86_400.0]))
    def the_wall_clock_is_set(self, seconds):
        self.time.jump(seconds)

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

    def settle(self):
        """Everybody comes back and acknowledges what the role is given: nothing stays pending."""
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
        for sequence in self.published:
            fate = self.loop.state.fate(sequence)
            # A loop that began later does not know by whom it was settled; the log does.
            settled = fate == Fate.UNKNOWN and self.in_log[sequence] >= set(ROLES)
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
