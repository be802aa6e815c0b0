"""Makes a failing scenario smaller: leaves out what does not matter for the failure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from klipsim.run import Result, Scenario, run


def shrunk(scenario: Scenario, say: Callable[[str], None]) -> tuple[Scenario, Result]:
    """The smallest scenario found that still breaks the same rule first, by leaving out one part after the other."""
    result = run(scenario)
    rule = _rule(result)
    if rule is None:
        return scenario, result
    while True:
        for smaller, left_out in _without_one_part(scenario):
            tried = run(smaller)
            if _rule(tried) == rule:
                say(f"not needed: {left_out}")
                scenario, result = smaller, tried
                break
        else:
            return scenario, result


def _rule(result: Result) -> str | None:
    return result.violations[0].split(" at ")[0].split(":")[0] if result.violations else None


def _without_one_part(scenario: Scenario) -> list[tuple[Scenario, Any]]:
    """The scenario without each of its faults, reactions and actions; queues are kept."""
    plan = scenario.plan
    smaller: list[tuple[Scenario, Any]] = []
    if scenario.replicas > 1:
        smaller.append((replace(scenario, replicas=scenario.replicas - 1), "a replica"))
    for fault in scenario.faults:
        kept = [other for other in scenario.faults if other is not fault]
        smaller.append((replace(scenario, faults=kept), fault))
    for reaction in plan.reactions:
        reactions = [other for other in plan.reactions if other is not reaction]
        smaller.append((replace(scenario, plan=replace(plan, reactions=reactions)), reaction))
    for action in plan.actions:
        if action.verb != "create queue":
            actions = [other for other in plan.actions if other is not action]
            smaller.append((replace(scenario, plan=replace(plan, actions=actions)), action))
    return smaller
