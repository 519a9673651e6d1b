"""The benchmarks' flows fit together: an operator's new field is noticed before they run."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from rag.flow import load_flow

PLACE = Path(__file__).parents[2] / "benchmarks" / "operators.py"
FLOWS: dict[str, Any] = runpy.run_path(str(PLACE))


@pytest.mark.parametrize("kind", ["RANKINGS", "ANSWERS"])
def test_they_fit_together(kind: str) -> None:
    for name, steps in FLOWS[kind].items():
        flow = load_flow(FLOWS["pipeline"](name, steps))
        assert ("answer" in flow.output_types) == (kind == "ANSWERS")
        assert "documents" in flow.output_types
