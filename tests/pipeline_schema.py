"""The JSON Schema of pipeline files with all operators: made once, which takes half a second."""

from __future__ import annotations

from functools import cache

from jsonschema import Draft202012Validator

from rag.flow.yaml.schema import schema


@cache
def validator() -> Draft202012Validator:
    """What says whether a pipeline file fits it."""
    return Draft202012Validator(schema())
