"""Rank the films of the catalogue for a user, with the model itself.

    every genre ── "Which genre do I love?", "... can't I stand?"    ─▶ P(westerns) against P(not told)
    best 300    ── "Would I enjoy Unforgiven (1992, western, drama)?" ─▶ P(yes)
                   order: its genres first, then P(yes); none of a hated genre
    best 50     ── that, and "Have I seen Unforgiven?"                ─▶ a "no" and seen ones dropped
    best n      ── the genre that is loved, else the whole reply       ─▶ the reason shown

It reads the catalogue, the current chat and the weights, and nothing else: there is no table of
liked, hated or seen films anywhere. The genres come first because a small model knows well what it
was told, and badly what follows from it for a film (docs/lab_book.md).
"""

import math
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from agent import prompts
from agent.catalogue import GENRES, Catalogue, Film
from agent.memory.synthesis import in_full
from agent.model import LanguageModel
from agent.packing import Answered

NUM_ASKED = 300
"""The films of the genres liked best, of which the model is asked whether they would please: two
seconds on two cores, however long the catalogue."""

NUM_CHECKED = 50
"""The best films, of which the model is asked whether they were seen."""

FILMS_AT_A_TIME = 64

LOVED = 0.5
"""Least probability at which a loved genre is the reason. Chosen, not measured."""

BESIDE = 0.03
"""Least share of the likeliest genre's probability that another one needs that was told too. Read off eight
chats: told second, a genre has 0.06 to 0.83 of it, any other at most 0.02 (docs/lab_book.md)."""

HATED = 0.5
"""Least probability that a genre is hated at which its films are left out, also if it was loved before, and
of "no" to a film. Chosen, not measured."""


Ask = Callable[[str], list[prompts.Message]]


def in_a_fresh_chat(question: str) -> list[prompts.Message]:
    return prompts.chat([], question)


@dataclass(frozen=True, slots=True)
class Recommendation:
    film: Film
    score: float
    """How well its genres are liked, from -1, all hated, to 1, all loved."""
    reason: str


def recommend(
    model: LanguageModel,
    catalogue: Catalogue,
    *,
    slot: str,
    ask: Ask = in_a_fresh_chat,
    number: int = 5,
) -> list[Recommendation]:
    """Return up to `number` films, best first: not seen, not of a hated genre, each with a reason.

    Args:
        slot: The user's adapter slot, or `BASE`.
        ask: Makes a prompt of a question. What stands in it beside, as the current chat, counts.
    """
    films = catalogue.films
    loved, hated = (
        _genres(model, question, ask, slot)
        for question in (prompts.LOVED_GENRE, prompts.HATED_GENRE)
    )
    liked = [
        statistics.mean(loved[genre] - hated[genre] for genre in film.genres) for film in films
    ]
    good = [i for i, film in enumerate(films) if max(hated[g] for g in film.genres) < HATED]
    random.Random(0).shuffle(good)  # else the oldest films of a genre would be asked about
    good = sorted(good, key=lambda i: -round(liked[i], 1))[:NUM_ASKED]
    wanted = dict(zip(good, _replies(
        model, [prompts.WOULD_LIKE.format(film=in_full(films[i])) for i in good], ask, slot, prompts.WOULD_LIKE_STARTS
    ), strict=True))  # fmt: skip
    order = sorted(good, key=lambda i: (-round(liked[i], 1), -wanted[i][0]))[:NUM_CHECKED]
    seen = _replies(
        model, [prompts.HAVE_SEEN.format(title=films[i].title) for i in order], ask, slot, prompts.HAVE_SEEN_STARTS
    )  # fmt: skip
    best = [
        i
        for i, (yes, no) in zip(order, seen, strict=True)
        if yes <= no and math.exp(wanted[i][1]) < HATED
    ][:number]
    favourites = {i: max(films[i].genres, key=loved.__getitem__) for i in best}
    unclear = [i for i in best if loved[favourites[i]] < LOVED]
    replies = model.generate(
        [ask(prompts.WOULD_LIKE.format(film=in_full(films[i]))) for i in unclear], slot=slot, max_new_tokens=48
    ) if unclear else []  # fmt: skip
    reasons = {
        i: prompts.LOVED_GENRE[1].format(genre=GENRES[genre][0]) + "."
        for i, genre in favourites.items()
    } | {i: reply.strip() for i, reply in zip(unclear, replies, strict=True)}
    return [Recommendation(films[i], liked[i], reasons[i]) for i in best]


def _genres(
    model: LanguageModel, question: tuple[str, str], ask: Ask, slot: str
) -> dict[str, float]:
    """Return how sure it is that each genre is an answer, 0 to 1: its probability against that of "you
    haven't told me". Of several genres told, each has but a share of the one answer."""
    asked, start = question
    prompt = tuple(model.encode(ask(asked)))
    starts = [*(start.format(genre=taste) for taste, _ in GENRES.values()), prompts.NOT_TOLD]
    found = model.answer_probabilities(
        [Answered(prompt, tuple(model.encode_text(start))) for start in starts], slot=slot
    )
    *of_genres, not_told = found
    against = not_told + BESIDE * max(of_genres)
    return {genre: p / (p + against) for genre, p in zip(GENRES, of_genres, strict=True)}


def _replies(
    model: LanguageModel,
    questions: Sequence[str],
    ask: Ask,
    slot: str,
    starts: tuple[tuple[str, ...], tuple[str, ...]],
) -> list[tuple[float, float]]:
    """Return log P(yes) and log P(no) for each question, judged by how the reply begins."""
    affirm, deny = ([model.encode_answer(word)[0] for word in words] for words in starts)
    found: list[tuple[float, float]] = []
    for start in range(0, len(questions), FILMS_AT_A_TIME):
        batch = [
            Answered(tuple(model.encode(ask(question))), (affirm[0],))
            for question in questions[start : start + FILMS_AT_A_TIME]
        ]
        with torch.inference_mode():
            logprobs = model.answer_logits(batch, slot=slot).float().log_softmax(-1)  # (N, V)
        yes, no = (logprobs[:, words].logsumexp(1) for words in (affirm, deny))
        found += zip(yes.tolist(), no.tolist(), strict=True)
    return found
