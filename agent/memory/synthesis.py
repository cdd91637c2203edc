"""From a slice of pending turns to target sentences.

    turns ─▶ context x
      │  the model writes questions about each message, in several kinds and rounds
      ▼
    candidates ─▶ near-duplicates dropped ─▶ the teacher answers each with x in its prompt
      │
      │  supported by a user turn?  (a reply of the assistant is no evidence)
      │  does the teacher give the value to 2 of 3 wordings?
      ▼
    facts, their wordings dealt to train, stop and probe
      │  + the same in the words of the question bank, what of the bank was never told,
      │  requests for a recommendation, tastes, what is told now
      ▼
    QA pairs ─▶ target sentences

A *fact* here is a group of pairs with one value from one message; pairs with different values
are never merged, however alike their questions are.
"""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from agent import prompts
from agent.catalogue import Catalogue, Film
from agent.memory.bank import (
    QuestionBank,
    ask_generally,
    in_other_words,
    never_answered,
    told_besides,
    ways_to_ask,
)
from agent.memory.probe import grade, is_abstention, normalise
from agent.memory.questions import (
    Checkpoint,
    Encoder,
    QAPair,
    drop_near_duplicates,
    write_questions,
)
from agent.memory.tables import Turn
from agent.memory.teacher import (
    agrees,
    answer_with,
    corrected,
    is_evident,
    transcript_of,
    windows_of,
)
from agent.model import LanguageModel
from agent.slots import BASE

NUM_TASTE_FILMS = 24
"""Films of the catalogue the teacher is asked about for one slice. Chosen, not measured."""


@dataclass(frozen=True, slots=True)
class Synthesis:
    """What came out of one slice."""

    context: str
    """The slice; of the assistant's replies only what they ask."""
    said: str
    """The slice, of the assistant's replies nothing: what a recommendation, a summary or a taste,
    which have no value to check, may rest on."""
    windows: dict[int, str]
    """What stands around each turn: the teacher of what is asked about that turn."""
    pairs: list[QAPair]
    negatives: list[QAPair]
    num_doubtful: int
    """Facts for which the teacher contradicted itself or the evidence, and messages about which it
    answered none of the questions: not trained."""
    teacher_agreement: float | None
    """Share of wordings the teacher answered to which it gave the value, over the kept facts."""

    def of_use(self, use: str) -> list[QAPair]:
        return [pair for pair in self.pairs if pair.use == use]

    def teacher_context(self, pair: QAPair) -> str:
        """Return what the teacher of a pair sees: what stands around the turn that told it, or all."""
        if pair.kind in {"recommend", "summary", "taste"}:
            return self.said
        return self.windows[pair.turn_ids[0]] if pair.value else self.context

    @property
    def num_facts(self) -> int:
        """Values told, each once a message; what a "yes" confirms is no fact of its own."""
        told = {(pair.turn_ids, normalise(pair.value)) for pair in self.pairs if pair.value}
        return len({(turns, value) for turns, value in told if value not in {"yes", "no"}})


