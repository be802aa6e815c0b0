"""What all our custom resources share: camelCase fields on the wire, metadata, conditions."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer
from pydantic.alias_generators import to_camel


def rfc3339(moment: datetime) -> str:
    """A moment as Kubernetes writes it, in UTC and to the millisecond: 2026-01-02T03:04:05.678Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def whole_milliseconds(moment: datetime) -> datetime:
    """The moment that rfc3339 writes."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


Time = Annotated[datetime, PlainSerializer(rfc3339, return_type=str, when_used="json")]
"""A moment in UTC; RFC 3339 on the wire."""


class WireModel(BaseModel):
    """A frozen piece of a custom resource; unknown fields are ignored, as an older operator must."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        extra="ignore",
        use_attribute_docstrings=True,
    )

    def __eq__(self, other: object) -> bool:
        """Whether all fields are equal; pydantic's own comparison also provides for what no model of ours has."""
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def to_wire(self, only: set[str] | None = None) -> dict[str, Any]:
        """The object, or only some of its fields, as it goes over the wire: camelCase, absent where None."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True, include=only)


_NO_FIELDS: set[str] = set()
_Part = TypeVar("_Part", bound=WireModel)


def compact(part: _Part, **changed: object) -> _Part:
    """The same, but for what is changed, in a third of the memory, for what is kept by the hundred thousand.

    Python keeps the values of objects whose attributes are set one by one, in the same order, beside one table of names
    for all of them; pydantic gives each object a dict of its own. And which fields were given, a set for each object,
    is forgotten: nothing of ours asks for it, since what goes over the wire is what is not None. A copy gets its own.
    """
    put, same = object.__setattr__, type(part).__new__(type(part))
    for name, value in part.__dict__.items():
        put(same, name, changed.get(name, value))
    put(same, "__pydantic_fields_set__", _NO_FIELDS)
    put(same, "__pydantic_extra__", None)
    put(same, "__pydantic_private__", None)
    return same


class ObjectMeta(WireModel):
    """The part of Kubernetes' ObjectMeta that we read."""

    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = "0"
    generation: int = 0
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class Condition(WireModel):
    """A Kubernetes condition; the message says what happened and what to do next."""

    type: Annotated[str, Field(max_length=64)]
    """Name of the condition, such as Finished."""
    status: Literal["True", "False", "Unknown"]
    """True, False or Unknown."""
    reason: Annotated[str, Field(max_length=128)] = ""
    """One CamelCase word for programs."""
    message: Annotated[str, Field(max_length=2048)] = ""
    """A sentence for people: what happened and what to do."""
    last_transition_time: Time | None = None
    """When status last changed."""


Conditions = Annotated[
    tuple[Condition, ...],
    Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
]
"""Conditions by type, each type once."""


def with_condition(
    conditions: tuple[Condition, ...],
    type_: str,
    status: Literal["True", "False", "Unknown"],
    reason: str,
    message: str,
    now: datetime,
) -> tuple[Condition, ...]:
    """The conditions with one of them set; its transition time moves only when its status changes."""
    before = next((c for c in conditions if c.type == type_), None)
    if before is not None and (before.status, before.reason, before.message) == (status, reason, message):
        return (*(c for c in conditions if c is not before), before)
    since = before.last_transition_time if before is not None and before.status == status else now
    after = Condition(type=type_, status=status, reason=reason, message=message[:2048], last_transition_time=since)
    return (*(c for c in conditions if c.type != type_), after)


def condition(conditions: tuple[Condition, ...], type_: str) -> Condition | None:
    """The condition of that type, if it was ever set."""
    return next((c for c in conditions if c.type == type_), None)
