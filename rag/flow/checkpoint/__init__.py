"""Runs that survive: what each step wrote is kept, and a run goes on where it stopped."""

from rag.flow.checkpoint.checkpoints import Checkpoints
from rag.flow.checkpoint.store import RunRecord, StepRecord

__all__ = ["Checkpoints", "RunRecord", "StepRecord"]
