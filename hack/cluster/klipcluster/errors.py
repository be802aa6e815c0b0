"""What goes wrong in a way that a person can mend."""


class ClusterError(Exception):
    """The message says what happened and what to do."""
