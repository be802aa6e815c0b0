"""`kubectl analysis`: the command line of the analysis queue, as a kubectl plugin."""
