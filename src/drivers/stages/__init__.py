"""The tasks of the survey: one module for each stage, with what its task gets and the task."""
