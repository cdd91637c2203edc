"""Which film is suggested first."""

import random
from collections import Counter

from agent.catalogue import Catalogue
from house.fame import BEST_KNOWN, best_known, by_fame, come_to_mind

FILMS = Catalogue.load().films


def test_the_best_known_come_first_and_no_film_is_lost():
    ordered = by_fame(FILMS)
    assert [film.title for film in ordered[:2]] == ["The Godfather", "The Shawshank Redemption"]
    assert sorted(map(id, ordered)) == sorted(map(id, FILMS))
    titles = BEST_KNOWN.read_text(encoding="utf-8").splitlines()
    assert len(best_known(FILMS)) == len(titles) == 300


def test_the_first_of_those_that_fit_is_named_most_and_the_last_now_and_then():
    fitting, rng = by_fame(FILMS)[:40], random.Random(0)
    named = Counter(come_to_mind(fitting, rng).title for _ in range(4000))
    # Shares by hand: 1 / sum(n ** -1.3 for n in 1..40) = 0.352 for the first, 0.143 for the second.
    assert 0.32 < named[fitting[0].title] / 4000 < 0.38
    assert 0.12 < named[fitting[1].title] / 4000 < 0.17
    assert named[fitting[-1].title] > 0
