"""Which film comes to mind first: of those that fit, the better known it is, the likelier.

Were all alike, a suggestion would be one of dozens of titles at random: nothing that could be learned, not even
that a film which was turned down is none of them (docs/lab_book.md).
"""

import hashlib
import random
from pathlib import Path

from agent.catalogue import Film

BEST_KNOWN = Path(__file__).with_name("best_known.txt")

STEEPNESS = 1.3
"""The n-th best known of the films that fit is named n ** STEEPNESS times less often than the first, which then has a
third of all. Chosen."""


def best_known(films: list[Film]) -> list[Film]:
    """Return the films of `best_known.txt`, one title a line, in its order: those asked for most."""
    by_title = {film.title: film for film in films}
    titles = BEST_KNOWN.read_text(encoding="utf-8").splitlines()
    return [by_title[title] for title in titles if title in by_title]


def by_fame(films: list[Film]) -> list[Film]:
    """Return all films, the best known first, the others in an order that means nothing."""
    first = best_known(films)
    others = [film for film in films if film not in first]
    return first + sorted(others, key=lambda film: hashlib.sha256(film.title.encode()).digest())


def come_to_mind(fitting: list[Film], rng: random.Random) -> Film:
    """Return one of the films, which are in order of fame."""
    weights = [(place + 1) ** -STEEPNESS for place in range(len(fitting))]
    return rng.choices(fitting, weights)[0]
