"""The sky over the whole focal plane: a model of the cells of all CCDs of a visit together."""
