"""Conformance suites: base classes of tests, which a subclass runs for an implementation."""

from rag.errors import ConfigError

try:
    import pytest
except ImportError as error:
    raise ConfigError(
        "the conformance suites need pytest", where="rag.testing", fix="pip install pytest"
    ) from error

# Their assertions say what the values were.
_STORE = ("store", "store_fixtures", "store_searches", "store_writes")
for _name in ("composer", "embedder", "llm", "operator", "run_store", *_STORE, "tier"):
    pytest.register_assert_rewrite(f"{__name__}.{_name}")
