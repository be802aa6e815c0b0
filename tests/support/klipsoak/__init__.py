"""A soak: hours of an operator's life in minutes, with faults on at random, and a look at what it leaks."""
