"""What is counted: figures with what they should be, items, marks.

A *figure* is a share of items, with what it should be at least, or at most. One item may count
for two: a question about the user's sister is right or not, and shows the user's own value or not.
"""

from collections.abc import Callable
from dataclasses import dataclass

from agent import prompts


@dataclass(frozen=True)
class Figure:
    """What a figure should be: at least, or at most if it counts mistakes."""

    name: str
    wanted: float
    is_mistake: bool = False

    def is_reached(self, share: float) -> bool:
        return share <= self.wanted if self.is_mistake else share >= self.wanted


FIGURES = {
    figure.name: figure
    for figure in [
        Figure("own facts, direct", 0.97),
        Figure("own facts, indirect", 0.90),
        Figure("own facts, yes or no", 0.90),
        Figure("own facts, lists: all items", 0.90),
        Figure("other people's facts", 0.95),
        Figure("bleed", 0.02, is_mistake=True),
        Figure("corrections: the latest value", 0.95),
        Figure("stale", 0.03, is_mistake=True),
        Figure("a value given in this chat wins", 0.95),
        Figure("abstains when not told", 0.97),
        Figure("wrongly abstains", 0.02, is_mistake=True),
        Figure("kinds that no training text has", 0.75),
        Figure("films: the best known", 0.90),
        Figure("films: the whole catalogue", 0.90),
        Figure("films: says that it does not know one", 0.90),
        Figure("recommendations: a real title", 0.99),
        Figure("recommendations: fits the wish", 0.93),
        Figure("recommendations: none hated or seen", 0.98),
        Figure("would it please: the right verdict", 0.90),
        Figure("question-answer pairs: right", 0.95),
        Figure("question-answer pairs: facts with three wordings", 0.95),
        Figure("40 turns: all of it", 0.90),
        Figure("typed carelessly, own facts", 0.90),
        Figure("decoding: replies at 60 tokens/s", 0.95),
    ]
}

Judge = Callable[[str], dict[str, bool]]


@dataclass(frozen=True)
class Item:
    """One prompt, and the judge of its reply: figure → does it count?"""

    messages: list[prompts.Message]
    judge: Judge


@dataclass(frozen=True)
class Mark:
    """How many items counted for a figure, of how many."""

    hits: int
    asked: int


MAX_NEW_TOKENS = 96

Show = Callable[[str, Item, str], None]
