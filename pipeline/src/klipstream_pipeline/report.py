"""report.html: one file without any outside resource or script, for people who do not know statistics."""

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from klipstream_pipeline.plots import Axis, Curve, clock, plot, times
from klipstream_pipeline.report_cards import MOODS, SIGNALS, card, shown

TABLE_ROWS = 120
MOST_SEGMENTS = 3000
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def render_report(result: Mapping[str, Any]) -> str:
    """The report of a result of version 2 (result.schema.json) as HTML. All text of others is escaped."""
    body = "".join((
        _summary(result), _notes(result), _plots(result), _highlights(result), _certainty(result), _moods(result),
        _table(result), _transcript(result), _about(result),
    ))  # fmt: skip
    style = files(__package__).joinpath("report.css").read_text("utf-8")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>{shown(_headline(result))}</title><style>{style}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )


def _headline(result: Mapping[str, Any]) -> str:
    count = len(result["highlights"])
    if count == 0:
        return "No highlights"
    return "1 highlight" if count == 1 else f"{count} highlights"


def _summary(result: Mapping[str, Any]) -> str:
    duration = float(result["video"]["duration_seconds"])
    facts = [f"{clock(duration)} of sound"]
    chat = result["chat"]
    if chat is None:
        facts.append("no chat")
    else:
        facts.append(f"{chat['messages']:,} chat messages by {chat['users']:,} people")
    segments = len(result["transcript"]["segments"])
    facts.append(f"{segments:,} sentences transcribed" if segments else "no transcript")
    why = f'<p class="note">{shown(result["why_none"])}</p>' if result["why_none"] else ""
    return f'<h1>{shown(_headline(result))}</h1><p class="facts">{shown(" · ".join(facts))}</p>{why}'


def _notes(result: Mapping[str, Any]) -> str:
    return "".join(f'<p class="note">{shown(note)}</p>' for note in result["notes"])


def _plots(result: Mapping[str, Any]) -> str:
    timeline, duration = result["timeline"], max(1.0, float(result["video"]["duration_seconds"]))
    highlights = result["highlights"]
    lag = _lag_seconds(result)
    bands = [(float(h["start_seconds"]) / duration, float(h["end_seconds"]) / duration) for h in highlights]
    late = [(min(1.0, start + lag / duration), min(1.0, end + lag / duration)) for start, end in bands]
    where = ", ".join(clock(float(h["start_seconds"])) for h in highlights) or "none"
    marks = "".join(
        f'<a href="#highlight-{number}" style="left:{100 * min(1.0, float(h["peak_seconds"]) / duration):.2f}%" '
        f'aria-label="Highlight {number} at {clock(float(h["peak_seconds"]))}">{number}</a>'
        for number, h in enumerate(highlights, 1)
    )
    parts = ["<h2>Over time</h2>"]
    if marks:
        parts.append(f'<div class="marks">{marks}</div>')
    rates = [rate for rate in timeline["chat_per_second"] if rate is not None]
    if rates:
        top = _round_up(max(rates))
        moved = f"; the marks are {lag:g} s later here, since chat follows the picture" if lag and bands else ""
        parts.append(_figure(
            "Chat", f"messages a second{moved}",
            plot("chat", "Messages a second over time",
                 f"At most {max(rates):.1f}, on average {sum(rates) / len(rates):.1f}. Highlights at: {where}.",
                 [Curve(timeline["chat_per_second"], "chat")],
                 Axis(0.0, top, ((0.0, "0"), (top, f"{top:g}"))), late),
            duration))  # fmt: skip
    levels = [level for level in timeline["loudness_dbfs"] if level is not None]
    low = max(-70.0, min(levels)) if levels else -70.0
    low = min(low, -30.0)
    middle = round(low / 20.0) * 10.0
    parts.append(_figure(
        "Loudness", "decibels; 0 is the loudest that there can be",
        plot("loudness", "Loudness over time",
             f"From {min(levels, default=0):.0f} to {max(levels, default=0):.0f} decibels. Highlights at: {where}.",
             [Curve(timeline["loudness_dbfs"], "loud")],
             Axis(low, 0.0, ((0.0, "0 dB"), (middle, f"{middle:.0f}"))), bands),
        duration))  # fmt: skip
    feelings = [value for value in timeline["valence"] if value is not None]
    felt = [value for value in timeline["intensity"] if value is not None]
    if feelings and felt:
        reach = _round_up(max(0.2, *(abs(value) for value in feelings), *felt))
        key = '<span class="key"></span>good or bad <span class="key feel"></span>how much feeling'
        parts.append(_figure(
            "Mood", key,
            plot("mood", "Mood over time",
                 f"From {min(feelings):.2f} (bad is -1) to {max(feelings):.2f} (good is 1). Highlights at: {where}.",
                 [Curve(timeline["valence"], "valence"), Curve(timeline["intensity"], "intensity")],
                 Axis(-reach, reach, ((reach, "good"), (0.0, "0"), (-reach, "bad"))), bands),
            duration, markup=True))  # fmt: skip
    parts.append('<p class="quiet">The same figures as a <a href="#table">table</a>.</p>')
    return "".join(parts)


