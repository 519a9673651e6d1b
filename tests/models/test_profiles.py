"""What is known of a model by its name, class and size; what a pipeline sets instead."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel

from rag.errors import ConfigError
from rag.models import LLM
from rag.models.profiles import REASONING, Profile, hosted, local
from rag.prompts.templates import prompt_set, prompts


class Asks(BaseModel):
    """A chat model's class whose requests may ask for log-probabilities."""

    logprobs: bool | None = None


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("gpt-4o", {"size": "strong", "structured": True, "reasoning": 0, "logprobs": True}),
        ("o3-mini", {"reasoning": REASONING, "temperature": False, "logprobs": False}),
        ("gpt-5", {"reasoning": REASONING, "temperature": False, "window": 200_000}),
        ("claude-opus-4", {"size": "strong", "window": 200_000}),
        ("gemini-2.5-pro", {"window": 1_000_000}),
        ("Qwen/Qwen3-8B", {"size": "strong", "reasoning": REASONING, "logprobs": True}),
        ("qwen2.5:0.5b", {"size": "small", "reasoning": 0}),
        ("meta-llama/Llama-3.2-1B-Instruct", {"size": "small"}),
        ("mixtral-8x7b", {"size": "strong", "window": 32_768}),
        ("SmolLM2-360M-Instruct", {"size": "small"}),
        ("our-own-deployment", {"size": "strong", "window": None}),
    ],
)
def test_a_hosted_model_by_its_name(name: str, facts: dict[str, Any]) -> None:
    profile = hosted(name, Asks())
    assert {field: getattr(profile, field) for field in facts} == facts


def test_what_langchain_knows_counts_more_than_a_name() -> None:
    class Known(Asks):
        profile: dict[str, Any] = {
            "max_input_tokens": 9000, "reasoning_output": False, "structured_output": False,
            "temperature": True,
        }  # fmt: skip

    profile = hosted("gpt-5-chat", Known())
    assert (profile.window, profile.reasoning, profile.structured) == (9000, 0, False)
    assert profile.temperature is True


def test_thinking_that_is_switched_on_takes_its_budget() -> None:
    model = SimpleNamespace(thinking={"type": "enabled", "budget_tokens": 3000})
    profile = hosted("claude-sonnet-4-5", model)
    assert (profile.reasoning, profile.temperature) == (3000, False)
    off = SimpleNamespace(thinking={"type": "disabled"})
    assert hosted("claude-sonnet-4-5", off).reasoning == 0


@pytest.mark.parametrize(
    ("name", "config", "size"),
    [
        ("my-model", {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
                      "vocab_size": 49152}, "small"),
        ("my-model", {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
                      "vocab_size": 128256}, "strong"),
        ("qwen2.5-7b", {"hidden_size": 8}, "strong"),
    ],
)  # fmt: skip
def test_a_local_model_by_its_parameters(name: str, config: dict[str, int], size: str) -> None:
    profile = local(name, SimpleNamespace(**config))
    assert (profile.size, profile.reasoning) == (size, 0)


def test_the_default_model_is_small(llm: LLM) -> None:
    assert llm.profile.size == "small"
    assert llm.prompt_set == prompts()
    assert not getattr(llm, "template").opens_reasoning  # noqa: B009


def test_a_pipeline_sets_some_of_it() -> None:
    known = hosted("gpt-4o", Asks())
    changed = known.but(Profile(window=5000, reasoning=True))  # type: ignore[arg-type]
    assert (changed.window, changed.reasoning) == (5000, REASONING)
    assert changed.structured is True
    assert known.but(None) == known


def test_a_strong_model_may_write_more() -> None:
    assert Profile(size="small").allowance(24) == 24
    assert Profile(size="strong").allowance(24) == 512
    assert Profile(size="strong").allowance(128) == 1024


def test_a_file_of_prompts_replaces_some(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("generate: Answer in Latin.\nrewrite: {version: 3, text: Shorten it.}\n")
    for size in ("small", "strong"):
        profile = Profile(size=size).but(Profile(prompts="mine.yaml"), tmp_path)  # type: ignore[arg-type]
        assert profile.prompt_set["generate"].text == "Answer in Latin."
        assert profile.prompt_set["rewrite"].version == 3
        assert profile.prompt_set["critique"] == prompt_set(size)["critique"]
    file.write_text("generate: Answer in Greek.\n# longer\n")
    assert profile.prompt_set["generate"].text == "Answer in Greek."


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("genrate: x", "did you mean 'generate'"),
        ("layout_sources: x", "no prompt that can be replaced"),
        ("- a", "no file of prompts"),
        ("generate: {version: 1}", "no file of prompts"),
        ("a: [", "no file of prompts"),
        ("generate: one\ngenerate: two", "duplicate key"),
    ],
)
def test_a_wrong_file_of_prompts_is_an_error(text: str, what: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ConfigError, match=what):
        Profile().but(Profile(prompts="mine.yaml"), tmp_path)
    with pytest.raises(ConfigError, match="cannot be read"):
        Profile().but(Profile(prompts="none.yaml"), tmp_path)


def test_each_strong_text_replaces_one_and_keeps_its_placeholders() -> None:
    import re

    strong = prompt_set("strong")
    assert strong.keys() == prompts().keys()
    for name, template in strong.items():
        placeholders = set(re.findall(r"\{(\w+)\}", prompts()[name].text))
        assert set(re.findall(r"\{(\w+)\}", template.text)) == placeholders
    assert sum(strong[name] != prompts()[name] for name in strong) > 15
