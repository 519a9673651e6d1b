# Written by `python -m rag.operators.stub` (`make stubs`); do not edit.
from rag.operators.catalogue import CATALOGUE
from rag.operators.generation.abstain import Abstain
from rag.operators.generation.answer_candidates import AnswerCandidates
from rag.operators.generation.append_sentence import AppendSentence
from rag.operators.generation.append_turn import AppendTurn
from rag.operators.generation.cite import Cite
from rag.operators.generation.critique import Critique
from rag.operators.generation.generate import Generate
from rag.operators.generation.map_reduce import MapReduce
from rag.operators.generation.mask_low_confidence import MaskLowConfidence
from rag.operators.generation.next_sentence import NextSentence
from rag.operators.generation.quote import Quote
from rag.operators.generation.refine import Refine
from rag.operators.generation.replug import Replug
from rag.operators.generation.revise import Revise
from rag.operators.generation.structured_answer import StructuredAnswer
from rag.operators.generation.suggest_questions import SuggestQuestions
from rag.operators.generation.verify import Verify
from rag.operators.generation.verify_llm import VerifyLLM
from rag.operators.generation.verify_nli import VerifyNLI
from rag.operators.indexing.describe import Describe
from rag.operators.indexing.label import Label
from rag.operators.indexing.load import Load
from rag.operators.indexing.load_with import LoadWith
from rag.operators.indexing.split import Split
from rag.operators.indexing.summarise import Summarise
from rag.operators.indexing.write_index import WriteIndex
from rag.operators.orchestration.agent import Agent
from rag.operators.orchestration.answer_cache import AnswerCache
from rag.operators.orchestration.collect import Collect
from rag.operators.orchestration.confidence_judge import ConfidenceJudge
from rag.operators.orchestration.filter_answers import FilterAnswers
from rag.operators.orchestration.grade_documents import GradeDocuments
from rag.operators.orchestration.knowledge_judge import KnowledgeJudge
from rag.operators.orchestration.llm_fusion import LLMFusion
from rag.operators.orchestration.llm_judge import LLMJudge
from rag.operators.orchestration.rank_answers import RankAnswers
from rag.operators.orchestration.rank_candidates import RankCandidates
from rag.operators.orchestration.reflect import Reflect
from rag.operators.orchestration.route_by_metadata import RouteByMetadata
from rag.operators.orchestration.route_by_size import RouteBySize
from rag.operators.orchestration.route_hybrid import RouteHybrid
from rag.operators.orchestration.route_llm import RouteLLM
from rag.operators.orchestration.route_semantic import RouteSemantic
from rag.operators.orchestration.rrf import RRF
from rag.operators.orchestration.rule_judge import RuleJudge
from rag.operators.orchestration.vote import Vote
from rag.operators.orchestration.weighted_sum import WeightedSum
from rag.operators.post_retrieval.compress import Compress
from rag.operators.post_retrieval.compress_by_question import CompressByQuestion
from rag.operators.post_retrieval.cross_rerank import CrossRerank
from rag.operators.post_retrieval.dedupe import Dedupe
from rag.operators.post_retrieval.dedupe_semantic import DedupeSemantic
from rag.operators.post_retrieval.listwise_rerank import ListwiseRerank
from rag.operators.post_retrieval.mmr import MMR
from rag.operators.post_retrieval.order_for_reuse import OrderForReuse
from rag.operators.post_retrieval.pack import Pack
from rag.operators.post_retrieval.pointwise_rerank import PointwiseRerank
from rag.operators.post_retrieval.reorder import Reorder
from rag.operators.post_retrieval.rerank import Rerank
from rag.operators.post_retrieval.rule_rerank import RuleRerank
from rag.operators.post_retrieval.select_context import SelectContext
from rag.operators.post_retrieval.select_sentences import SelectSentences
from rag.operators.post_retrieval.summarize import Summarize
from rag.operators.post_retrieval.threshold import Threshold
from rag.operators.pre_retrieval.condense_query import CondenseQuery
from rag.operators.pre_retrieval.construct_query import ConstructQuery
from rag.operators.pre_retrieval.decompose import Decompose
from rag.operators.pre_retrieval.disambiguate import Disambiguate
from rag.operators.pre_retrieval.extend_query import ExtendQuery
from rag.operators.pre_retrieval.follow_up import FollowUp
from rag.operators.pre_retrieval.hyde import HyDE
from rag.operators.pre_retrieval.multi_query import MultiQuery
from rag.operators.pre_retrieval.next_question import NextQuestion
from rag.operators.pre_retrieval.rewrite import Rewrite
from rag.operators.pre_retrieval.step_back import StepBack
from rag.operators.pre_retrieval.text_to_sql import TextToSQL
from rag.operators.pre_retrieval.verification_queries import VerificationQueries
from rag.operators.retrieval.bm25 import BM25
from rag.operators.retrieval.dense import Dense
from rag.operators.retrieval.dense_documents import DenseDocuments
from rag.operators.retrieval.external import External
from rag.operators.retrieval.graph import Graph
from rag.operators.retrieval.hybrid import Hybrid
from rag.operators.retrieval.learned_sparse import LearnedSparse
from rag.operators.retrieval.leaves import Leaves
from rag.operators.retrieval.max_sim import MaxSim
from rag.operators.retrieval.neighbours import Neighbours
from rag.operators.retrieval.parents import Parents
from rag.operators.retrieval.sql import SQL

__all__ = [
    "BM25",
    "CATALOGUE",
    "MMR",
    "RRF",
    "SQL",
    "Abstain",
    "Agent",
    "AnswerCache",
    "AnswerCandidates",
    "AppendSentence",
    "AppendTurn",
    "Cite",
    "Collect",
    "Compress",
    "CompressByQuestion",
    "CondenseQuery",
    "ConfidenceJudge",
    "ConstructQuery",
    "Critique",
    "CrossRerank",
    "Decompose",
    "Dedupe",
    "DedupeSemantic",
    "Dense",
    "DenseDocuments",
    "Describe",
    "Disambiguate",
    "ExtendQuery",
    "External",
    "FilterAnswers",
    "FollowUp",
    "Generate",
    "GradeDocuments",
    "Graph",
    "HyDE",
    "Hybrid",
    "KnowledgeJudge",
    "LLMFusion",
    "LLMJudge",
    "Label",
    "LearnedSparse",
    "Leaves",
    "ListwiseRerank",
    "Load",
    "LoadWith",
    "MapReduce",
    "MaskLowConfidence",
    "MaxSim",
    "MultiQuery",
    "Neighbours",
    "NextQuestion",
    "NextSentence",
    "OrderForReuse",
    "Pack",
    "Parents",
    "PointwiseRerank",
    "Quote",
    "RankAnswers",
    "RankCandidates",
    "Refine",
    "Reflect",
    "Reorder",
    "Replug",
    "Rerank",
    "Revise",
    "Rewrite",
    "RouteByMetadata",
    "RouteBySize",
    "RouteHybrid",
    "RouteLLM",
    "RouteSemantic",
    "RuleJudge",
    "RuleRerank",
    "SelectContext",
    "SelectSentences",
    "Split",
    "StepBack",
    "StructuredAnswer",
    "SuggestQuestions",
    "Summarise",
    "Summarize",
    "TextToSQL",
    "Threshold",
    "VerificationQueries",
    "Verify",
    "VerifyLLM",
    "VerifyNLI",
    "Vote",
    "WeightedSum",
    "WriteIndex",
]
