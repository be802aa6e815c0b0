"""Check cluster, rights, operator, queues, webhooks and clocks; exit code 1 if something has failed.

Examples:

  kubectl analysis doctor
  kubectl analysis doctor -n media -o json
"""

from __future__ import annotations

import sys
from dataclasses import asdict

from klipstream_cli.checks import all_findings
from klipstream_cli.errors import Exit
from klipstream_cli.findings import Finding
from klipstream_cli.options import Output, OutputOption, no_names
from klipstream_cli.printing import STATE_COLOURS, coloured, document, paint, safe, say
from klipstream_cli.session import current

SIGNS = {"ok": "✓", "warning": "!", "failed": "✗", "skipped": "-"}


def command(output: OutputOption = Output.TABLE) -> int:
    """Check everything."""
    no_names(output, "doctor")
    found: list[Finding] = []
    on = coloured()
    for each in all_findings(current()):
        found.append(each)
        if not output.is_document:
            sign = paint(SIGNS[each.state], STATE_COLOURS.get(each.state), on)
            say(f"{sign} {each.check:<12}{safe(each.message)}\n")
            if each.todo:
                say(f"  {'':<12}→ {each.todo}\n")
            sys.stdout.flush()
    if output.is_document:
        document([asdict(each) for each in found], output)
    return int(Exit.FAILED if any(each.state == "failed" for each in found) else Exit.OK)
