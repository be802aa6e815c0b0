"""Pictures of a run of the admission suite, as one SVG: how well the slots were used over time (pure)."""

from collections.abc import Mapping, Sequence
from html import escape

from klipbench.work_off import QueuedRun

WIDTH, HEIGHT, MARGIN = 720, 150, 40


def svg(runs: Mapping[str, QueuedRun]) -> str:
    """One panel for each run: pods that ran, beside the slots there were and the time that would have been ideal."""
    panels = [
        _panel(name, run, MARGIN + number * (HEIGHT + 2 * MARGIN)) for number, (name, run) in enumerate(runs.items())
    ]
    height = len(panels) * (HEIGHT + 2 * MARGIN)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH + 2 * MARGIN} {height}" font-family="sans-serif"'
        f' font-size="12"><rect width="100%" height="100%" fill="white"/>{"".join(panels)}</svg>\n'
    )


def _panel(name: str, run: QueuedRun, top: int) -> str:
    slots, seconds = run.variant.slots, max(run.running[-1][0], run.ideal_seconds)

    def x(at: float) -> float:
        return MARGIN + WIDTH * at / seconds

    def y(pods: float) -> float:
        return top + HEIGHT * (1 - pods / slots)

    title = f"{name}: {run.variant.jobs} jobs, {slots} slots, utilisation {run.throughput.utilisation:.0%}"
    return "".join([
        f'<text x="{MARGIN}" y="{top - 10}">{escape(title)}</text>',
        _line([(x(0), y(slots)), (x(seconds), y(slots))], "gray", dashed=True),
        _line([(x(run.ideal_seconds), y(0)), (x(run.ideal_seconds), y(slots))], "green", dashed=True),
        _line([(x(at), y(pods)) for at, pods in run.running], "steelblue"),
        f'<text x="{MARGIN - 5}" y="{y(slots) + 4:.1f}" text-anchor="end">{slots}</text>',
        f'<text x="{MARGIN - 5}" y="{y(0) + 4:.1f}" text-anchor="end">0</text>',
        f'<text x="{x(seconds):.1f}" y="{y(0) + 16:.1f}" text-anchor="end">{seconds:.0f} s</text>',
        f'<text x="{x(run.ideal_seconds):.1f}" y="{y(0) + 16:.1f}" text-anchor="middle" fill="green">ideal</text>',
    ])  # fmt: skip


def _line(points: Sequence[tuple[float, float]], colour: str, *, dashed: bool = False) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dash = ' stroke-dasharray="4 4"' if dashed else ""
    return f'<polyline points="{path}" fill="none" stroke="{colour}"{dash}/>'
