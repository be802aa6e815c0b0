"""The report as one HTML page that needs nothing else: no script, no address (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from klipstream_cli.figures import Report, Spread
from klipstream_cli.times import span

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --line: #d0d7de; --good: #1a7f37; --bad: #cf222e;
  --ground: #fff }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9198a1; --line: #3d444d; --good: #3fb950;
  --bad: #f85149; --ground: #0d1117 } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground); max-width: 60rem;
  margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.15rem; margin-top: 2rem } p { color: var(--soft) }
table { border-collapse: collapse; width: 100% } th { font-weight: 600 }
th, td { padding: .35rem .6rem; border-bottom: 1px solid var(--line); text-align: right }
th:first-child, td:first-child { text-align: left }
dl { display: flex; flex-wrap: wrap; gap: 1rem 2.5rem } dt { color: var(--soft) } dd { margin: 0; font-size: 1.5rem }
svg { width: 100%; height: auto } .good { fill: var(--good) } .bad { fill: var(--bad) }
text { fill: var(--soft); font-size: 11px }
"""

QUANTILES = ("median", "9 in 10", "longest")
STAGE_COLUMNS = ("stage", "time median", "time 9 in 10", "CPU median", "CPU 9 in 10", "memory 9 in 10")


def page(report: Report, title: str) -> str:
    """The whole page."""
    rate = "–" if report.success_percent is None else f"{report.success_percent:.1f} %"
    facts = [
        ("Finished", str(sum(report.ended.values()))), ("Success rate", rate), ("Per hour", f"{report.per_hour:.2f}"),
        ("Submitted", str(report.submitted)), ("Retries", str(report.retried)),
    ]  # fmt: skip
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{report.since.astimezone():%Y-%m-%d %H:%M} to {report.until.astimezone():%Y-%m-%d %H:%M %Z}</p>",
        "<dl>" + "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in facts) + "</dl>",
        "<h2>Finished over time</h2>", _chart(report),
        _table("Wait for the first attempt", ("priority", "jobs", *QUANTILES), _spans(report.waits)),
        _table("Run time of succeeded attempts", ("type", "runs", *QUANTILES), _spans(report.runs)),
        _table("Failed attempts", ("class and reason", "attempts"), ((k, str(n)) for k, n in report.failures.items())),
        _table("Queues", ("queue", "Succeeded", "Failed", "Cancelled", "Rejected"),
               ((q, *(str(p.get(k, 0)) for k in ("Succeeded", "Failed", "Cancelled", "Rejected")))
                for q, p in report.queues.items())),
        _table("Stages, as workers measured them", STAGE_COLUMNS,
               stage_rows(report)),
    ]  # fmt: skip
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    head += f"<style>{STYLE}</style>"
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'


def stage_rows(report: Report) -> Iterable[tuple[str, ...]]:
    """Cells under STAGE_COLUMNS; empty for what no worker measured."""
    for stage, took in report.stages.items():
        wall, cpu, memory = took.wall_seconds, took.cpu_seconds, took.peak_memory_bytes
        yield (
            stage,
            "" if wall is None else span(wall.p50),
            "" if wall is None else span(wall.p90),
            "" if cpu is None else span(cpu.p50),
            "" if cpu is None else span(cpu.p90),
            "" if memory is None else f"{memory.p90 / 2**20:.0f} MiB",
        )


def _spans(spreads: dict[str, Spread]) -> Iterable[tuple[str, ...]]:
    for name, found in spreads.items():
        yield name, str(found.count), span(found.p50), span(found.p90), span(found.most)


def _table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    if not body:
        return ""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    return f"<h2>{escape(title)}</h2><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _chart(report: Report) -> str:
    """Bars of what succeeded, and on top of them what failed."""
    most = max((good + bad for _, good, bad in report.bins), default=0) or 1
    width, height, bars = 960, 180, []
    step = width / max(1, len(report.bins))
    for number, (at, good, bad) in enumerate(report.bins):
        x, base = number * step + 2, height - 20
        tall, top = good / most * (height - 40), bad / most * (height - 40)
        label = f"{at.astimezone():%m-%d %H:%M}: {good} succeeded, {bad} failed"
        bars.append(
            f"<g><title>{escape(label)}</title>"
            f'<rect class="good" x="{x:.1f}" y="{base - tall:.1f}" width="{step - 4:.1f}" height="{tall:.1f}"/>'
            f'<rect class="bad" x="{x:.1f}" y="{base - tall - top:.1f}" width="{step - 4:.1f}" height="{top:.1f}"/></g>'
        )
    first, last = report.bins[0][0], report.until
    texts = (
        f'<text x="2" y="{height - 5}">{first.astimezone():%m-%d %H:%M}</text>'
        f'<text x="{width - 2}" y="{height - 5}" text-anchor="end">{last.astimezone():%m-%d %H:%M}</text>'
        f'<text x="2" y="12">at most {most}</text>'
    )
    label = 'role="img" aria-label="Jobs that finished over time"'
    return f'<svg viewBox="0 0 {width} {height}" {label}>{"".join(bars)}{texts}</svg>'
