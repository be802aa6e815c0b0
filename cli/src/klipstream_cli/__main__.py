"""`python -m klipstream_cli`, and what `kubectl analysis` runs."""

import sys


def run() -> None:
    """Entry point of kubectl-analysis."""
    if sys.argv[1:2] == ["__complete"]:  # the single file has no other entry
        from klipstream_cli.completion import run as complete

        del sys.argv[1]
        complete()
        return
    from klipstream_cli.app import main

    sys.exit(main())


if __name__ == "__main__":
    run()
