"""What is to be run, and after what: pure decisions, and the loop which performs them on a pool.

A `Node` is one task with what it needs, a `Graph` knows which of them may start and what has become
of the others, and `run` has them run. Nothing here knows what the tasks do.
"""
