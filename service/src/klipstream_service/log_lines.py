"""Log lines on standard error, for people or as JSON for whoever collects them."""

import json
import logging
from datetime import UTC, datetime


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; a traceback is part of its message."""
        message = record.getMessage()
        if record.exc_info:
            message += "\n" + self.formatException(record.exc_info)
        at = datetime.fromtimestamp(record.created, UTC).isoformat()
        return json.dumps({"time": at, "level": record.levelname, "logger": record.name, "message": message})


def log_to_stderr(log_format: str, log_level: str) -> None:
    """Set up logging for the whole process; `log_format` is plain or json."""
    handler = logging.StreamHandler()
    plain = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if log_format == "json" else plain)
    logging.basicConfig(level=log_level, handlers=[handler])
