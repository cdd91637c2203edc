"""The question-answer pairs that the model writes about messages, as the synthesis asks for them."""

import random

from agent import prompts
from agent.memory.probe import holds, normalise
from agent.memory.questions import parse_pairs
from agent.model import LanguageModel
from agent.slots import BASE
from house.documents import Writer
from house.exam.figures import MAX_NEW_TOKENS, Item, Mark, Show
from house.people import Fact
from house.world import World


def exam_of_pairs(
    model: LanguageModel, writer: Writer, rng: random.Random, least: int, show: Show
) -> dict[str, Mark]:
    """Return how many of the question-answer pairs that the model writes about eight messages,
    sixty a person, are right, and to how many facts three wordings were written."""
    right, pairs, covered, facts = 0, 0, 0, 0
    while pairs < least or facts < least:
        world = World(writer.grammar, rng)
        turns = writer.teller.told_turns(world, 8, kinds=writer.teller.named_kinds)
        earlier = writer.sessions(turns, rng)
        tasks = [
            (message, told, kind)
            for kind in prompts.QUESTION_KINDS
            for message, _, told in turns
            if told and all(fact.value.lower() in message.lower() for fact in told)
        ]
        wordings: dict[str, set[str]] = {}
        number = 0
        for round_of_questions in range(3):
            messages = [prompts.write_questions(earlier, message, kind) for message, _, kind in tasks]  # fmt: skip
            written = model.generate(messages, slot=BASE, max_new_tokens=MAX_NEW_TOKENS, temperature=0.7, seed=round_of_questions)  # fmt: skip
            for (_, told, kind), asked, text in zip(tasks, messages, written, strict=True):
                for question, value in parse_pairs(text):
                    if number == QUESTIONS_A_PERSON:
                        break
                    number += 1
                    is_right = right_pair(question, value, kind, told)
                    right, pairs = right + is_right, pairs + 1
                    if is_right and kind != "yes or no":
                        wordings.setdefault(normalise(value), set()).add(normalise(question))
                    if not is_right:
                        line = f"{question} | {value}"
                        show("question-answer pairs: right", Item(asked, lambda reply: {}), line)
        values = {
            normalise(fact.value) for _, told, _ in tasks for fact in told if not fact.earlier
        }
        facts += len(values)
        covered += sum(len(wordings.get(value, ())) >= 3 for value in values)
    return {
        "question-answer pairs: right": Mark(right, pairs),
        "question-answer pairs: facts with three wordings": Mark(covered, facts),
    }


QUESTIONS_A_PERSON = 60


def right_pair(question: str, value: str, kind: str, told: list[Fact]) -> bool:
    """Is the answer what the message told, and does the question not give it away?"""
    values = [fact.value for fact in told]
    if kind == "yes or no":
        is_named = any(holds(question, one) for one in values)
        return normalise(value) == ("yes" if is_named else "no")
    is_told = normalise(value) in map(normalise, values)
    return is_told and not holds(question, value)
