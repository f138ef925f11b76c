"""What is on disk when the power fails: one SQLite file per run, and the larger results beside it.

`database.Checkpoint` is what the one writer holds, `recorder.Recorder` keeps it off the message
path, `reading` is for everybody else, and `results` is what executors use. Nothing is imported
here, so that an executor pays for `results` alone. `docs/checkpoint.md` describes the file.
"""