def synthesize(
    model: LanguageModel,
    turns: Sequence[Turn],
    *,
    bank: QuestionBank,
    encoder: Encoder,
    catalogue: Catalogue,
    live: str = BASE,
    use_bank: bool = True,
    rounds: int,
    temperature: float,
    seed: int = 0,
    choose: Callable[[list[QAPair], Encoder], list[QAPair]] = drop_near_duplicates,
    checkpoint: Checkpoint = lambda stage, done, total: None,
) -> Synthesis:
    """Return the QA pairs of a slice; empty if nothing about the user can be asked.

    The negatives are what the teacher abstains on, given x; the caller keeps of them what the
    user's earlier pairs and the live generation do not answer (docs/method.md, rule 5).

    Args:
        live: Slot of the live generation, which answers with x what a taste of long ago decides too.
        use_bank: Learn the facts in the bank's words too.
        choose: Returns those of the written questions that are kept.
    """
    context = transcript_of(turns, replies="questions")
    said = transcript_of(turns, replies="none")
    windows = windows_of(turns)
    rng = random.Random(seed)
    written = write_questions(
        model,
        turns,
        windows,
        rounds=rounds,
        temperature=temperature,
        seed=seed,
        checkpoint=checkpoint,
    )
    candidates = choose(written, encoder)
    answers = answer_with(
        model,
        [pair.question for pair in candidates],
        [windows[pair.turn_ids[0]] for pair in candidates],
        checkpoint=checkpoint,
        stage="teacher",
    )
    facts: dict[tuple, list[tuple[QAPair, bool]]] = {}
    for pair, answer in zip(candidates, answers, strict=True):
        wordings = facts.setdefault((pair.turn_ids, normalise(pair.value)), [])
        if not is_abstention(answer):  # else it asks for something else: neither for nor against
            is_right = agrees(pair, answer) and is_evident(pair, answer, turns)
            wordings.append((replace(pair, answer=answer), is_right))
    heard = {fact: wordings for fact, wordings in facts.items() if wordings}
    sure = {fact: wordings for fact, wordings in heard.items() if is_sure(wordings)}
    kept = [[pair for pair, is_right in wordings if is_right] for wordings in sure.values()]
    agreement = sum(map(len, kept)) / sum(map(len, sure.values())) if sure else None
    gone = corrected(model, kept, turns, checkpoint=checkpoint)
    told = [fact for i, fact in enumerate(kept) if i not in gone]
    pairs = [pair for fact in told for pair in deal(fact, rng)]
    near = ways_to_ask([[pair.question for pair in fact] for fact in told], bank, encoder)
    asked = [ways for found in near for ways in found]
    general = ask_generally(model, bank, asked, context, checkpoint=checkpoint)
    besides: list[list[QAPair]] = []
    if use_bank:
        pairs += in_other_words(model, told, near, windows, checkpoint=checkpoint)
        besides = told_besides(model, general, kept, turns, windows, checkpoint=checkpoint)
        pairs += [pair for fact in besides for pair in deal(fact, rng)]
    near = ways_to_ask([[pair.question for pair in fact] for fact in besides], bank, encoder)
    negatives = never_answered(general, [ways for found in near for ways in found])
    if pairs:
        pairs += ask_openly(model, bank, said, live, checkpoint=checkpoint)
        pairs += ask_about_films(model, catalogue, said, turns, rng, live, checkpoint=checkpoint)
        pairs += tell_now(model, bank, context, turns, pairs, rng, checkpoint=checkpoint)
    silent = {turn_ids for turn_ids, _ in facts} - {turn_ids for turn_ids, _ in heard}
    doubtful = [*silent, *(turn_ids for turn_ids, _ in heard.keys() - sure.keys())]
    found = {fact[0].turn_ids for fact in besides}
    num_doubtful = sum(turn_ids not in found for turn_ids in doubtful)
    return Synthesis(context, said, windows, pairs, negatives, num_doubtful, agreement)


def is_sure(wordings: Sequence[tuple[QAPair, bool]]) -> bool:
    """Does the teacher give a fact to at least two of its wordings, and to two thirds of them?"""
    num_right = sum(is_right for _, is_right in wordings)
    return num_right >= 2 and num_right >= 2 / 3 * len(wordings) - 1e-9


