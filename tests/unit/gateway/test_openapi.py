"""The description of the REST API follows from the registry, and describes all of it."""

from pathlib import Path

import pytest
from openapi_spec_validator import validate

from klipstream_gateway.blueprint import blueprint
from klipstream_gateway.openapi import document, text
from klipstream_gateway.routes import PATH_PARAMETERS, path_names

ROOT = Path(__file__).resolve().parents[3]
ROUTES = blueprint()
DOCUMENT = document(ROUTES)


def test_the_committed_description_is_the_generated_one():
    assert (ROOT / "docs/openapi.json").read_text() == text(ROUTES), "run make openapi"


def test_the_description_is_valid_openapi():
    validate(DOCUMENT)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.operation)
def test_an_operation_is_described_for_people(route):
    assert len(route.description) > 20
    assert set(path_names(route.path)) <= PATH_PARAMETERS.keys()
    operation = DOCUMENT["paths"][route.path][route.method.lower()]
    for parameter in operation.get("parameters", []):
        assert parameter["description"], parameter["name"]


def test_names_and_paths_are_given_once():
    assert len({route.operation for route in ROUTES}) == len(ROUTES)
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)


def test_no_field_is_without_a_type():
    untyped = [
        f"{name}.{field}"
        for name, schema in DOCUMENT["components"]["schemas"].items()
        for field, value in schema.get("properties", {}).items()
        if not {"type", "$ref", "anyOf", "enum", "allOf"} & value.keys()
    ]
    assert untyped == []


def test_what_changes_something_is_audited_and_needs_credentials():
    for route in ROUTES:
        if route.method != "GET":
            assert route.audited, route.operation
            assert route.scope is not None, route.operation


def test_every_problem_of_an_operation_is_described_with_its_code():
    for route in ROUTES:
        responses = DOCUMENT["paths"][route.path][route.method.lower()]["responses"]
        for problem in route.all_problems:
            name = responses[str(problem.status)]["$ref"].rpartition("/")[2]
            assert f"`{problem.value.code}`" in DOCUMENT["components"]["responses"][name]["description"]
