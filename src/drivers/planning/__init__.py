"""Which tasks a survey has, and what each is made of: the nodes of its graph.

Everything is known from the registry's rows: no image is opened to plan. What a task works on in
the end is decided when it starts, from what came of the tasks before it.
"""
