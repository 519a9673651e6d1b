"""The JSON Schema of pipeline files, made once, which takes half a second.

jsonschema-rs, which comes with schemathesis, says a hundred times sooner than jsonschema what fits.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
from ruamel.yaml import YAML

from rag.flow.yaml.schema import schema


@cache
def validator() -> jsonschema_rs.Draft202012Validator:
    """What says whether a pipeline file fits, of whatever installed operators."""
    return jsonschema_rs.Draft202012Validator(schema())


def as_json(file: str | Path) -> Any:
    """A pipeline file as JSON, whose keys are text: a case `true` of a route is one."""
    return json.loads(json.dumps(YAML(typ="safe", pure=True).load(file)))
