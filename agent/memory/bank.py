"""The question bank: general questions about a person, each in several ways.

facts, in the model's own questions ─▶ the bank's questions near to them ─▶ the teacher answers each way
                                         │                                    with the value in most?
                                         ▼                                    ▼
                     all the others: what was never told         the fact in words of the bank's, too
                                     or told besides
"""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import yaml

from agent.memory.probe import holds, is_abstention, normalise
from agent.memory.questions import Checkpoint, Encoder, QAPair, wording, words
from agent.memory.tables import Turn
from agent.memory.teacher import agrees, answer_with, supported_value
from agent.model import LanguageModel

BANK_PATH = Path(__file__).parent.parent / "data" / "question_bank.yaml"

NEAR_OWN = 0.75
MAX_NEAR = 3
MOST_WAYS = 0.8
"""A question of the bank is one about a fact if it is among the three nearest to those that the model
wrote for the fact, this near (cosine), and if the teacher gives the fact to most ways of asking it. Either
alone is not enough: a small teacher answers a question about nothing that was said with the nearest name.
Measured: docs/lab_book.md."""

NEARLY_ALL = 0.9
"""Share of the ways in which a fact must be given that the model wrote no question about. Read off the
development users: at 0.8 the film night was a day off work (docs/lab_book.md)."""

USER = {"i", "im", "ive", "me", "my", "mine", "we", "our", "us"}
"""One of these stands in a question about the user."""


@dataclass(frozen=True)
class QuestionBank:
    """General questions about a person (`agent/data/question_bank.yaml`)."""

    questions: list[list[str]] = field(default_factory=list)
    """Each a list of ways to ask one thing about the user."""
    others: list[list[str]] = field(default_factory=list)
    """The same about somebody else: {who} is one of `people`."""
    people: list[str] = field(default_factory=list)
    recommend: list[str] = field(default_factory=list)
    summary: list[str] = field(default_factory=list)
    rare: list[str] = field(default_factory=list)
    """Questions about a person that hardly anybody answers."""
    told_now: list[dict[str, str]] = field(default_factory=list)

    @classmethod
    def load(cls) -> "QuestionBank":
        return cls(**yaml.load(BANK_PATH.read_text(encoding="utf-8"), Loader=yaml.BaseLoader))

    def about(self, person: str) -> list[list[str]]:
        """Return what may be asked about one of `people`, each a list of ways."""
        return [[way.format(who=person) for way in ways] for ways in self.others]

    def asked_of_all(self, named: set[str] = frozenset()) -> list[list[str]]:
        """Return what is asked about every slice, each a list of ways: all about those of `people` who are
        `named` in it, about each of the others one thing, in turn."""
        about = [
            ways
            for i, one in enumerate(self.people)
            for number, ways in enumerate(self.about(one))
            if one in named or number == i % len(self.others)
        ]
        return [*self.questions, *about, *([question] for question in self.rare)]


def ways_to_ask(
    facts: Sequence[Sequence[str]], bank: QuestionBank, encoder: Encoder
) -> list[list[list[str]]]:
    """Return for each fact, given by the questions that the model wrote for it, the bank's questions
    that are near to them, each a list of ways, the nearest first.

    What names one of the bank's people is compared with what the bank asks about that person; what
    names nobody, nor the user, with nothing.
    """
    written = [question for questions in facts for question in questions]
    people = {one for question in written for one in named(question, bank.people)}
    known = [*bank.questions, *(ways for one in sorted(people) for ways in bank.about(one))]
    whom = [named(" ".join(ways), bank.people) for ways in known]
    rows = iter(encoder.similarities([*written, *(way for ways in known for way in ways)]))
    found = []
    for questions in facts:
        cosines = [0.0] * len(known)
        for question in questions:
            row = next(rows)
            people = named(question, bank.people)
            if len(people) > 1 or not USER & set(words(question)):
                continue
            columns = iter(row[len(written) :])
            for i, ways in enumerate(known):
                cosine = max(islice(columns, len(ways)))
                if people <= whom[i] and (people or i < len(bank.questions)):
                    cosines[i] = max(cosines[i], cosine)
        order = sorted(range(len(known)), key=cosines.__getitem__, reverse=True)
        found.append([known[i] for i in order[:MAX_NEAR] if cosines[i] >= NEAR_OWN])
    return found


def named(text: str, people: Sequence[str]) -> set[str]:
    """Return which of the people a text names: of "best friend" not the "friend" in it."""
    either = "|".join(sorted(people, key=len, reverse=True))
    return set(re.findall(rf"(?<![\w-])(?:{either})(?![\w-])", text.lower())) if people else set()


