"""Questions about a transcript: the model writes them, unsupported and near-equal ones go.

Everything here sees the user's messages and the model's questions; no answer yet.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Protocol, TypeVar

from agent import prompts
from agent.memory.probe import normalise
from agent.memory.tables import Turn
from agent.model import LanguageModel
from agent.slots import BASE

MAX_WORDINGS = 14
"""Wordings kept of one fact. Chosen: 9 to train, 2 to stop, 3 to probe."""

MAX_YES_OR_NO = 4
"""Questions kept that one message answers with yes, and as many with no: more of them leave less
of a batch to the open ones. Measured: docs/lab_book.md."""

NEAR_DUPLICATE = 0.92
"""Questions about the same value with a higher cosine count as one. Chosen on the house corpus."""

MICRO_BATCH = 32
"""Sequences generated at a time, so that a reply never waits long."""

ROW_BATCH = 16
"""Sequences packed into one row (packing.py): in a longer one each token is compared with more that it
must not see. Measured: docs/lab_book.md."""

T = TypeVar("T")

Checkpoint = Callable[[str, int, int], None]
"""Called between micro-batches with stage, done and total; may block, may raise to cancel."""


class Encoder(Protocol):
    """What this module needs of a sentence encoder."""

    def similarities(self, texts: Sequence[str]) -> "list[list[float]]": ...


@dataclass(frozen=True, slots=True)
class QAPair:
    """A question about the user with the teacher's answer: a target sentence s."""

    question: str
    answer: str
    value: str
    """What a right answer must hold; empty for pairs that are learned but not probed."""
    kind: str
    """direct, indirect, yes or no, bank, recommend, summary, told now, negative."""
    use: str
    """train, stop or probe: three disjoint sets of wordings."""
    turn_ids: tuple[int, ...] = ()
    before: tuple[tuple[str, str], ...] = ()
    """Turns of the chat that stand before the question, for teacher and student alike."""


def micro_batches(
    items: Iterable[T], key: Callable[[T], str], size: int = MICRO_BATCH
) -> Iterator[list[T]]:
    """Yield the items, those of the same key together, at most `size` at a time."""
    for _, same in groupby(sorted(items, key=key), key=key):
        while part := list(islice(same, size)):
            yield part


def write_questions(
    model: LanguageModel,
    turns: Sequence[Turn],
    windows: Mapping[int, str],
    *,
    rounds: int,
    temperature: float,
    seed: int,
    checkpoint: Checkpoint,
) -> list[QAPair]:
    """Have the model write questions about each message that tells something, in every kind, `rounds`
    times; return those whose value the message supports. Their answers are still empty.

    Args:
        windows: Transcript around each turn, by its id.
    """
    tasks = [
        (turn, kind)
        for _ in range(rounds)
        for kind in prompts.QUESTION_KINDS
        for turn in turns
        if told_in(turn.message)
    ]
    found: dict[tuple, QAPair] = {}
    for start in range(0, len(tasks), MICRO_BATCH):
        checkpoint("questions", start, len(tasks))
        part = tasks[start : start + MICRO_BATCH]
        texts = model.generate(
            [prompts.write_questions(windows[turn.id], turn.message, kind) for turn, kind in part],
            slot=BASE, max_new_tokens=96, temperature=temperature, seed=seed + start,
        )  # fmt: skip
        for (turn, kind), text in zip(part, texts, strict=True):
            for question, value in parse_pairs(text):
                pair = QAPair(question, "", value, kind, "train", (turn.id,))
                if is_supported(pair, told_in(turn.message)):
                    found.setdefault((turn.id, normalise(value), wording(question)), pair)
    return list(found.values())


def parse_pairs(text: str) -> list[tuple[str, str]]:
    """Return (question, value) for each line "question | short answer"; other lines are skipped.
    The last line is skipped if it was cut off before its value."""
    pairs = []
    for line in text.splitlines():
        question, bar, value = (part.strip() for part in line.partition("|"))
        if bar and 3 <= len(question) <= 200 and 0 < len(value) <= 60 and len(value.split()) <= 8:
            pairs.append((question, value.rstrip(".")))
    return pairs