def _figure(name: str, said: str, drawn: str, duration: float, *, markup: bool = False) -> str:
    said = said if markup else shown(said)
    return f"<figure><figcaption>{shown(name)} <span>{said}</span></figcaption>{drawn}{times(duration)}</figure>"


def _lag_seconds(result: Mapping[str, Any]) -> float:
    chat = result["chat"]
    return float(chat["lag"]["seconds"]) if chat is not None and chat["lag"] is not None else 0.0


def _round_up(value: float) -> float:
    """1, 1.5, 2, 3 or 5 times a power of ten."""
    power = 0.1
    while power * 10 < value:
        power *= 10
    return next(round(power * step, 6) for step in (1, 1.5, 2, 3, 5, 10) if power * step >= value or step == 10)


def _highlights(result: Mapping[str, Any]) -> str:
    if not result["highlights"]:
        return ""
    cards = "".join(card(number, highlight) for number, highlight in enumerate(result["highlights"], 1))
    return f"<h2>The highlights</h2>{cards}"


def _certainty(result: Mapping[str, Any]) -> str:
    significance, chat = result["significance"], result["chat"]
    needed, signals = int(significance["needed"]), [SIGNALS.get(each, each) for each in significance["signals"]]
    rule = (
        f"at least {needed} of them stood out at the same moment, because one alone may be music, applause or a raid"
        if needed > 1
        else "it stood out by itself, since there was nothing else to ask"
    )
    share = 100 * float(significance["false_share"])
    sentences = [
        f"{significance['places']:,} places of ten seconds were looked at. Asked were: {', '.join(signals)}.",
        f"A place became a highlight where {rule}.",
        f"The bar is set for the recording as a whole: of 100 highlights about {share:.0f} may be chance, and of 100 "
        f"recordings without any event about {share:.0f} may show one.",
        "Louder, busier and livelier always means: compared with the minutes around it in this recording.",
    ]
    if chat is not None and chat["lag"] is not None:
        lag = chat["lag"]
        sentences.append(
            f"Chat follows the picture by about {lag['seconds']:g} s here; this was measured and corrected."
            if lag["estimated"]
            else f"Chat was taken to follow the picture by {lag['seconds']:g} s, the usual, because this recording "
            "does not show it clearly."
        )
    return "<h2>How sure is this?</h2>" + "".join(f"<p>{shown(each)}</p>" for each in sentences)