def in_other_words(
    model: LanguageModel,
    facts: Sequence[Sequence[QAPair]],
    near: Sequence[Sequence[Sequence[str]]],
    windows: Mapping[int, str],
    *,
    checkpoint: Checkpoint,
) -> list[QAPair]:
    """Ask for each fact, a list of wordings, in the bank's words: of the questions that are `near` to
    it the first for which the teacher gives the value in most ways. A way that is a wording of a fact
    already is no other one."""
    taken = {wording(pair.question) for fact in facts for pair in fact}
    left = {
        i: fact[0] for i, fact in enumerate(facts) if normalise(fact[0].value) not in {"yes", "no"}
    }
    found: dict[str, QAPair] = {}
    for rank in range(MAX_NEAR):
        asked = [
            (i, replace(pair, question=way, kind="bank"))
            for i, pair in left.items()
            if rank < len(near[i])
            for way in near[i][rank]
            if not holds(way, pair.value)
        ]
        answers = answer_with(
            model,
            [pair.question for _, pair in asked],
            [windows[pair.turn_ids[0]] for _, pair in asked],
            checkpoint=checkpoint,
            stage="bank",
        )
        right = defaultdict(list)
        for (i, pair), answer in zip(asked, answers, strict=True):
            if agrees(pair, answer):
                right[i].append(replace(pair, answer=answer))
        number = Counter(i for i, _ in asked)
        for i, pairs in right.items():
            if len(pairs) >= MOST_WAYS * number[i]:
                del left[i]
                for pair in pairs:
                    found.setdefault(wording(pair.question), pair)
    return [pair for question, pair in found.items() if question not in taken]


def ask_generally(
    model: LanguageModel,
    bank: QuestionBank,
    told: Sequence[Sequence[str]],
    context: str,
    *,
    checkpoint: Checkpoint,
) -> list[tuple[list[str], str]]:
    """Ask the general questions but those that are near to a fact `told`, each in its first way; return
    each, a list of ways, with the teacher's answer."""
    asked = [ways for ways in bank.asked_of_all(named(context, bank.people)) if ways not in told]
    answers = answer_with(
        model, [ways[0] for ways in asked], context, checkpoint=checkpoint, stage="bank"
    )
    return list(zip(asked, answers, strict=True))


def never_answered(
    general: Sequence[tuple[list[str], str]], told: Sequence[Sequence[str]] = ()
) -> list[QAPair]:
    """Return what the teacher abstained on, but what is near to a fact `told` besides."""
    return [
        QAPair(ways[0], answer, "", "negative", "train")
        for ways, answer in general
        if is_abstention(answer) and ways not in told
    ]


def told_besides(
    model: LanguageModel,
    general: Sequence[tuple[list[str], str]],
    facts: Sequence[Sequence[QAPair]],
    turns: Sequence[Turn],
    windows: Mapping[int, str],
    *,
    checkpoint: Checkpoint,
) -> list[list[QAPair]]:
    """Return facts, each a list of wordings, for which the model wrote no question of its own that holds:
    values in a user's message that are the answer to a general question, if with the window
    around that message the teacher gives them to nearly every way of asking it. A value that is
    a fact already is none: a small teacher answers with the nearest of those."""
    known = [fact[0].value for fact in facts if normalise(fact[0].value) not in {"yes", "no"}]
    found = []
    for ways, answer in general:
        value, turn = supported_value(answer, ways[0], turns)
        is_known = any(holds(value, one) or holds(one, value) for one in known)
        if len(ways) > 1 and value and not is_known and not is_abstention(answer):
            found.append(
                [
                    QAPair(way, "", value, "bank", "train", (turn,))
                    for way in ways
                    if not holds(way, value)
                ]
            )
    asked = [pair for pairs in found for pair in pairs]
    answers = iter(answer_with(
        model, [pair.question for pair in asked], [windows[pair.turn_ids[0]] for pair in asked], checkpoint=checkpoint, stage="bank"
    ))  # fmt: skip
    besides: dict[tuple, list[QAPair]] = {}
    for pairs in found:
        right = [
            replace(pair, answer=answer)
            for pair, answer in zip(pairs, answers, strict=False)
            if agrees(pair, answer)
        ]
        if len(right) >= NEARLY_ALL * len(pairs):
            besides.setdefault((pairs[0].turn_ids, pairs[0].value), []).extend(right)
    return list(besides.values())
