"""`python -m klipsim.planted`: plants each bug and runs its seed; the last line gives the figures."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import klipsim.loop
from klipsim.planted.bug import rule_of, swap
from klipsim.planted.table import BUGS, UNSEEN
from klipsim.run import simulate

BY_NAME = {bug.name: bug for bug in (*BUGS, *UNSEEN)}
CALLBACKS_AT_MOST = 100_000
"""A run has some 25,000 at most; with a bug it may go in circles, which need not be watched for long."""


def main() -> int:
    """0 if each bug was caught and no run without one broke a promise."""
    parser = argparse.ArgumentParser(prog="python -m klipsim.planted", description=__doc__)
    parser.add_argument("--find", type=int, default=0, metavar="SEEDS",
                        help="where the recorded seed shows nothing: how many more to try")  # fmt: skip
    parser.add_argument("--first", type=int, default=0, help="the first of these")
    parser.add_argument("--only", default="", metavar="NAME", help="only bugs whose name has this in it")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="bugs at the same time")
    parser.add_argument("--unseen", action="store_true", help="those that no run showed yet; with --find")
    parser.add_argument("--json", action="store_true", help="say it in JSON, for the test")
    options = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The order of sets of strings is part of a run.
        arguments = [sys.executable, "-m", "klipsim.planted", *sys.argv[1:]]
        os.execve(sys.executable, arguments, os.environ | {"PYTHONHASHSEED": "0"})
    names = [bug.name for bug in (UNSEEN if options.unseen else BUGS) if options.only in bug.name]
    further = range(options.first, options.first + options.find)
    uncaught, unsound = 0, 0
    with ProcessPoolExecutor(options.processes) as pool:
        for name, (seed, rules) in zip(names, pool.map(partial(caught, further), names), strict=True):
            uncaught += seed is None
            _say(options.json, bug=name, seed=seed, rules=sorted(rules))
        seeds = sorted({seed for name in names if (seed := BY_NAME[name].seed) is not None})
        for seed, rules in zip(seeds, pool.map(_broken, seeds), strict=True):
            unsound += bool(rules)
            _say(options.json, bug="", seed=seed, rules=sorted(rules))
    print(
        f"planted: {len(names)} bugs, {uncaught} not caught, {unsound} of {len(seeds)} runs without a bug broke a rule",
        file=sys.stderr if options.json else sys.stdout,
    )
    return 1 if uncaught or unsound else 0


def caught(further: Iterable[int], name: str) -> tuple[int | None, set[str]]:
    """The first seed, of the recorded one and others, at which a bug breaks a rule that it may break; and all that
    it breaks there, or (with None) what it broke anywhere."""
    bug, broken = BY_NAME[name], set[str]()
    for seed in (*(() if bug.seed is None else (bug.seed,)), *further):
        with bug.planted(), swap(klipsim.loop, "CALLBACKS_AT_MOST", CALLBACKS_AT_MOST):
            rules = _broken(seed)
        if rules & set(bug.rules):
            return seed, rules
        broken |= rules
    return None, broken


def _broken(seed: int) -> set[str]:
    return {rule_of(violation) for violation in simulate(seed).violations}


def _say(as_json: bool, *, bug: str, seed: int | None, rules: list[str]) -> None:
    if as_json:
        print(json.dumps({"bug": bug, "seed": seed, "rules": rules}), flush=True)
    else:
        print(f"{bug or '(no bug)':72} {'-' if seed is None else seed!s:>5}  {', '.join(rules)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
