"""What a write changed, as it goes over the wire: for tables that give it whole, so that nothing else may change."""

from typing import Any

from klipstream_api.meta import WireModel


def changes(before: WireModel, after: WireModel) -> dict[str, Any]:
    """The fields that differ, None where one went away, without the messages for people.

    Conditions are told by type as (status, reason, since), attempts as what differs in each by its number. What was
    written must be readable again, and must not have lost a field of the status on the way.
    """
    old, new = before.to_wire(), after.to_wire()
    assert type(after).model_validate(new) == after, "what is written can be read"
    found = {key: new.get(key) for key in {**old, **new} if old.get(key) != new.get(key)}
    if "conditions" in found:
        earlier = {each["type"]: each for each in old["conditions"]}
        found["conditions"] = {
            each["type"]: (each["status"], each["reason"], each.get("lastTransitionTime"))
            for each in new["conditions"]
            if each != earlier.get(each["type"])
        } | {gone: None for gone in earlier if gone not in {each["type"] for each in new["conditions"]}}
    if "attempts" in found:
        earlier = {each["attempt"]: each for each in old["attempts"]}
        found["attempts"] = {
            each["attempt"]: {
                key: value
                for key, value in each.items()
                if key != "message" and earlier.get(each["attempt"], {}).get(key) != value
            }
            for each in new["attempts"]
            if each != earlier.get(each["attempt"])
        } | {gone: None for gone in earlier if gone not in {each["attempt"] for each in new["attempts"]}}
    return found
