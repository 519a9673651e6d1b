"""The JSON Schema of `tune:` in a pipeline file."""

from __future__ import annotations

from typing import Any

from rag.tune.dimensions import KINDS
from rag.tune.settings import MEASURES, Settings


def schema(node: dict[str, Any]) -> dict[str, Any]:
    """The schema of the value of `tune`.

    Args:
        node: The schema of a node of a flow.
    """
    made = Settings.model_json_schema(ref_template="#/properties/tune/$defs/{model}")
    fields = {key: _shown(key, field) for key, field in made["properties"].items()}
    number = {"type": "number"}
    value = {"type": ["string", "number", "boolean", "array", "object", "null"]}
    when = {
        "type": "object",
        "description": "the dimension counts only where others have one of these values",
    }
    step = {"anyOf": [node, {"type": "null"}]}
    dimension = {
        "anyOf": [
            {"type": "array", "minItems": 1, "items": {"anyOf": [step, value]}},
            {
                "type": "object",
                "required": ["low", "high"],
                "additionalProperties": False,
                "properties": {
                    "low": number, "high": number, "step": number,
                    "log": {"type": "boolean"}, "when": when,
                },
            },
            {
                "type": "object",
                "anyOf": [{"required": ["choose"]}, {"required": ["propose"]}],
                "additionalProperties": False,
                "properties": {
                    "choose": {"type": ["array", "object"]},
                    "when": when,
                    "propose": {"type": "integer", "minimum": 0},
                    "by": {"type": "string"},
                },
            },
        ]
    }  # fmt: skip
    space = {
        "type": "object",
        "minProperties": 1,
        "description": "what may be otherwise",
        "patternProperties": {rf"^({'|'.join(KINDS)})\.": dimension},
        "additionalProperties": False,
    }
    resources = {
        "type": "object",
        "description": "those that only alternatives use: name to what",
    }
    return {
        "type": "object",
        "description": "how `rag tune` searches for a better pipeline",
        "required": ["space"],
        "additionalProperties": False,
        "patternProperties": {"^x-": {}},
        "properties": {"space": space, "resources": resources, **fields},
        "$defs": made.get("$defs", {}),
    }


def _shown(key: str, field: dict[str, Any]) -> dict[str, Any]:
    """A field as it is written: one measure stands for a list of one, a number for a bound."""
    about = {"description": field["description"]} if "description" in field else {}
    measure = {"enum": list(MEASURES)}
    if key in ("maximise", "minimise"):
        return {**about, "anyOf": [measure, {"type": "array", "items": measure}]}
    if key == "constraints":
        bound = field["additionalProperties"]
        either = {"anyOf": [{"type": "number"}, bound]}
        return {**about, "type": "object", "propertyNames": measure, "additionalProperties": either}
    return field
