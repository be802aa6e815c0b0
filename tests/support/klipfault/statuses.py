"""Refusals in the API server's own words."""

import json

REASONS = {
    409: ("Conflict", "the object has been modified; please apply your changes to the latest version and try again"),
    410: ("Expired", "The resourceVersion for the provided watch or list is too old."),
    422: ("Invalid", "the object is invalid"),
    429: ("TooManyRequests", "the server has received too many requests and has asked us to try again later"),
    500: ("InternalError", "an error on the server prevented the request from succeeding"),
    503: ("ServiceUnavailable", "the server is currently unable to handle the request"),
}


def status_body(code: int, retry_after_seconds: int | None = None) -> bytes:
    """A Status object that says that it was injected."""
    reason, message = REASONS[code]
    details = {} if retry_after_seconds is None else {"retryAfterSeconds": retry_after_seconds}
    status = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": f"{message} (injected)",
        "reason": reason,
        "details": details,
        "code": code,
    }
    return json.dumps(status).encode()
