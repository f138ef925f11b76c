"""Where user code runs: processes forked by a guard, and the sockets which reach them."""
