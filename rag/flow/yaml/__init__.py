"""Pipeline files: YAML to flow and back.

Read by ruamel.yaml, which keeps the line of everything and builds no objects of its own.
"""

from rag.flow.yaml.dump import dump
from rag.flow.yaml.load import load_flow

__all__ = ["dump", "load_flow"]
