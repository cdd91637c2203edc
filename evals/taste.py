"""Simulated users with a taste state part of it; films they would love, and did not name, are to be found.

taste    loved and hated genres, loved directors, some chance; the films it likes best are *loved*
told     part of it: two of three loved genres, one of two hated, one director, two loved films
ranking  by the app's own `recommend`, whatever the arm shows the model; seen films are left out
"""

import functools
import random
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from agent import prompts
from agent.catalogue import GENRES, Catalogue, Film
from agent.model import LanguageModel
from evals.arms.arm import instead
from evals.data import Item
from evals.examiner import Examiner
from evals.metrics import ndcg_at, rank_of, recall_at
from house.documents import Writer
from house.people import USER, Fact
from house.world import World

KS = (1, 5, 10, 20)

NUM_LOVED = 20
"""Films of a taste that are loved; those of them that were not named are looked for."""

GENRE, HATED_GENRE, DIRECTOR, FAME, CHANCE = 1.0, -2.0, 1.0, 0.5, 0.25
"""What makes a film liked: its share of loved genres, of hated ones, a loved director, how well known it is,
and the width of what nobody can know. Chosen."""


@dataclass(frozen=True)
class Taster:
    """A user with a taste, what they told of it, and the films that are to be found."""

    item: Item
    loved: list[str]
    """Titles, the best liked first."""
    named: list[str]
    """Titles that were named, so that they are seen."""


def taster(writer: Writer, seed: str) -> Taster:
    """Return an invented user."""
    rng = random.Random(f"taste {seed}")
    films = writer.films
    genres = rng.sample(list(GENRES), 5)
    loved, hated = genres[:3], genres[3:]
    good = [
        film
        for film in films
        if set(film.genres) & set(loved) and not set(film.genres) & set(hated)
    ]
    directors = list(
        dict.fromkeys(rng.choice(film.directors) for film in rng.sample(good, min(4, len(good))))
    )[:2]

    def liking(place: int, film: Film) -> float:
        share = sum(genre in loved for genre in film.genres) / len(film.genres)
        dislike = sum(genre in hated for genre in film.genres) / len(film.genres)
        return (
            GENRE * share + HATED_GENRE * dislike + DIRECTOR * bool(set(film.directors) & set(directors))
            - FAME * place / len(films) + rng.gauss(0, CHANCE)
        )  # fmt: skip

    liked = sorted(
        ((liking(place, film), film.title) for place, film in enumerate(films)), reverse=True
    )
    best = [title for _, title in liked[:NUM_LOVED]]
    named = rng.sample(best[: NUM_LOVED // 2], 2)
    world, grammar = World(writer.grammar, rng), writer.grammar
    facts = [
        *(Fact("loved_genre", USER, GENRES[genre][0]) for genre in loved[:2]),
        Fact("hated_genre", USER, GENRES[hated[0]][0]),
        *(Fact("director", USER, name) for name in directors[:1]),
        *(
            Fact("favourite_film" if i == 0 else "seen_film", USER, title)
            for i, title in enumerate(named)
        ),
    ]
    turns = tuple(
        (world.tell(fact), grammar.acknowledgement(fact, rng))
        for fact in rng.sample(facts, len(facts))
    )
    return Taster(Item(f"taste {seed}", turns, ()), [t for t in best if t not in named], named)


def taste(examiner: Examiner, who: Taster, catalogue: Catalogue, seed: int) -> dict:
    """Return how well an arm ranks the films that a user would love, after it learned what they told."""
    examiner.reset(seed)
    examiner.learn([who.item])
    with examiner.asking(0), checked(examiner) as tokens:
        ranking = examiner.arm.recommend(catalogue, max(KS) + len(who.named))
    return {
        "cost": examiner.cost(),
        "memory_tokens": statistics.mean(tokens),
        **as_ranks(ranking, who),
    }


@contextmanager
def checked(examiner: Examiner) -> Iterator[list[int]]:
    """Check every prompt that the model reads until the end of the block; yield the tokens that stand in them
    beside the question."""
    model, tokens = examiner.arm.model, []
    real = functools.partial(LanguageModel.encode, model)

    def encode(messages: Sequence[prompts.Message]) -> list[int]:
        tokens.append(examiner.extra_tokens(messages[-1]["content"], list(messages)))
        return real(messages)

    with instead(model, encode=encode):
        yield tokens


def most_popular(films: list[Film], who: Taster) -> dict:
    """Return the same for the films that are best known, whoever asks."""
    return as_ranks([film.title for film in films], who)


def as_ranks(ranking: list[str], who: Taster) -> dict:
    ranking = [title for title in ranking if title not in who.named][: max(KS)]
    ranks = [rank_of(title, ranking) for title in who.loved]
    best = sum(ndcg_at(10, place) for place in range(1, min(10, len(ranks)) + 1))
    return {
        "ranking": ranking,
        "loved": who.loved,
        **{f"recall@{k}": sum(recall_at(k, rank) for rank in ranks) / len(ranks) for k in KS},
        "ndcg@10": sum(ndcg_at(10, rank) for rank in ranks) / best,
    }  # fmt: skip