STOP_WORDS = set(
    """a an the my your our his her its their i you he she we they it me him us them is are was were be been am do does did
    have has had of in on at to for from with by as and or but not no yes that this these those what which who whom whose
    where when why how s t m re ve ll d so just very really most best like about up out if than then there here""".split()
)


def words(text: str) -> list[str]:
    return re.findall(r"\w+", normalise(text))


def wording(question: str) -> str:
    """Return the question as it is told apart from others: case and punctuation make no new one."""
    return " ".join(words(question))


_FILLER = re.compile(
    r"^(?:(?:and|so|but|ok|okay|hey|hi|hello|well|oh|now|also|then|um|right)\b\W*)+"
)

_ASKS = re.compile(
    r"""(?:(?:in|on|at|to|from|with|for|of|by)\ )?(?:what|which|who|whom|whose|where|when|why|how)(?:'?s|'?re|'?d)?\b
    | (?:do|does|did|am|is|are|was|were|have|has|had)\b""",
    re.VERBOSE,
)

_REMINDS = re.compile(
    r"(?:please )?(?:remind me|tell me (?:again )?(?:what|which|who|where|when|how))\b"
)

_WISHES = re.compile(r"\b(?:(?:can|could|would|will) you|(?:can|shall|should|may) (?:i|we))\b")
"""In what asks for a film ("What should I watch with my sister?") something may be told beside."""

_INVERTED = re.compile(
    r"""(?:what|who|where|when|how)'?s\ [^,]*$
    | (?:do|did|am|was|were|have|had)\ (?:i|we|you\ (?:recall|remember|know))\b[^,]*$
    | \w+(?!\ (?:i|my|we|our)\b)(?:\ \w+){0,5}?
      \ (?:do|does|did|am|is|are|was|were|have|has|had)\ (?:i|my|we|our)\b[^,]*$""",
    re.VERBOSE,
)
"""How a question begins that was written without its mark; not "when I'm sad I watch westerns"."""


def told_in(message: str) -> str:
    """Return a message without the sentences that only ask: what a question names was not told by it
    (docs/method.md, rule 3)."""
    sentences = re.split(r"(?<=[.!?])\s+|\n+", message.strip())
    return " ".join(sentence for sentence in sentences if not _only_asks(sentence))


def _only_asks(sentence: str) -> bool:
    said = _FILLER.sub("", normalise(sentence))
    if _REMINDS.match(said):
        return True
    if not _ASKS.match(said) or _WISHES.search(said):
        return False
    return sentence.endswith("?") or (
        not sentence.endswith((".", "!")) and bool(_INVERTED.match(said))
    )


def is_supported(pair: QAPair, message: str) -> bool:
    """Does the user's message itself support the value (docs/method.md, rule 3)?

    For a value: it stands there word for word, and not in the question. For *yes*: what the
    question asserts stands there. A *no* needs another value, so it is judged by the teacher.
    """
    said = words(message)
    value = words(pair.value)
    if value in (["yes"], ["no"]):
        asked = [word for word in words(pair.question) if word not in STOP_WORDS]
        return value == ["no"] or any(word in said for word in asked)
    content = [word for word in value if word not in STOP_WORDS] or value
    joined = f" {' '.join(said)} "
    return f" {' '.join(value)} " in joined and not set(content) <= set(words(pair.question))


def drop_near_duplicates(pairs: list[QAPair], encoder: Encoder) -> list[QAPair]:
    """Keep a diverse set of wordings of each fact: greedily the one farthest from those kept,
    until the rest is nearly the same or there are enough."""
    kept: list[QAPair] = []
    groups: dict[tuple, list[QAPair]] = {}
    for pair in pairs:
        groups.setdefault((pair.turn_ids, normalise(pair.value)), []).append(pair)
    for (_, value), group in groups.items():
        limit = MAX_YES_OR_NO if value in {"yes", "no"} else MAX_WORDINGS
        near = encoder.similarities([wording(pair.question) for pair in group])
        chosen = [0]
        while len(chosen) < min(len(group), limit):
            closest = {
                i: max(near[i][j] for j in chosen) for i in range(len(group)) if i not in chosen
            }
            best = min(closest, key=closest.get)
            if closest[best] > NEAR_DUPLICATE:
                break
            chosen.append(best)
        kept += [group[i] for i in sorted(chosen)]
    return kept