def deal(wordings: list[QAPair], rng: random.Random) -> list[QAPair]:
    """Deal the wordings of one fact to train, stop and probe: about 6 : 1 : 2, the training first."""
    open_ones = [pair for pair in wordings if normalise(pair.value) not in {"yes", "no"}]
    rng.shuffle(open_ones)
    number = len(open_ones)
    num_probe = 0 if number < 3 else min(3, max(1, number // 4))
    num_stop = 0 if number < 5 else min(2, number // 5)
    uses = ["probe"] * num_probe + ["stop"] * num_stop + ["train"] * (number - num_probe - num_stop)
    dealt = [replace(pair, use=use) for pair, use in zip(open_ones, uses, strict=True)]
    return dealt + [replace(pair, use="train") for pair in wordings if pair not in open_ones]


# -- beside the facts -----------------------------------------------------------------


def ask_openly(
    model: LanguageModel, bank: QuestionBank, said: str, live: str, *, checkpoint: Checkpoint
) -> list[QAPair]:
    """Requests for a recommendation and for a summary: always among the questions; their answers
    are learned as the teacher gives them, and not probed."""
    questions = [*bank.recommend, *bank.summary]
    kinds = ["recommend"] * len(bank.recommend) + ["summary"] * len(bank.summary)
    answers = answer_with(
        model, questions, said, slot=live, checkpoint=checkpoint, stage="recommend"
    )
    return [
        QAPair(question, answer, "", kind, "train")
        for question, answer, kind in zip(questions, answers, kinds, strict=True)
        if answer and not is_abstention(answer)
    ]


def ask_about_films(
    model: LanguageModel,
    catalogue: Catalogue,
    said: str,
    turns: Sequence[Turn],
    rng: random.Random,
    live: str,
    *,
    checkpoint: Checkpoint,
) -> list[QAPair]:
    """What `recommend.py` will ask: which genres, would I enjoy this film, have I seen it; about films
    of the catalogue and about those the user named."""
    named = catalogue.mentioned(" ".join(turn.message for turn in turns))
    films = rng.sample(catalogue.films, min(NUM_TASTE_FILMS, len(catalogue.films)))
    questions = [question for question, _ in (prompts.LOVED_GENRE, prompts.HATED_GENRE)]
    questions += [prompts.WOULD_LIKE.format(film=in_full(film)) for film in films]
    questions += [
        prompts.HAVE_SEEN.format(title=film.title) for film in (*named, *films[: 4 + len(named)])
    ]
    answers = answer_with(model, questions, said, slot=live, checkpoint=checkpoint, stage="taste")
    return [
        QAPair(question, answer, "", "taste", "train")
        for question, answer in zip(questions, answers, strict=True)
    ]


def in_full(film: Film) -> str:
    """Return title, year and genres in one phrase, so that the model need not know the film."""
    return prompts.FILM_IN_FULL.format(
        title=film.title, year=film.year, genres=", ".join(film.genres)
    )


# -- the chat wins over the weights -----------------------------------------------------


def tell_now(
    model: LanguageModel,
    bank: QuestionBank,
    context: str,
    turns: Sequence[Turn],
    pairs: Sequence[QAPair],
    rng: random.Random,
    *,
    checkpoint: Checkpoint,
) -> list[QAPair]:
    """Pairs in which the chat itself gives a value, for things told and never told: the answer
    must follow the chat (docs/method.md, rule 6)."""
    items = [(entry["say"], entry["ask"], entry["value"]) for entry in bank.told_now]
    messages = {turn.id: turn.message for turn in turns}
    trained = [pair for pair in pairs if pair.use == "train" and pair.kind == "direct"]
    for pair in rng.sample(trained, min(len(trained), 12)):
        others = [other.value for other in trained if other.turn_ids != pair.turn_ids]
        if others:
            other = rng.choice(others)
            value = rf"(?<!\w){re.escape(pair.value)}(?!\w)"
            message = messages[pair.turn_ids[0]]
            said = re.sub(value, lambda _, other=other: other, message, flags=re.IGNORECASE)
            items.append((said, pair.question, other))
    before = [[(say, "Got it.")] for say, _, _ in items]
    answers = answer_with(
        model,
        [ask for _, ask, _ in items],
        context,
        checkpoint=checkpoint,
        stage="told now",
        before=before,
    )
    return [
        QAPair(ask, answer, "", "told now", "train", before=tuple(turn))
        for (_, ask, value), answer, turn in zip(items, answers, before, strict=True)
        if grade(answer, [value])
    ]
