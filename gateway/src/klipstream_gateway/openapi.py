"""OpenAPI 3.1 of the registry: `python -m klipstream_gateway.openapi FILE` writes it."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from klipstream_gateway.problems import MEDIA_TYPE, Problem, ProblemBody
from klipstream_gateway.routes import PATH_PARAMETERS, Route, path_names

Schema = dict[str, Any]
VERSION = "1.0.0"
DESCRIPTION = """\
Submit videos for analysis, follow them, and run the queue.

**Credentials.** `Authorization: Bearer KEY` with an API key (`klip_…`), or with a Kubernetes token. A key has scopes:
`submit` takes part (submit, cancel, retry, change priorities), `read` sees jobs, `admin` does everything. The status of
a job and the queue's figures need none.

**Limits.** Requests a minute, for each key, or each address without one: status 100, submission 10, changes 60,
administration 5. Every answer says where you stand (`RateLimit`, `RateLimit-Policy`); 429 comes with `Retry-After`.

**Problems.** Everything that is no success is an RFC 9457 problem. Programs look at `code`, which stays; people read
`detail`. `GET /api/v1/problems` lists all codes.

**Repeating.** Send an `Idempotency-Key` with a submission, and it can be sent again after a lost answer. All other
operations can be repeated as they are.
"""
TAGS = {
    "Jobs": "Submit, look at and change jobs.",
    "Queues": "What the queues do.",
    "Events": "Server-sent events.",
    "Dead letters": "What failed for good.",
    "Administration": "Run the queue; needs the scope admin.",
    "About": "The gateway itself.",
}
RATE_HEADERS: Schema = {
    "RateLimit": {"description": "Requests that are left, and seconds until the window ends.",
                  "schema": {"type": "string", "examples": ['"status";r=99;t=60']}},
    "RateLimit-Policy": {"description": "Requests in a window, and its seconds.",
                         "schema": {"type": "string", "examples": ['"status";q=100;w=60']}},
}  # fmt: skip
REQUEST_ID: Schema = {
    "X-Request-Id": {"description": "Names the request in the gateway's log.", "schema": {"type": "string"}}
}
RETRY_AFTER: Schema = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}}

LINKS = {
    "getJobStatus": "The state of the job, for everybody who knows its id.",
    "getJob": "The job with all that its owner may know.",
    "setJobPriority": "Another priority while it waits.",
    "cancelJob": "Cancel it.",
    "retryJob": "Run it again once it has failed.",
}


def document(routes: Sequence[Route]) -> Schema:
    """The whole description."""
    models = _models(routes)
    _, definitions = models_json_schema(models, ref_template="#/components/schemas/{model}")
    paths: Schema = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "KlipStream analysis queue",
            "version": VERSION,
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "This gateway"}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(definitions["$defs"].items())),
            "responses": _problem_responses(routes),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "An API key or a Kubernetes token."}
            },
        },
    }


def _models(routes: Sequence[Route]) -> list[Any]:
    found: dict[tuple[type[BaseModel], str], None] = {(ProblemBody, "serialization"): None}
    for route in routes:
        if route.body is not None:
            found[(route.body, "validation")] = None
        for answer in route.answers.values():
            if isinstance(answer, type):
                found[(answer, "serialization")] = None
    return list(found)


def _operation(route: Route) -> Schema:
    operation: Schema = {
        "operationId": route.operation,
        "tags": [route.tag],
        "summary": route.summary,
        "description": route.description,
        "security": [{"bearer": []}] if route.scope is not None else [{}, {"bearer": []}],
        "responses": _responses(route),
    }
    if route.scope is not None:
        operation["x-scope"] = route.scope.value
    if parameters := _parameters(route):
        operation["parameters"] = parameters
    if route.body is not None:
        content = {"application/json": {"schema": _reference(route.body)}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _parameters(route: Route) -> list[Schema]:
    parameters: list[Schema] = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": PATH_PARAMETERS[name].description,
            "schema": {"type": "string", "pattern": PATH_PARAMETERS[name].pattern},
        }
        for name in path_names(route.path)
    ]
    if route.query is not None:
        schema = route.query.model_json_schema(ref_template="#/components/schemas/{model}")
        definitions = schema.get("$defs", {})
        for name, field in schema["properties"].items():
            plain = _inlined(field, definitions)
            text = plain.pop("description", "")
            parameters.append({"name": name, "in": "query", "required": False, "description": text, "schema": plain})
    for name, header in route.headers.items():
        header_schema = {"type": "string", "pattern": header.pattern, "maxLength": header.longest}
        parameters.append(
            {
                "name": name,
                "in": "header",
                "required": False,
                "description": header.description,
                "schema": header_schema,
            }
        )
    return parameters


def _inlined(field: Schema, definitions: Schema) -> Schema:
    """The schema of a query parameter: what is absent is left out and never null."""
    choices = [each for each in field.get("anyOf", [field]) if each.get("type") != "null"]
    assert len(choices) == 1, f"a query parameter of one kind, not {field}"
    (schema,) = choices
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    kept = {key: value for key, value in schema.items() if key not in ("title", "description", "default")}
    default = {"default": field["default"]} if field.get("default") is not None else {}
    return kept | default | ({"description": field["description"]} if "description" in field else {})


def _responses(route: Route) -> Schema:
    responses: Schema = {}
    limits = RATE_HEADERS if route.rate is not None else {}
    for status, answer in route.answers.items():
        if isinstance(answer, type):
            content = {"application/json": {"schema": _reference(answer)}}
        else:
            content = {answer: {"schema": {"type": "string"}}} if answer is not None else {}
        headers: Schema = dict(REQUEST_ID | limits)
        if status == 202 and route.operation == "submitAnalysis":
            headers["Location"] = {"description": "The job's path.", "schema": {"type": "string"}}
            headers["Idempotency-Replayed"] = {
                "description": "true where the job was there already.", "schema": {"type": "string", "enum": ["true"]},
            }  # fmt: skip
        responses[str(status)] = {
            "description": route.summary,
            "headers": headers,
        } | ({"content": content} if content else {})
        if route.operation == "submitAnalysis":
            job_id = {"job_id": "$response.body#/job_id"}
            responses[str(status)]["links"] = {
                name: {"operationId": name, "description": text, "parameters": job_id} for name, text in LINKS.items()
            }
    for status, problems in sorted(_by_status(route).items()):
        responses[str(status)] = {"$ref": f"#/components/responses/{_response_name(problems)}"}
    return responses


def _by_status(route: Route) -> dict[int, list[Problem]]:
    found: dict[int, list[Problem]] = {}
    for problem in route.all_problems:
        found.setdefault(problem.status, []).append(problem)
    return found


def _response_name(problems: Sequence[Problem]) -> str:
    return "-or-".join(each.value.code for each in problems)


def _problem_responses(routes: Sequence[Route]) -> Schema:
    """What several operations answer alike, by name."""
    found: Schema = {}
    for route in routes:
        for status, problems in _by_status(route).items():
            headers: Schema = dict(REQUEST_ID)
            if status == 429:
                headers |= RETRY_AFTER | RATE_HEADERS
            found[_response_name(problems)] = {
                "description": "\n\n".join(
                    f"`{each.value.code}`: {each.value.title}. {each.value.advice}" for each in problems
                ),
                "headers": headers,
                "content": {MEDIA_TYPE: {"schema": _reference(ProblemBody)}},
            }
    return dict(sorted(found.items()))


def _reference(model: type[BaseModel]) -> Schema:
    name = model.model_config.get("title") or model.__name__
    return {"$ref": f"#/components/schemas/{'ProblemBody' if model is ProblemBody else name}"}


def text(routes: Sequence[Route]) -> str:
    """As it is kept in docs/ and served."""
    return json.dumps(document(routes), indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    """Write the description into the file named."""
    from klipstream_gateway.blueprint import blueprint

    Path(sys.argv[1]).write_text(text(blueprint()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
