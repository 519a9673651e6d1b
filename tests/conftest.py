"""What all tests share: the real small models, opened once, and no way to a hub."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# No test speaks TLS, but every HTTP client would read the 150 root certificates when it is made,
# which takes longer than the request that it sends. In this folder there are none.
os.environ.pop("SSL_CERT_FILE", None)
os.environ["SSL_CERT_DIR"] = str(Path(__file__).parent)

from hypothesis import settings

from rag.models import LLM, Embedder

settings.register_profile("rag", deadline=None)  # a busy machine is slow without being wrong
settings.load_profile("rag")

# The models that come with the package: read once in a process, however often they are opened.
LLM.opener, Embedder.opener = "tests.opened:open_llm", "tests.opened:open_embedder"


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    """The default embedder."""
    return Embedder.load(Embedder.default, base=Path())


@pytest.fixture(scope="session")
def llm() -> LLM:
    """The default language model."""
    return LLM.load(LLM.default, base=Path())


# The files that took longest in the last run come first: two processes that share the files then
# end together. (--no-loadscope-reorder keeps the order.)

SECONDS = "rag/seconds"
"""In pytest's cache: file to the seconds that its tests took."""
LONGEST = (Path(__file__).parent / "longest.txt").read_text().split()
"""The files that take longest, for a first run."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order the files; a file's tests stay together and in their order."""
    cache = getattr(config, "cache", None)  # none with `-p no:cacheprovider`
    known = cache.get(SECONDS, {}) if cache else {}
    for rank, file in enumerate(reversed(LONGEST)):
        known.setdefault(file, float(rank))
    items.sort(key=lambda item: -known.get(item.nodeid.split("::")[0], 0.0))


def pytest_configure(config: pytest.Config) -> None:
    """Note what the files take, in the process that sees all reports."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Seconds(config))


class _Seconds:
    def __init__(self, config: pytest.Config) -> None:
        self._config, self._took = config, dict[str, float]()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        file = report.nodeid.split("::")[0]
        self._took[file] = round(self._took.get(file, 0.0) + report.duration, 1)

    def pytest_sessionfinish(self) -> None:
        if cache := getattr(self._config, "cache", None):
            cache.set(SECONDS, {**cache.get(SECONDS, {}), **self._took})
