"""The files in `deploy/`, read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

DEPLOY = Path(__file__).parents[2] / "deploy"


def text(name: str) -> str:
    return (DEPLOY / name).read_text(encoding="utf-8")


def documents(name: str) -> list[Any]:
    return list(YAML(typ="safe", pure=True).load_all(text(name)))


def compose() -> Any:
    (found,) = documents("compose.yaml")
    return found


def kubernetes(kind: str, name: str = "rag") -> Any:
    (found,) = [
        one
        for one in documents("kubernetes.yaml")
        if (one["kind"], one["metadata"]["name"]) == (kind, name)
    ]
    return found


def pod() -> Any:
    return kubernetes("Deployment")["spec"]["template"]["spec"]


def unit() -> dict[str, list[str]]:
    """The lines of the systemd unit: key to values."""
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", text("rag-serve.service"), re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


def image_environment() -> dict[str, str]:
    """What the image sets."""
    (block,) = re.findall(r"^ENV (PATH=(?:.*\\\n)*.*)$", text("Dockerfile"), re.MULTILINE)
    return dict(re.findall(r"(\w+)=(\S+)", block))


def seconds(duration: object) -> float:
    match = re.fullmatch(r"(\d+)(m?s)?", str(duration))
    assert match
    return float(match[1]) / (1000 if match[2] == "ms" else 1)
