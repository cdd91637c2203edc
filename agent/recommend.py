"""Rank the films of the catalogue for a user, with the model itself.

    every film ── "Would I enjoy Unforgiven (1992, western, drama)?" ─▶ P(yes), P(no); what is left
                                                                        is "I can't tell"
    best 50    ── "Have I seen Unforgiven?"                          ─▶ seen ones dropped, and those
                                                                        it rather said "no" to before
    best n     ── the whole reply                                    ─▶ the reason shown

It reads the catalogue, the current chat and the weights, and nothing else: there is no table of
liked, hated or seen films anywhere.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from agent import prompts
from agent.catalogue import Catalogue, Film
from agent.memory.synthesis import in_full
from agent.model import LanguageModel
from agent.packing import Answered

NUM_CHECKED = 50
"""The best films, of which the model is asked whether they were seen."""

FILMS_AT_A_TIME = 64


@dataclass(frozen=True, slots=True)
class Recommendation:
    film: Film
    score: float
    """Log odds of "yes" in the model's reply to "would I enjoy it?", in nats."""
    reason: str


def recommend(
    model: LanguageModel,
    catalogue: Catalogue,
    *,
    slot: str,
    turns: Sequence[tuple[str, str]] = (),
    number: int = 5,
) -> list[Recommendation]:
    """Return up to `number` films, best first: not seen, not of a hated genre, each with a reason.

    Args:
        slot: The user's adapter slot, or `BASE`.
        turns: The current chat; a wish told there counts.
    """
    films = catalogue.films
    liking = _replies(
        model, [prompts.WOULD_LIKE.format(film=in_full(film)) for film in films], turns, slot,
        prompts.WOULD_LIKE_STARTS,
    )  # fmt: skip
    order = sorted(range(len(films)), key=lambda i: -liking[i][0])[:NUM_CHECKED]
    seen = _replies(
        model,
        [prompts.HAVE_SEEN.format(title=films[i].title) for i in order],
        turns,
        slot,
        prompts.HAVE_SEEN_STARTS,
    )
    best = [
        i
        for i, (is_seen, is_not) in zip(order, seen, strict=True)
        if is_seen <= is_not and liking[i][0] > liking[i][1]
    ][:number]
    reasons = model.generate(
        [prompts.chat(turns, prompts.WOULD_LIKE.format(film=in_full(films[i]))) for i in best], slot=slot, max_new_tokens=48
    ) if best else []  # fmt: skip
    return [
        Recommendation(films[i], liking[i][0] - math.log1p(-math.exp(liking[i][0])), reason.strip())
        for i, reason in zip(best, reasons, strict=True)
    ]


def _replies(
    model: LanguageModel,
    questions: Sequence[str],
    turns: Sequence[tuple[str, str]],
    slot: str,
    starts: tuple[tuple[str, ...], tuple[str, ...]],
) -> list[tuple[float, float]]:
    """Return log P(yes) and log P(no) for each question, judged by how the reply begins."""
    affirm, deny = ([model.encode_answer(word)[0] for word in words] for words in starts)
    found: list[tuple[float, float]] = []
    for start in range(0, len(questions), FILMS_AT_A_TIME):
        batch = [
            Answered(tuple(model.encode(prompts.chat(turns, question))), (affirm[0],))
            for question in questions[start : start + FILMS_AT_A_TIME]
        ]
        with torch.inference_mode():
            logprobs = (
                model.answer_logits(batch, slot=slot).float().log_softmax(-1)
            )  # (N, V), one token each
        yes, no = (logprobs[:, words].logsumexp(1).clamp(max=-1e-6) for words in (affirm, deny))
        found += zip(yes.tolist(), no.tolist(), strict=True)
    return found
