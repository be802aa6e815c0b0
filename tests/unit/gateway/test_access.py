"""Whose credentials count, and for what."""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from klipstream_gateway.access import Access
from klipstream_gateway.keys import KeyFolder, StoredKey, new_key
from klipstream_gateway.problems import Problem, Refused
from klipstream_gateway.routes import Principal, Scope

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_key_of_a_tenant_cannot_be_an_administrators() -> None:
    with pytest.raises(ValidationError, match="cannot have the scope admin"):
        new_key("red", (Scope.READ, Scope.ADMIN), "red", None, NOW)


@pytest.mark.parametrize(("scopes", "tenant"), [((Scope.SUBMIT, Scope.READ), "red"), ((Scope.ADMIN,), None)])
def test_each_alone_is_a_key(scopes: tuple[Scope, ...], tenant: str | None) -> None:
    _, stored = new_key("each", scopes, tenant, None, NOW)
    assert StoredKey.model_validate_json(stored.model_dump_json()) == stored


async def test_a_key_with_both_that_was_stored_before_opens_nothing(tmp_path: Path) -> None:
    key_id, secret = "0123456789ab", "s" * 43
    stored = {"id": key_id, "name": "both", "sha256": hashlib.sha256(secret.encode()).hexdigest(),
              "scopes": ["admin"], "tenant": "red", "created": NOW.isoformat()}  # fmt: skip
    (tmp_path / f"{key_id}.json").write_text(json.dumps(stored))
    access = Access(KeyFolder(tmp_path), None)
    assert await access.principal(f"Bearer klip_{key_id}_{secret}") is None


@pytest.mark.parametrize("scope", list(Scope))
def test_whoever_is_both_is_refused_everything_that_needs_a_scope(scope: Scope) -> None:
    both = Principal("key:both", frozenset([Scope.ADMIN]), "red")
    with pytest.raises(Refused) as refused:
        Access(KeyFolder(None), None).allow(both, scope)
    assert refused.value.problem is Problem.FORBIDDEN
