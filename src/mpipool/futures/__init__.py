"""Single calls: their futures, how they get to the ranks, and executors made of that.

`Future` is what stands for a result, a `Lane` the scatter without end through which calls go, a
`Submitter` what decides when a call goes into which lane, `Submissions` all of that in a process.
"""
