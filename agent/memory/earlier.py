"""What a new slice has to do with what was learned before: wordings stay apart, corrections replace,
the rest is rehearsed, and nothing that was once told is taught as never told.
"""

import random
import zlib
from collections.abc import Sequence
from dataclasses import replace

from agent.memory.bank import QuestionBank
from agent.memory.probe import is_abstention, normalise
from agent.memory.questions import Checkpoint, QAPair, wording
from agent.memory.synthesis import Synthesis
from agent.memory.tables import StoredPair, Turn
from agent.memory.teacher import answer_with, corrected
from agent.model import LanguageModel
from agent.slots import BASE

MAX_CHECKED = 40
"""Earlier facts, the newest, that are held against new turns: do they correct them?"""

MAX_REPLAY = 64
"""Earlier pairs rehearsed in one consolidation: bounded, whatever the length of the past."""

MAX_COMPARED = 48
ENOUGH_TO_COMPARE = 20
"""Earlier questions that the gate asks of both generations. Of fewer than 20, one flipped answer is
more than the 0.05 that the gate allows."""


def admitted(material: Synthesis, earlier: Sequence[StoredPair]) -> Synthesis:
    """Keep apart what trains and what probes, over all generations (docs/method.md, rule 6): a question
    that trained once never probes or stops, one that probes never trains."""
    trained = {wording(pair.question) for pair in earlier if not pair.is_probe}
    probes = {wording(pair.question) for pair in earlier if pair.is_probe}
    probes |= {wording(pair.question) for pair in material.of_use("probe")} - trained
    pairs = []
    for pair in material.pairs:
        question = wording(pair.question)
        if pair.use != "train" and question in trained:
            pair = replace(pair, use="train")
        if pair.use == "probe" or question not in probes:
            pairs.append(pair)
    return replace(material, pairs=pairs)


def up_to_date(material: Synthesis, earlier: Sequence[StoredPair]) -> Synthesis:
    """Leave out the facts that a later message has replaced and that was learned before: a slice that
    was set aside and is tried again may be older than its correction."""
    known = {
        (wording(pair.question), max(pair.source_turn_ids, default=0)): normalise(pair.value)
        for pair in earlier
        if pair.value
    }
    gone = {
        (pair.turn_ids, normalise(pair.value))
        for pair in material.pairs
        for (question, source), value in known.items()
        if pair.value and pair.kind != "bank" and question == wording(pair.question)
        and source > max(pair.turn_ids) and value != normalise(pair.value)
    }  # fmt: skip
    kept = [pair for pair in material.pairs if (pair.turn_ids, normalise(pair.value)) not in gone]
    return replace(material, pairs=kept)


def superseded(
    earlier: Sequence[StoredPair],
    material: Synthesis,
    turns: Sequence[Turn],
    model: LanguageModel,
    *,
    checkpoint: Checkpoint,
) -> set[int]:
    """Return the ids of the earlier pairs that these turns correct, or whose question has another
    answer now: they are neither rehearsed nor probed any more."""
    facts: dict[tuple, list[QAPair]] = {}
    for pair in earlier:
        if pair.value and normalise(pair.value) not in {"yes", "no"}:
            facts.setdefault((pair.source_turn_ids, normalise(pair.value)), []).append(
                QAPair(pair.question, pair.answer, pair.value, pair.kind, "train", pair.source_turn_ids)
            )  # fmt: skip
    newest = sorted(facts)[-MAX_CHECKED:]
    found = corrected(model, [facts[key] for key in newest], turns, checkpoint=checkpoint)
    gone = {newest[number] for number in found}
    sources = {source for source, _ in gone}
    asked_anew: dict[str, set[str]] = {}
    for pair in material.pairs:
        if pair.value:  # not "told now" and tastes: what they say is no fact
            asked_anew.setdefault(wording(pair.question), set()).add(normalise(pair.value))

    def is_gone(pair: StoredPair) -> bool:
        value = normalise(pair.value)
        if value in {"yes", "no"} and pair.source_turn_ids in sources:
            return True
        is_corrected = (pair.source_turn_ids, value) in gone
        return is_corrected or value not in asked_anew.get(wording(pair.question), {value})

    return {pair.id for pair in earlier if is_gone(pair)}


def never_told(
    material: Synthesis,
    earlier: Sequence[StoredPair],
    before: str,
    live: str,
    model: LanguageModel,
    bank: QuestionBank,
    *,
    checkpoint: Checkpoint,
) -> list[QAPair]:
    """Keep of the negatives what neither the earlier pairs, in any way to ask it, nor the live generation, nor the
    teacher with the earlier turns in its prompt answers, and what this slice does not answer in a
    narrower window (docs/method.md, rule 5). A third of them only probes: always the same, so that
    none trains in another generation.

    Args:
        before: Transcript of the turns before this slice.
        live: Slot of the live generation.
    """
    kept = material.negatives
    asked = [(live, "")] if live != BASE else []
    for slot, context in asked + ([(BASE, before)] if before else []):
        answers = answer_with(
            model, [pair.question for pair in kept], context, slot=slot, checkpoint=checkpoint, stage="negatives"
        )  # fmt: skip
        kept = [pair for pair, answer in zip(kept, answers, strict=True) if is_abstention(answer)]
    known = {wording(pair.question) for pair in (*material.pairs, *earlier) if pair.value}
    ways_of = {ways[0]: ways for ways in bank.asked_of_all(set(bank.people))}
    return [
        replace(pair, use="probe" if number_of(pair.question) % 3 == 0 else "train")
        for pair in kept
        if known.isdisjoint(map(wording, ways_of.get(pair.question, [pair.question])))
    ]


def to_rehearse(earlier: Sequence[StoredPair]) -> list[StoredPair]:
    """Return the pairs to rehearse, least recently rehearsed first (docs/method.md, rule 8). What has
    no value, a recommendation or a taste, is asked anew in every consolidation."""
    return [pair for pair in earlier if pair.value and not pair.is_probe][:MAX_REPLAY]


def to_compare(earlier: Sequence[StoredPair], rng: random.Random) -> list[StoredPair]:
    """Return the earlier questions that tell whether anything was lost: held-out wordings, and where
    those are few, trained ones beside them."""
    probes = [pair for pair in earlier if pair.is_probe]
    chosen = rng.sample(probes, min(len(probes), MAX_COMPARED))
    trained = [pair for pair in to_rehearse(earlier) if normalise(pair.value) not in {"yes", "no"}]
    missing = max(0, ENOUGH_TO_COMPARE - len(chosen))
    return chosen + rng.sample(trained, min(len(trained), missing))


def number_of(question: str) -> int:
    """Return a number that a question has in every process."""
    return zlib.crc32(wording(question).encode())
