"""
`tickbus bench`: what tickbus costs, beside what one would use instead and what the machine allows.

    jobs/     what is measured, a file per family of jobs
    peers/    the same work done with something else, a file per peer
    floor/    the same work in C, and the machine without Python
    targets   what tickbus has to reach, as data
    runner    checks every contender's behaviour, then measures all of them interleaved
    report    the table, the JSON and (plot) the picture

A job is a list of cases; a case is one contender for one figure: it can check itself, and give one
sample. The runner takes the samples of a job round-robin, so that a disturbance of the machine
falls on all contenders alike, and compares medians and ratios taken within one round.
Nothing here is imported by `import tickbus`.
"""
