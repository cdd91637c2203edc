"""What the house model can do with the context in its prompt: the ceiling of everything else.

Users, names and wordings are none of the training's: lines come from one held-out side of the
split, real and made-up values are those kept from training, and the open kinds ("my gym is …")
of that side are kinds that no training text has.
"""

import random
import time
from collections.abc import Callable, Iterator

from agent.model import LanguageModel
from agent.slots import BASE
from house.documents import Writer
from house.exam.figures import FIGURES, MAX_NEW_TOKENS, Item, Mark, Show
from house.exam.films import (
    best_known,
    recommendations,
    unknown_films,
    verdicts,
    whole_catalogue,
)
from house.exam.pairs import exam_of_pairs
from house.exam.speed import exam_of_speed
from house.exam.told import (
    careless_facts,
    corrections,
    lists,
    long_transcripts,
    never_told,
    new_kinds,
    others,
    own_facts,
    told_now,
)

BATCH = 32

SOURCES: dict[str, Callable[[Writer, random.Random], Iterator[Item]]] = {
    "own": own_facts, "careless": careless_facts, "lists": lists, "others": others,
    "corrections": corrections, "now": told_now, "never": never_told, "new kinds": new_kinds,
    "long": long_transcripts, "best known": best_known, "catalogue": whole_catalogue,
    "unknown films": unknown_films, "recommendations": recommendations, "verdicts": verdicts,
}  # fmt: skip
"""Where the items come from, in the order they are asked."""

BESIDE = ("pairs", "speed")
"""What is asked otherwise: not an item with its reply."""

COUNTED = {
    "own": ["own facts, direct", "own facts, indirect", "own facts, yes or no"],
    "careless": ["typed carelessly, own facts"], "lists": ["own facts, lists: all items"],
    "others": ["other people's facts"], "corrections": ["corrections: the latest value"],
    "now": ["a value given in this chat wins"], "never": ["abstains when not told"],
    "new kinds": ["kinds that no training text has"], "long": ["40 turns: all of it"],
    "best known": ["films: the best known"], "catalogue": ["films: the whole catalogue"],
    "unknown films": ["films: says that it does not know one"],
    "recommendations": ["recommendations: a real title"],
    "verdicts": ["would it please: the right verdict"],
}  # fmt: skip
"""The figures of which a source must give enough."""


def exam(
    model: LanguageModel, writer: Writer, *, least: int, seed: int = 0,
    only: Callable[[str], bool] = lambda name: True,
    show: Show = lambda name, item, reply: None, progress: Callable[[str], None] = lambda text: None,
) -> dict[str, Mark]:  # fmt: skip
    """Return the mark of every figure, over at least `least` items each. `show` is called with
    every reply that was wrong."""
    marks: dict[str, Mark] = {}
    for name, source in SOURCES.items():
        if not only(name):
            continue
        began = time.monotonic()
        rng = random.Random(f"{seed}/{name}")
        for item, reply in replies_of(model, source(writer, rng), _is_enough(marks, name, least)):
            for figure, does_count in item.judge(reply).items():
                mark = marks.get(figure, Mark(0, 0))
                marks[figure] = Mark(mark.hits + does_count, mark.asked + 1)
                if does_count == FIGURES[figure].is_mistake:
                    show(figure, item, reply)
        progress(f"{name}: {time.monotonic() - began:.0f} s")
    if only("pairs"):
        marks |= exam_of_pairs(model, writer, random.Random(f"{seed}/pairs"), least, show)
    if only("speed"):
        marks |= exam_of_speed(model, writer, random.Random(f"{seed}/speed"), least)
    return marks


def _is_enough(marks: dict[str, Mark], name: str, least: int) -> Callable[[], bool]:
    """Has every figure of a source been asked for often enough?"""
    return lambda: all(marks.get(figure, Mark(0, 0)).asked >= least for figure in COUNTED[name])


def replies_of(
    model: LanguageModel, items: Iterator[Item], is_enough: Callable[[], bool]
) -> Iterator[tuple[Item, str]]:
    """Yield items with their replies, a chunk at a time, prompts of like length together."""
    while not is_enough():
        chunk = sorted((next(items) for _ in range(2 * BATCH)), key=lambda i: len(str(i.messages)))
        for start in range(0, len(chunk), BATCH):
            part = chunk[start : start + BATCH]
            replies = model.generate(
                [item.messages for item in part], slot=BASE, max_new_tokens=MAX_NEW_TOKENS
            )
            yield from zip(part, (reply.strip() for reply in replies), strict=True)
