"""What the soak takes for a leak."""

import random
from typing import Any

import pytest

from klipsoak.gauges import Life, Sample, growth, slope, tasks_in


def life(samples: int = 90, every_seconds: float = 2.0, **grows: float) -> Life:
    """A process whose figures grow by so much a sample, with noise."""
    dice = random.Random(1)

    def sample(n: int) -> Sample:
        start: dict[str, Any] = {"memory_kib": 80_000, "files": 30, "tasks": 60, "watches": 6}
        values = {what: int(value + grows.get(what, 0) * n + dice.choice((-1, 0, 1))) for what, value in start.items()}
        return Sample(at_seconds=n * every_seconds, **values)

    return Life("first-1", [sample(n) for n in range(samples)])


def test_a_flat_life_leaks_nothing() -> None:
    assert growth(life()).leaks == []


@pytest.mark.parametrize(("what", "by"), [("memory_kib", 400), ("files", 0.7), ("tasks", 0.7), ("watches", 0.7)])
def test_what_only_grows_is_a_leak(what: str, by: float) -> None:
    (leak,) = growth(life(**{what: by})).leaks
    assert leak.startswith(f"first-1: {what.partition('_')[0]}")


def test_warming_up_is_no_leak() -> None:
    warm = life()
    for number, sample in enumerate(warm.samples[:30]):
        warm.samples[number] = Sample(sample.at_seconds, sample.memory_kib - 40_000 + 1_300 * number, 10, 20, 1)
    assert growth(warm).leaks == []


def test_a_life_too_short_to_judge_is_refused() -> None:
    with pytest.raises(ValueError, match="too short"):
        growth(life(samples=5))


def test_the_slope_is_that_of_the_best_line() -> None:
    assert slope([0, 1, 2, 3], [1, 3, 5, 7]) == pytest.approx(2)
    assert slope([1, 1], [0, 9]) == 0


def test_tasks_are_read_from_the_metrics() -> None:
    assert tasks_in("# HELP x y\nklipstream_operator_tasks 61.0\nother 1\n") == 61
    with pytest.raises(ValueError, match="klipstream_operator_tasks"):
        tasks_in("klipstream_operator_tasks_more 1\n")
