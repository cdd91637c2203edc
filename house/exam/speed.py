"""How fast one reply comes, with an adapter on, as in the app."""

import random
import time

from agent import prompts
from agent.model import LanguageModel
from house.documents import Writer
from house.exam.figures import MAX_NEW_TOKENS, Mark

TOKENS_PER_SECOND = 60
"""What a reply should reach, its prompt not counted."""


def exam_of_speed(
    model: LanguageModel, writer: Writer, rng: random.Random, least: int
) -> dict[str, Mark]:
    """Return how many of `least` replies about films, one at a time, came at `TOKENS_PER_SECOND` or
    more. Nothing else should run on the machine meanwhile."""
    model.slots.start_training(None, seed=0)
    tensors = model.slots.trained_tensors()  # it changes no reply, and is computed like any other
    model.slots.end_training()
    rates: list[float] = []
    with model.slots.adapter("exam@1", lambda: tensors) as slot:
        while len(rates) < least:
            question = f"Tell me about {rng.choice(writer.films).title}, and who is in it."
            if (rate := _rate(model, question, slot)) is not None:
                rates.append(rate)
    return {
        "decoding: replies at 60 tokens/s": Mark(sum(r >= TOKENS_PER_SECOND for r in rates), least)
    }


def _rate(model: LanguageModel, question: str, slot: str) -> float | None:
    """Return the tokens a second of a reply after its first piece; None if that was all."""
    pieces, ticks = [], []
    stream = model.stream(prompts.chat([], question), slot=slot, max_new_tokens=MAX_NEW_TOKENS)
    for piece in stream:
        pieces.append(piece)
        ticks.append(time.monotonic())
    if len(pieces) < 2:
        return None
    return len(model.encode_text("".join(pieces[1:]))) / (ticks[-1] - ticks[0])
