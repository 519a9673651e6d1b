"""The bricks: operators by module of Modular RAG (arXiv 2407.21059, section 4).

`CATALOGUE` is what pipeline files may name. A class is imported when it is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rag.operators.generation.cite import Cite
    from rag.operators.generation.compose import MapReduce, Refine, Replug, StructuredAnswer
    from rag.operators.generation.critique import Critique
    from rag.operators.generation.flare import AppendSentence, MaskDoubt, NextSentence
    from rag.operators.generation.generate import Generate
    from rag.operators.generation.verify import Abstain, Verify, VerifyLLM, VerifyNLI
    from rag.operators.indexing.describe import Describe
    from rag.operators.indexing.label import Label
    from rag.operators.indexing.load import Load
    from rag.operators.indexing.split import Split
    from rag.operators.indexing.write_index import WriteIndex
    from rag.operators.orchestration.fusion import RRF, LLMFusion, RankAnswers, Vote, Weighted
    from rag.operators.orchestration.judges import (
        ConfidenceJudge,
        GradeDocuments,
        KnowledgeJudge,
        LLMJudge,
        RuleJudge,
    )
    from rag.operators.orchestration.routing import (
        RouteByMetadata,
        RouteHybrid,
        RouteLLM,
        RouteSemantic,
    )
    from rag.operators.post_retrieval.compress import Compress
    from rag.operators.post_retrieval.dedupe import Dedupe, DedupeSemantic
    from rag.operators.post_retrieval.extract import Extract
    from rag.operators.post_retrieval.llm_rerank import ListwiseRerank, PointwiseRerank
    from rag.operators.post_retrieval.mmr import MMR
    from rag.operators.post_retrieval.pack import Pack
    from rag.operators.post_retrieval.reorder import Reorder
    from rag.operators.post_retrieval.rerank import CrossRerank, Rerank
    from rag.operators.post_retrieval.rule_rerank import RuleRerank
    from rag.operators.post_retrieval.threshold import Threshold
    from rag.operators.pre_retrieval.condense_query import CondenseQuery
    from rag.operators.pre_retrieval.construct import ConstructQuery
    from rag.operators.pre_retrieval.decompose import Clarify, Decompose, VerificationQueries
    from rag.operators.pre_retrieval.hyde import HyDE
    from rag.operators.pre_retrieval.rewrite import ExtendQuery, MultiQuery, Rewrite, StepBack
    from rag.operators.pre_retrieval.sql import TextToSQL
    from rag.operators.retrieval.dense import Dense
    from rag.operators.retrieval.expand import Neighbours, Parents
    from rag.operators.retrieval.external import External
    from rag.operators.retrieval.hybrid import Hybrid
    from rag.operators.retrieval.late import MaxSim
    from rag.operators.retrieval.learned import LearnedSparse
    from rag.operators.retrieval.sparse import BM25
    from rag.operators.retrieval.sql import SQL

CATALOGUE = {
    "abstain": "rag.operators.generation.verify:Abstain",
    "append_sentence": "rag.operators.generation.flare:AppendSentence",
    "bm25": "rag.operators.retrieval.sparse:BM25",
    "cite": "rag.operators.generation.cite:Cite",
    "clarify": "rag.operators.pre_retrieval.decompose:Clarify",
    "compress": "rag.operators.post_retrieval.compress:Compress",
    "condense_query": "rag.operators.pre_retrieval.condense_query:CondenseQuery",
    "confidence_judge": "rag.operators.orchestration.judges:ConfidenceJudge",
    "construct_query": "rag.operators.pre_retrieval.construct:ConstructQuery",
    "critique": "rag.operators.generation.critique:Critique",
    "cross_rerank": "rag.operators.post_retrieval.rerank:CrossRerank",
    "decompose": "rag.operators.pre_retrieval.decompose:Decompose",
    "dedupe": "rag.operators.post_retrieval.dedupe:Dedupe",
    "dedupe_semantic": "rag.operators.post_retrieval.dedupe:DedupeSemantic",
    "dense": "rag.operators.retrieval.dense:Dense",
    "describe": "rag.operators.indexing.describe:Describe",
    "extend_query": "rag.operators.pre_retrieval.rewrite:ExtendQuery",
    "external": "rag.operators.retrieval.external:External",
    "extract": "rag.operators.post_retrieval.extract:Extract",
    "generate": "rag.operators.generation.generate:Generate",
    "grade_documents": "rag.operators.orchestration.judges:GradeDocuments",
    "hybrid": "rag.operators.retrieval.hybrid:Hybrid",
    "hyde": "rag.operators.pre_retrieval.hyde:HyDE",
    "knowledge_judge": "rag.operators.orchestration.judges:KnowledgeJudge",
    "label": "rag.operators.indexing.label:Label",
    "learned_sparse": "rag.operators.retrieval.learned:LearnedSparse",
    "listwise_rerank": "rag.operators.post_retrieval.llm_rerank:ListwiseRerank",
    "llm_fusion": "rag.operators.orchestration.fusion:LLMFusion",
    "llm_judge": "rag.operators.orchestration.judges:LLMJudge",
    "load": "rag.operators.indexing.load:Load",
    "map_reduce": "rag.operators.generation.compose:MapReduce",
    "mask_doubt": "rag.operators.generation.flare:MaskDoubt",
    "max_sim": "rag.operators.retrieval.late:MaxSim",
    "mmr": "rag.operators.post_retrieval.mmr:MMR",
    "multi_query": "rag.operators.pre_retrieval.rewrite:MultiQuery",
    "neighbours": "rag.operators.retrieval.expand:Neighbours",
    "next_sentence": "rag.operators.generation.flare:NextSentence",
    "pack": "rag.operators.post_retrieval.pack:Pack",
    "parents": "rag.operators.retrieval.expand:Parents",
    "pointwise_rerank": "rag.operators.post_retrieval.llm_rerank:PointwiseRerank",
    "rank_answers": "rag.operators.orchestration.fusion:RankAnswers",
    "refine": "rag.operators.generation.compose:Refine",
    "reorder": "rag.operators.post_retrieval.reorder:Reorder",
    "replug": "rag.operators.generation.compose:Replug",
    "rerank": "rag.operators.post_retrieval.rerank:Rerank",
    "rewrite": "rag.operators.pre_retrieval.rewrite:Rewrite",
    "route_by_metadata": "rag.operators.orchestration.routing:RouteByMetadata",
    "route_hybrid": "rag.operators.orchestration.routing:RouteHybrid",
    "route_llm": "rag.operators.orchestration.routing:RouteLLM",
    "route_semantic": "rag.operators.orchestration.routing:RouteSemantic",
    "rrf": "rag.operators.orchestration.fusion:RRF",
    "rule_judge": "rag.operators.orchestration.judges:RuleJudge",
    "rule_rerank": "rag.operators.post_retrieval.rule_rerank:RuleRerank",
    "split": "rag.operators.indexing.split:Split",
    "sql": "rag.operators.retrieval.sql:SQL",
    "step_back": "rag.operators.pre_retrieval.rewrite:StepBack",
    "structured_answer": "rag.operators.generation.compose:StructuredAnswer",
    "text_to_sql": "rag.operators.pre_retrieval.sql:TextToSQL",
    "threshold": "rag.operators.post_retrieval.threshold:Threshold",
    "verification_queries": "rag.operators.pre_retrieval.decompose:VerificationQueries",
    "verify": "rag.operators.generation.verify:Verify",
    "verify_llm": "rag.operators.generation.verify:VerifyLLM",
    "verify_nli": "rag.operators.generation.verify:VerifyNLI",
    "vote": "rag.operators.orchestration.fusion:Vote",
    "weighted": "rag.operators.orchestration.fusion:Weighted",
    "write_index": "rag.operators.indexing.write_index:WriteIndex",
}
"""Name in pipeline files to `module:Class`."""

__all__ = [
    "BM25",
    "CATALOGUE",
    "MMR",
    "RRF",
    "SQL",
    "Abstain",
    "AppendSentence",
    "Cite",
    "Clarify",
    "Compress",
    "CondenseQuery",
    "ConfidenceJudge",
    "ConstructQuery",
    "Critique",
    "CrossRerank",
    "Decompose",
    "Dedupe",
    "DedupeSemantic",
    "Dense",
    "Describe",
    "ExtendQuery",
    "External",
    "Extract",
    "Generate",
    "GradeDocuments",
    "HyDE",
    "Hybrid",
    "KnowledgeJudge",
    "LLMFusion",
    "LLMJudge",
    "Label",
    "LearnedSparse",
    "ListwiseRerank",
    "Load",
    "MapReduce",
    "MaskDoubt",
    "MaxSim",
    "MultiQuery",
    "Neighbours",
    "NextSentence",
    "Pack",
    "Parents",
    "PointwiseRerank",
    "RankAnswers",
    "Refine",
    "Reorder",
    "Replug",
    "Rerank",
    "Rewrite",
    "RouteByMetadata",
    "RouteHybrid",
    "RouteLLM",
    "RouteSemantic",
    "RuleJudge",
    "RuleRerank",
    "Split",
    "StepBack",
    "StructuredAnswer",
    "TextToSQL",
    "Threshold",
    "VerificationQueries",
    "Verify",
    "VerifyLLM",
    "VerifyNLI",
    "Vote",
    "Weighted",
    "WriteIndex",
]


def __getattr__(name: str) -> Any:
    for where in CATALOGUE.values():
        module, _, attribute = where.partition(":")
        if attribute == name:
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'rag.operators' has no attribute {name!r}")
