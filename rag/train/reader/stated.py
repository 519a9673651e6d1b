"""Questions by rules about real texts: a sentence that states a fact, and what may be asked of it.

Rules over English sentences, after the idea of Heilman and Smith (2010), "Good question!", which
turn a declarative sentence into questions. A rule that does not fit a sentence surely gives
nothing: few good questions train better than many odd ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from rag.text.sentences import STOPS, sentences

_SUBJECT = r"(?P<it>(?:(?:The|An?|Each|Every) )?[\w'`.\u2019-]+(?: [\w'`.\u2019()-]+){0,7}?)"
_NUMBER = (
    r"(?:about |some |over |up to |nearly |at least |at most )?"
    r"[$\u20ac\xa3]?\d[\d.,]*(?:[\u2013-]\d[\d.,]*)?"
)
_FEW = "two|three|four|five|six|seven|eight|nine|ten|eleven|twelve"
_UNIT = r"(?:[ -]?(?:%|percent|\xb0?[A-Za-z][\w/\xb2\xb3\xb0]*))?"
_BE = r"(?P<be>is|are|was|were)"
_NAME = r"(?P<v>[A-Z][\w.'\u2019-]+(?: [A-Z][\w.'\u2019-]+){1,3})"
_MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
_DAY = rf"(?P<v>(?:\d{{1,2}} )?(?:{_MONTHS})(?: \d{{1,2}},?)? ?(?:\d{{4}})?|\d{{4}})\b"
_DONE = (
    "founded|born|built|released|published|established|opened|introduced|created|completed|"
    "launched|written|signed|adopted|formed|invented|discovered|elected|recorded|filmed|held|"
    "designed|produced|closed|named|renamed|ratified|added|removed|deprecated|killed|awarded|"
    "appointed|first published|first released|first introduced|originally released"
)
_MADE = (
    "wrote|directed|invented|discovered|founded|won|played|sang|developed|designed|composed|"
    "created|produced|built|recorded|introduced|painted|commissioned|performed|voiced"
)
_DOES = (
    "holds|carries|covers|supports|requires|uses|provides|returns|contains|means|produces|needs|"
    "allows|represents|reaches"
)
_ROLE = (
    "(?:first |current |last |new )?(?:president|director|author|founder|chairman|captain|head|"
    "leader|king|queen|minister|prime minister|governor|mayor|editor|coach|owner|maintainer|host|"
    "secretary|chief|winner|composer|creator|inventor) of [^,.;]{3,50}?"
)
_END = r"(?=[,;]|\.(?!\w)|$)"
_CLAUSE = r"(?:[^.;:]|\.(?=\w))"
_PHRASE = r"(?:[^.;:,]|\.(?=\w))"
_RULES = [
    (
        rf"{_SUBJECT} {_BE} (?P<v>{_NUMBER} ?\w+) (?P<how>long|wide|high|tall|deep|thick|old)\b",
        "How {how} {be} {it}?",
    ),
    (
        (
            rf"{_SUBJECT} (?:has|have|had|contains|contained|includes) "
            rf"(?P<v>{_NUMBER}|{_FEW}) (?P<what>[a-z]+s)\b"
        ),
        "How many {what} {does} {it} have?",
    ),
    (
        rf"{_SUBJECT} (?P<be>was|were) (?P<did>{_DONE})\b[^.;]{{0,60}}?\b(?:in|on) {_DAY}",
        "When {be} {it} {did}?",
    ),
    (
        (
            rf"{_SUBJECT} {_BE} (?P<did>located|situated|held|found|set|installed|stored|housed)"
            rf" (?P<v>(?:in|at|on|near|between|under) {_CLAUSE}{{3,60}}?)(?=[,;]|\.(?!\w)|$| and )"
        ),
        "Where {be} {it} {did}?",
    ),
    (
        rf"{_SUBJECT} (?P<verb>costs|weighs|lasts|takes|measures) (?P<v>{_NUMBER}{_UNIT})",
        "How much {does} {it} {base}?",
    ),
    (
        rf"{_SUBJECT} (?P<verb>{_DOES}) (?P<v>(?:an? |the )?{_PHRASE}{{4,60}}?){_END}",
        "What {does} {it} {base}?",
    ),
    (
        (
            rf"{_NAME} (?P<did>{_MADE}) (?P<what>(?:the|an?|both|all|[A-Z\"'])[^.;,]{{4,70}}?)"
            r"(?=[,.;]|$| and | in \d)"
        ),
        "Who {did} {what}?",
    ),
    (rf"(?P<what>[Tt]he {_ROLE}) (?P<be>is|was) {_NAME}", "Who {be} {what}?"),
    (
        rf"{_NAME},? (?P<be>is|was) (?P<what>the {_ROLE})(?=[,.;]|$| and | from | until )",
        "Who {be} {what}?",
    ),
    (
        rf"{_SUBJECT} defaults? to (?P<v>[\w\"'`./-]+(?: [\w\"'`-]+){{0,2}})",
        "What does {it} default to?",
    ),
    (
        rf"[Tt]he default (?:value )?(?:of|for) {_SUBJECT} is (?P<v>[\w\"'`./-]+(?: \w+)?)",
        "What is the default of {it}?",
    ),
    (rf"{_SUBJECT} {_BE} (?P<v>(?:an?|the) {_CLAUSE}{{8,70}}?){_END}", "What {be} {it}?"),
]
_COMPILED = [(re.compile(pattern), question) for pattern, question in _RULES]
_VAGUE = re.compile(
    r"^(?i:(?:this|these|that|those|it|he|she|they|we|you|i|there|here|which|who|what|why|how|one|some|"
    r"many|other|another|such|his|her|its|their|our|your|my|if|when|while|although|because|since|after|"
    r"before|during|for|in|at|on|by|to|from|with|as|but|and|or|so|also|however|then|thus|not|no|"
    r"both|each of|all|most|several|results?)\b)|"
    r"\b(?:which|who|that|this|it|he|she|they|and|or|also|only|now|then)$|"
    r" (?:was|is|were|are|and was|and is) |^\W*\d",
)
_BASES = {"has": "have", "carries": "carry", "reaches": "reach", "does": "do"}
LONGEST = 22
"""Words of a sentence that is an answer as it is; of a longer one the fact alone."""


@dataclass(frozen=True)
class Stated:
    """A question that a sentence answers.

    Attributes:
        question: What may be asked.
        sentence: The sentence.
        value: What is asked for, as the sentence has it.
    """

    question: str
    sentence: str
    value: str


def stated_in(text: str) -> Iterator[Stated]:
    """The questions that a text's sentences answer, at most one of each.

    Args:
        text: In English; in other languages hardly a rule fits.
    """
    for sentence in sentences(text, lines=True):
        if len(sentence) < 20 or len(sentence) > 320 or sentence[-1] not in STOPS:
            continue
        if (found := _first(sentence)) is not None:
            yield found


def _first(sentence: str) -> Stated | None:
    """By the first rule that fits from the sentence's beginning."""
    for pattern, question in _COMPILED:
        match = pattern.match(sentence)
        if match is None:
            continue
        parts = match.groupdict()
        subject = parts.get("it") or parts.get("what") or ""
        if (
            _VAGUE.search(subject)
            or (parts.get("it") or "A")[0].islower()
            or len(subject) < 3
            or subject.count("(") != subject.count(")")
        ):
            continue
        verb = parts.get("verb") or ""
        parts["base"] = _BASES.get(verb, verb.removesuffix("s"))
        parts["does"] = "do" if _plural(subject) else "does"
        parts["it"], parts["what"] = (_inside(parts.get(name) or "") for name in ("it", "what"))
        value = parts["v"].strip(" ,.?")
        if value.lower() in subject.lower() or value.count("(") != value.count(")"):
            return None
        text = question.format(**{name: one or "" for name, one in parts.items()})
        return Stated(" ".join(text.split()), sentence, value)
    return None


def _plural(subject: str) -> bool:
    last = subject.rsplit(maxsplit=1)[-1]
    return last.endswith("s") and not last.endswith(("ss", "us", "is", "'s"))


def _inside(subject: str) -> str:
    """A subject as it stands inside a question: an article in lower case."""
    return re.sub(r"^(The|An?|Each|Every)\b", lambda match: match[0].lower(), subject)


def answer_to(found: Stated) -> str:
    """The sentence, or the fact alone where that is long."""
    return found.sentence if len(found.sentence.split()) <= LONGEST else found.value
