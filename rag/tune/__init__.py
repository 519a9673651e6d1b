"""Searching for the pipeline that is best for a data set: see docs/tuning.md."""

from rag.tune.dimensions import Choice, Range
from rag.tune.outcome import Outcome
from rag.tune.settings import Bound, Price, Settings
from rag.tune.space import Space
from rag.tune.tune import tune

__all__ = ["Bound", "Choice", "Outcome", "Price", "Range", "Settings", "Space", "tune"]
