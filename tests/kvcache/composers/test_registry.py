"""Composers by name, and the settings that a pipeline gives them."""

from __future__ import annotations

import subprocess
import sys
from typing import ClassVar

import jsonschema  # type: ignore[import-untyped]
import pytest
import torch

from rag.errors import ConfigError
from rag.kvcache.buffer import KVBuffer
from rag.kvcache.composers.base import Composer
from rag.kvcache.composers.concat import Concat
from rag.kvcache.composers.epic import Epic
from rag.kvcache.composers.registry import composer, composers
from rag.kvcache.composition import Composition
from rag.kvcache.passes import Passes
from rag.kvcache.settings import ReuseSettings
from rag.operators import Generate
from tests.kvcache.helpers import CONTEXT, make_engine, prefill


def test_a_composer_is_registered_by_being_defined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Composer, "registered", dict(composers()))

    class Half(Concat):
        mode: ClassVar[str] = "half"
        offset: int = 0

        def choose(self, composition: Composition, buffer: KVBuffer) -> Passes[torch.Tensor]:
            yield from ()
            return torch.arange(self.offset, len(composition.layout.context), 2)

    engine = make_engine("llama")
    for _ in ("cold", "warm"):
        report = prefill(engine, "half", offset=1).report
    assert report.recomputed == len(CONTEXT) // 2
    assert composer("half") is Half


def test_the_packages_own_are_found_without_an_import() -> None:
    code = (
        "import sys; from rag.kvcache.settings import ReuseSettings; ReuseSettings('epic');"
        "from rag.kvcache.composers.registry import composers;"
        "print(*composers()); assert 'torch' not in sys.modules"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names = "align ape auto blend concat craft epic focus full parallel prefix random"
    assert found.stdout.split() == names.split()


def test_settings_are_the_composer_s_fields() -> None:
    settings = ReuseSettings("epic", first=3)
    assert settings.composer == Epic(first=3)
    assert ReuseSettings.model_validate({"mode": "epic", "first": 3}) == settings
    assert Generate(reuse={"mode": "epic", "first": 3}).reuse == settings
    assert ReuseSettings.model_validate(settings.model_dump()) == settings
    assert settings != ReuseSettings("epic", first=4)
    assert ReuseSettings().mode == "auto"


@pytest.mark.parametrize(
    ("given", "where", "what", "fix"),
    [
        ({"mode": "focuss"}, "reuse.mode", "'focuss'", "did you mean 'focus'"),
        ({"mode": "focus", "fracton": 0.1}, "reuse", "'fracton'", "did you mean 'fraction'"),
        ({"mode": "prefix", "temperature": 3}, "reuse", "'prefix' has no setting", "known: none"),
        ({"fraction": 2}, "reuse.fraction", "less than or equal to 1", "leave out 'fraction'"),
    ],
)
def test_what_is_wrong_is_said(given: dict[str, object], where: str, what: str, fix: str) -> None:
    for make in (
        lambda: ReuseSettings(**given),  # type: ignore[arg-type]
        lambda: Generate(reuse=given),
    ):
        with pytest.raises(ConfigError) as raised:
            make()
        assert raised.value.where == where
        assert what in raised.value.what
        assert fix in str(raised.value.fix)


def test_an_unknown_mode_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="known: align, ape, auto"):
        composer("zzz")


def test_the_json_schema_has_every_setting_once() -> None:
    schema = ReuseSettings.model_json_schema()
    assert set(schema["properties"]["mode"]["enum"]) == set(composers())
    text = schema["properties"]["fraction"]["description"]
    assert "align: share of the context recomputed after alignment" in text
    assert "blend, focus, random: share of the context recomputed;" in text
    assert "craft: share of the context recomputed at most" in text
    jsonschema.validate({"mode": "craft", "alpha": 0.5}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"mode": "craft", "alpa": 0.5}, schema)
