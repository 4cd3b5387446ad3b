"""The published description of the API (OpenAPI), completed: tokens, errors, and what forms can hold.

Knows the framework's description and the dialects' error bodies; nothing of what the routes do.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from engine import BadValue
from routers.refusals import Shape

FORM = "multipart/form-data"
UNUSED = (
    "HTTPValidationError",
    "ValidationError",
)  # the framework's; a dialect says it in its own words
ERRORS = {
    "4XX": "Refused; the body says why, in this dialect's words.",
    "5XX": "Failed, or not available just now; `Retry-After` says when to try again.",
}


def describe(
    schema: dict[str, Any], shape_of: Callable[[str], Shape], free: Collection[str]
) -> dict[str, Any]:
    """The framework's description, with what it cannot know.

    Args:
        shape_of: the error body of a path's dialect; free: paths that need no token.
    """
    components = schema.setdefault("components", {})
    components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    for name in UNUSED:
        components.get("schemas", {}).pop(name, None)
    for path, operations in schema["paths"].items():
        refused = _described(shape_of(path)(BadValue("model: there is no such model.")))
        for operation in operations.values():
            operation["security"] = [] if path in free else [{"bearer": []}]
            answers = operation["responses"]
            answers.pop("422", None)
            for status, sentence in ERRORS.items():
                answers[status] = {
                    "description": sentence,
                    "content": {"application/json": {"schema": refused}},
                }
            form = operation.get("requestBody", {}).get("content", {}).get(FORM)
            if form is not None:
                _fit_to_form(_resolved(form["schema"], components))
    return schema


def _described(value: Any) -> dict[str, Any]:
    """The schema of an error body like this one."""
    if isinstance(value, dict):
        return {
            "type": "object",
            "properties": {key: _described(inner) for key, inner in value.items()},
            "required": sorted(value),
        }
    return (
        {"type": "string"}
        if value is not None
        else {"anyOf": [{"type": "string"}, {"type": "null"}]}
    )


def _resolved(schema: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    found: dict[str, Any] = components["schemas"][name] if name else schema
    return found


def _fit_to_form(schema: dict[str, Any]) -> None:
    """A form holds texts and files: no null, and a list that is required is not empty."""
    for name, field in schema.get("properties", {}).items():
        kinds = [kind for kind in field.get("anyOf", ()) if kind.get("type") != "null"]
        if len(kinds) == 1:
            del field["anyOf"]
            field.update(kinds[0])
        elif kinds:
            field["anyOf"] = kinds
        if field.get("type") == "array" and name in schema.get("required", ()):
            field["minItems"] = 1
