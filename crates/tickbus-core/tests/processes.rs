//! Processes on one bus: killed, stopped, asleep, out of file descriptors, racing to create it.
//!
//! Every test has a named bus of its own and plays with real processes: this test binary, started
//! again to run nothing but [`child_entry`], which plays the role it is given. What random instants
//! can hit is hit at random (`kill -9` from outside); what has to be hit exactly is hit by the child
//! itself, from inside: [`Lane::append`](tickbus_core::lane::ring::Lane::append) asks a closure for
//! each event twice, before its claim and after it, and a closure can die, or stop, at any of them.
//!
//! **Bounds on time.** "Within 100 ms of a process's death" is a promise, so it is asserted: each
//! time is at most [`stage::HARD`], which a loaded machine keeps too, and the median of a test's times
//! is at most [`stage::PROMISED`]. The clock starts when the dead process has been waited for, since
//! before that the kernel may still be busy ending it. Tests run one at a time for the same reason.
//!
//! `TICKBUS_STRESS=20` makes the random tests twenty times as long; `./dev soak` sets it.

#![cfg(not(loom))]

#[path = "processes/create.rs"]
mod create;
#[path = "processes/death.rs"]
mod death;
#[path = "processes/foreign.rs"]
mod foreign;
#[path = "processes/naming.rs"]
mod naming;
#[path = "processes/payloads.rs"]
mod payloads;
#[path = "processes/producers.rs"]
mod producers;
#[path = "processes/readers.rs"]
mod readers;
#[path = "processes/sleepers.rs"]
mod sleepers;
#[path = "processes/stage.rs"]
mod stage;
#[path = "processes/stopped.rs"]
mod stopped;
#[path = "processes/story.rs"]
mod story;

/// What a child process does; every theme has its own.
const ROLES: [&[stage::Role]; 8] = [
    create::ROLES,
    death::ROLES,
    foreign::ROLES,
    naming::ROLES,
    payloads::ROLES,
    producers::ROLES,
    readers::ROLES,
    sleepers::ROLES,
];

/// Not a test: where child processes begin. Started by anybody else it does nothing.
#[test]
#[ignore = "the entry of the other tests' child processes"]
fn child_entry() {
    if let Some(orders) = stage::Orders::received() {
        let roles = ROLES.iter().copied().flatten();
        let role = roles.into_iter().find(|role| role.name == orders.role);
        (role.expect("a role of one of the themes").play)(&orders);
    }
}
