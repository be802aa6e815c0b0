"""Whether what a caller sent fits the route, for the REST API and the dashboard's forms alike (pure)."""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from klipstream_api.analysisjob import DNS_LABEL, HTTP_URL, HTTPS_URL
from klipstream_gateway.problems import FieldError, Problem, Refused
from klipstream_gateway.routes import PATH_PARAMETERS, HeaderParameter

ERRORS_AT_MOST = 50
_NAMES = re.compile(r"^[a-zA-Z_]+$")
_MOMENT = "use a moment with its time zone, such as 2026-01-02T03:04:05Z"
_WORDS = {
    "missing": "it is needed",
    "extra_forbidden": "there is no such field",
    "datetime_parsing": _MOMENT,
    "datetime_from_date_parsing": _MOMENT,
    "datetime_type": _MOMENT,
    "timezone_aware": _MOMENT,
}
_PATTERNS = {
    HTTP_URL: "use a URL that begins with http:// or https:// and has no blanks",
    HTTPS_URL: "use a URL that begins with https:// and has no blanks",
    DNS_LABEL: "use lower-case letters, digits and hyphens, beginning and ending with a letter or digit",
}


def check_path(path: Mapping[str, str]) -> None:
    """Raises Refused where a variable of the path cannot be one."""
    for name, value in path.items():
        if not re.fullmatch(PATH_PARAMETERS[name].pattern[1:-1], value):
            problem = Problem.JOB_NOT_FOUND if name == "job_id" else Problem.NOT_FOUND
            raise Refused(problem, f"No {name.replace('_', ' ')} looks like that.")


def header(name: str, parameter: HeaderParameter, sent: str) -> str:
    """The value of a header that a route reads. Raises Refused."""
    if len(sent) > parameter.longest or not re.fullmatch(parameter.pattern[1:-1], sent):
        error = FieldError(
            field=f"header.{name}",
            message=f"must match {parameter.pattern}, and have at most {parameter.longest} characters",
        )
        raise Refused(Problem.INVALID, error.message, errors=(error,))
    return sent


def query(model: type[BaseModel], values: Mapping[str, str]) -> BaseModel:
    """A query as its model. Raises Refused."""
    try:
        return model.model_validate_strings(dict(values))
    except ValidationError as error:
        raise _invalid(error, "query") from None


def json_body(model: type[BaseModel], content: bytes) -> BaseModel:
    """A body as its model. Raises Refused."""
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        if any(each["type"] == "json_invalid" for each in error.errors(include_url=False)):
            raise Refused(Problem.BAD_REQUEST, "The body is no valid JSON.") from None
        raise _invalid(error, "body") from None


def form_body(model: type[BaseModel], values: Mapping[str, Any]) -> BaseModel:
    """The fields of a form, which are all text, as a body's model. Raises Refused."""
    try:
        return model.model_validate(dict(values), strict=False)
    except ValidationError as error:
        raise _invalid(error, "body") from None


def _invalid(error: ValidationError, where: str) -> Refused:
    """Every field that is wrong; never its value, which may be a secret."""
    errors = tuple(
        FieldError(
            field=".".join([where, *(_readable(part) for part in each["loc"])]),
            message=_said(each),
        )
        for each in error.errors(include_url=False, include_input=False)
    )[:ERRORS_AT_MOST]
    return Refused(Problem.INVALID, f"{errors[0].field}: {errors[0].message}", errors=errors)


def _said(error: ErrorDetails) -> str:
    """What is wrong, for people who know nothing of patterns."""
    if (pattern := error.get("ctx", {}).get("pattern")) in _PATTERNS:
        return _PATTERNS[pattern]
    return _WORDS.get(error["type"], error["msg"].removeprefix("Value error, "))


def _readable(part: int | str) -> str:
    return str(part) if isinstance(part, int) or _NAMES.fullmatch(part) else "(name)"
