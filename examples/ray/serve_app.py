"""The endpoints as replicas on a Ray cluster, behind one address.

Replicas share the index (PostgreSQL), the stored states and the users' limits (Redis), and the
keys; each opens the models once. Runs and conversations are in one file of the folder `RAG_DATA`,
which all nodes must see.

rag ingest docs --config examples/ray/pipeline.yaml
serve run examples.ray.serve_app:app

RAG_INDEX=postgresql://..., RAG_REDIS=redis://..., RAG_DATA=FOLDER, RAG_KEYS=FILE (`rag keys add`),
RAG_REPLICAS=2
"""

import os
from pathlib import Path

from fastapi import FastAPI
from ray import serve

from rag import load_flow
from rag.serve import Settings
from rag.serve import app as endpoints

PIPELINE = Path(__file__).with_name("pipeline.yaml")


def build() -> FastAPI:
    """The application of one replica, made where it runs."""
    settings = Settings(data=Path(os.environ["RAG_DATA"]), redis=os.environ["RAG_REDIS"])
    keys = Path(os.environ["RAG_KEYS"])
    return endpoints(load_flow(PIPELINE), keys=keys, settings=settings)


@serve.deployment(
    num_replicas=int(os.environ.get("RAG_REPLICAS", "2")),
    ray_actor_options={"num_cpus": 1},
    # Questions beyond those that run wait in the server's own queue, which is fair between users.
    max_ongoing_requests=256,
)
@serve.ingress(build)
class Replica:
    """A replica."""


app = Replica.bind()
