"""List queues.

Examples:

  kubectl analysis queue list -A -o wide
"""

from klipstream_cli.options import FieldSelectorOption, NoHeadersOption, Output, OutputOption, SelectorOption
from klipstream_cli.printing import note, objects, table
from klipstream_cli.queues_view import COLOURS, HEADER, WIDE, row, wide
from klipstream_cli.resources import ANALYSIS_QUEUES, with_kind
from klipstream_cli.session import current


def command(
    output: OutputOption = Output.TABLE,
    selector: SelectorOption = None,
    field_selector: FieldSelectorOption = None,
    no_headers: NoHeadersOption = False,
) -> None:
    """List queues."""
    session = current()
    queues, _ = session.api.list(ANALYSIS_QUEUES, session.scope, label_selector=selector, field_selector=field_selector)
    if output.is_document:
        full = [with_kind(queue, "AnalysisQueue") for queue in queues]
        objects(full, output, "analysisqueue.analysis.klipstream.io")
        return
    if not queues:
        where = "any namespace" if session.scope is None else f"the namespace {session.scope}"
        note(f"No AnalysisQueues found in {where}.")
        return
    now, spread = session.api.now(), session.scope is None
    is_wide = output is Output.WIDE
    header = (*(("NAMESPACE",) if spread else ()), *HEADER, *(WIDE if is_wide else ()))
    rows = [
        (*((queue["metadata"]["namespace"],) if spread else ()), *row(queue, now), *(wide(queue) if is_wide else ()))
        for queue in queues
    ]
    table(header, rows, headers=not no_headers, colours=COLOURS)
