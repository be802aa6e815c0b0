"""`python -m klipstream_cli`, and what `kubectl analysis` runs."""

import sys


def run() -> None:
    """Entry point of kubectl-analysis."""
    from klipstream_cli.app import main

    sys.exit(main())


if __name__ == "__main__":
    run()
