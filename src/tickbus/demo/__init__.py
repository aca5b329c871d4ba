"""
`tickbus demo`: venues, a feed, strategies and a monitor, each in a process of its own, on one named bus.

    venue simulators ─ frames over a socket ─► feed ─ events ─► bus ─┬─► stop_loss, arbitrage, drawdown,
    or recorded files ──── read, paced ──────►                       │   spoofing, momentum, taker_flow,
                                                                     │   quorum: react and publish back
                                                                     └─► monitor: fills orders on paper,
                                                                         shows what happens, adds it up

    cast        which strategies play, with which settings, and how each waits
    worker      a strategy's process            feed       the process that decodes frames
    child       what both tell their parent     processes  the parent's side of that
    recording   recorded files: what is in them, and their pace
    broker      fills orders on paper           latency    a histogram of nanoseconds
    stage       starts, watches and ends it all; makes the report
    monitor     reads beside the strategies, and plays the broker
    machine     whether a core is idle enough to be burnt
    report      the figures of a moment, and whether they add up
    view        the live view and the summary

The strategies are those of `examples/`. Nothing here is needed to use tickbus.
"""
