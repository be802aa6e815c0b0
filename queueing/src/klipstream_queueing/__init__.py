"""Order, backlog, positions and estimates of a queue: pure, shared by operator, gateway and command line."""