def _moods(result: Mapping[str, Any]) -> str:
    parts = []
    for source, name in (("chat", "In chat"), ("speech", "In what is said")):
        mood = result["moods"][source]
        if mood is None:
            continue
        rows = "".join(
            f'<tr><th scope="row">{shown(MOODS.get(emotion, emotion))}</th><td class="figure">{100 * share:.1f}</td>'
            f'<td style="width:50%"><span class="bar" style="width:{min(100.0, 300 * share):.1f}%"></span></td></tr>'
            for emotion, share in mood["emotions"].items()
        )
        parts.append(
            f"<div><table><caption>{name}: {_tone(float(mood['valence']))}</caption><thead><tr>"
            '<th scope="col">Emotion</th><th scope="col" class="figure">of 100</th><td></td></tr></thead>'
            f"<tbody>{rows}</tbody></table></div>"
        )
    return f'<h2>The mood as a whole</h2><div class="two">{"".join(parts)}</div>' if parts else ""


def _tone(valence: float) -> str:
    if abs(valence) < 0.03:
        return "neither good nor bad"
    return "more good than bad" if valence > 0 else "more bad than good"


def _table(result: Mapping[str, Any]) -> str:
    timeline = result["timeline"]
    step, count = int(timeline["step_seconds"]), len(timeline["loudness_dbfs"])
    each = max(1, -(-count // TABLE_ROWS))
    rows = []
    for start in range(0, count, each):
        values = {
            name: [value for value in timeline[name][start : start + each] if value is not None]
            for name in ("chat_per_second", "loudness_dbfs", "valence", "intensity")
        }
        cells = (
            _mean(values["chat_per_second"], 1.0, 2), _most(values["loudness_dbfs"]),
            _mean(values["valence"], 100.0, 0), _mean(values["intensity"], 100.0, 0),
        )  # fmt: skip
        figures = "".join(f'<td class="figure">{cell}</td>' for cell in cells)
        rows.append(f'<tr><th scope="row">{clock(start * step)}</th>{figures}</tr>')
    return (
        '<details id="table"><summary>The figures as a table</summary><div class="scroll long"><table>'
        f'<caption>Each row is {each * step} s.</caption><thead><tr><th scope="col">From</th>'
        '<th scope="col" class="figure">Messages a second</th><th scope="col" class="figure">Loudest, dB</th>'
        '<th scope="col" class="figure">Good or bad, of 100</th><th scope="col" class="figure">Feeling, of 100</th>'
        f"</tr></thead><tbody>{''.join(rows)}</tbody></table></div></details>"
    )


def _mean(values: Sequence[float], factor: float, digits: int) -> str:
    return f"{factor * sum(values) / len(values):.{digits}f}" if values else "–"


def _most(values: Sequence[float]) -> str:
    return f"{max(values):.0f}" if values else "–"


def _transcript(result: Mapping[str, Any]) -> str:
    transcript = result["transcript"]
    segments = transcript["segments"]
    if not segments:
        return ""
    weak = (
        '<p class="note">These words were recognised with low confidence: many of them are wrong.</p>'
        if transcript["low_confidence"]
        else ""
    )
    rows = "".join(
        f'<tr><th scope="row">{clock(float(each["start_seconds"]))}</th><td>{shown(each["text"])}</td></tr>'
        for each in segments[:MOST_SEGMENTS]
    )
    more = len(segments) - MOST_SEGMENTS
    rest = f"<p>{more:,} more are in result.json.</p>" if more > 0 else ""
    return (
        f"<details><summary>What was said ({len(segments):,} sentences, by {shown(transcript['engine'])})</summary>"
        f'{weak}<div class="long"><table><thead><tr><th scope="col">At</th><th scope="col">Words</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>{rest}</details>"
    )


def _about(result: Mapping[str, Any]) -> str:
    software = ", ".join(f"{name} {number}" for name, number in result["software"].items())
    return (
        '<h2>About this report</h2><p class="quiet">'
        f"Job {shown(result['job_id'])}, attempt {shown(result['attempt'])}. "
        f"Made with {shown(software)}. Valence and emotions are those of English words and emotes.</p>"
    )
