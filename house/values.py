"""Values for the slots of the wordings: real ones, and invented ones.

Half of all names and places are made up, letter by letter after real ones, and phrases are put
together from parts of others ("a broken ankle"), so that the only way to answer is to copy from the
prompt. A fifth of the real ones and a tenth of what can be made up, chosen by hash, never enter
training: `novel` draws these alone, for the exam.
"""

import functools
import hashlib
import random
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from agent.catalogue import GENRES
from house.wordings import read_yaml

WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = """January February March April May June July August September October November December""".split()
DAY = re.compile(rf"\b\d{{1,2}}(?:(st|nd|rd|th)\b|(?= (?:{'|'.join(MONTHS)})\b))")
"""A number in a phrase that no other digits may stand for: "22nd", "5 May"."""
NAMES = read_yaml(Path(__file__).with_name("values.yaml"))

COINED_FROM = {
    "first_names", "surnames", "places", "pets", "bands", "companies", "teams", "schools", "streets",
    "cinemas", "series", "books",
}  # fmt: skip
"""The lists whose capital words made-up names look like."""


def bucket(text: str) -> int:
    """Return a number from 0 to 9 by the hash of a value in lower case."""
    return hashlib.sha256(text.lower().encode()).digest()[0] % 10


def is_novel(value: str) -> bool:
    """Is this real value kept from training?"""
    return bucket(value) < 2


class Coiner:
    """Makes up words that look like given ones: each letter follows the three before it as it does
    there (Shannon 1948, section 3)."""

    ORDER = 3

    def __init__(self, words: Iterable[str]) -> None:
        self._known = {word.lower() for word in words}
        self._next: dict[str, list[str]] = {}
        for word in sorted(self._known):
            padded = "^" * self.ORDER + word + "$"
            for i in range(self.ORDER, len(padded)):
                self._next.setdefault(padded[i - self.ORDER : i], []).append(padded[i])

    def coin(self, rng: random.Random, *, novel: bool = False) -> str:
        """Return a word of 4 to 10 letters that is none of the given ones, in lower case."""
        while True:
            word = ""
            while len(word) <= 10:
                letter = rng.choice(self._next[("^" * self.ORDER + word)[-self.ORDER :]])
                if letter == "$":
                    break
                word += letter
            if 4 <= len(word) <= 10 and word not in self._known and (bucket(word) == 0) == novel:
                return word


@functools.cache
def _names() -> Coiner:
    words = (
        word
        for name in COINED_FROM
        for value in NAMES[name]
        for word in re.findall(r"\b[^\W\d_]{3,}", value)
    )
    return Coiner(word for word in words if word[0].isupper())


@functools.cache
def _words() -> Coiner:
    lists = [values for name, values in NAMES.items() if name not in COINED_FROM]
    words = (
        word for values in lists for value in values for word in re.findall(r"[^\W\d_]{4,}", value)
    )
    return Coiner(word for word in words if word.islower())


def invented_word(rng: random.Random, *, novel: bool = False) -> str:
    """Return a made-up common word."""
    return _words().coin(rng, novel=novel)


def invented_name(rng: random.Random, *, novel: bool = False) -> str:
    """Return a made-up name."""
    return _names().coin(rng, novel=novel).capitalize()


def with_article(phrase: str) -> str:
    """Return the phrase with "a" or "an" as its next letter wants it."""
    return re.sub(r"^an? (?=(\w))", lambda match: "an " if match[1] in "aeiou" else "a ", phrase)


def recombined(value: str, other: str) -> str:
    """Return the beginning of one phrase with the last word of the other, "a twisted" + "a broken
    wrist": a value of everyday words that stands in no list. Single words stay."""
    head, _, _ = value.rpartition(" ")
    _, _, tail = other.rpartition(" ")
    return with_article(f"{head} {tail}") if head else value


MADE_UP, RECOMBINED = 0.15, 0.2
"""Shares of phrases that are made up, and put together of two."""


class Values:
    """Draws the value of a slot; `films` are the rows of the catalogue."""

    def __init__(self, films: list[dict], *, novel: bool = False) -> None:
        self.films = films
        self._novel = novel
        self._real = {name: self._side(values) for name, values in NAMES.items()}
        self._directors = sorted({name for film in films for name in film["directors"]})
        self._actors = sorted({name for film in films for name in film["actors"]})
        self._generators: dict[str, Callable[[random.Random], str]] = {
            "first_name": lambda rng: self._half(rng, "first_names"),
            "full_name": self._full_name,
            "author": lambda rng: self._full_name(rng, "authors"),
            "composer": lambda rng: self._full_name(rng, "composers"),
            "place": lambda rng: self._half(rng, "places"),
            "country": lambda rng: self._half(rng, "countries", 0.2),
            "pet_name": lambda rng: self._half(rng, "pets"),
            "company": lambda rng: self._coined(rng, "companies", ["{}", "{}", "{} Ltd", "{} Systems", "{} Foods", "{} Bank", "Maison {}", "{} & Sons"]),
            "film": self._film_title,
            "director": lambda rng: self._person(rng, self._directors),
            "actor": lambda rng: self._person(rng, self._actors),
            "genre": lambda rng: rng.choice(list(GENRES.values()))[0],
            "weekday": lambda rng: rng.choice(WEEKDAYS),
            "date": lambda rng: f"{rng.randint(1, 28)} {rng.choice(MONTHS)}",
            "clock": self._clock,
            "band": lambda rng: self._coined(rng, "bands", ["The {}s", "{}", "The {} Five", "{} and the Rest"]),
            "school": lambda rng: self._coined(rng, "schools", ["{} College", "{} University", "{} High", "{} Primary"]),
            "team": lambda rng: self._coined(rng, "teams", ["FC {}", "{} United", "{} Rovers", "the {} Bears", "{} City", "St {}"]),
            "book": lambda rng: self._coined(rng, "books", ["The {} Garden", "The {} Letters", "The {} House", "A Year in {}", "{}"]),
            "series": lambda rng: self._coined(rng, "series", ["{} Bay", "{} Street", "{} Files", "{}", "The {}s"]),
            "street": lambda rng: self._coined(rng, "streets", ["{} Street", "{} Lane", "{} Road", "{} Square"]),
            "cinema": lambda rng: "the " + self._coined(rng, "cinemas", ["{}"]),
            "language": lambda rng: self._half(rng, "languages", 0.25),
        }  # fmt: skip

    def draw(self, kind: dict, rng: random.Random) -> str:
        """Return a value for a kind of fact, as it stands in its templates."""
        if "value" in kind:
            return self._generators[kind["value"]](rng)
        values = self._side(kind["values"])
        value = rng.choice(values)
        if DAY.search(value):
            return DAY.sub(lambda match: f"{rng.randint(4, 20)}{'th' if match[1] else ''}", value)
        if any(char.isdigit() for char in value):
            return re.sub(r"[1-9]", lambda _: str(rng.randint(1, 9)), value)
        roll = rng.random()
        if roll > MADE_UP + RECOMBINED or kind.get("made_up") == "false":
            return value
        if roll > MADE_UP:
            return recombined(value, rng.choice(values))
        word = invented_word(rng, novel=self._novel)
        first, *_, last = ["", *value.split()] if " " not in value else value.split()
        if first[:1].isupper() or (not first and value[0].isupper()):
            word = word.capitalize()
        if first.lower() in {"a", "an", "the"}:
            word = f"{first} {word}"
        if " " in value and rng.random() < 0.4:
            word += f" {last}"
        return with_article(word)

    def _side(self, values: list[str]) -> list[str]:
        """Return the values of this side; all of a list that has none on it."""
        return [value for value in values if is_novel(value) == self._novel] or values

    def person_name(self, rng: random.Random) -> str:
        return self._half(rng, "first_names")

    def surname(self, rng: random.Random) -> str:
        return self._half(rng, "surnames", 0.3)

    def _name(self, rng: random.Random) -> str:
        return invented_name(rng, novel=self._novel)

    def _half(self, rng: random.Random, name: str, share: float = 0.5) -> str:
        """Return a value of a list of `values.yaml`, or with this probability a made-up name."""
        return self._name(rng) if rng.random() < share else rng.choice(self._real[name])

    def _coined(self, rng: random.Random, name: str, frames: list[str]) -> str:
        """Return a real name of the list, or a made-up name or a place in one of the frames."""
        if rng.random() < 0.5:
            return rng.choice(self._real[name])
        return rng.choice(frames).format(self._half(rng, "places", 0.7))

    def _full_name(self, rng: random.Random, name: str = "") -> str:
        if name and rng.random() < 0.4:
            return rng.choice(self._real[name])
        return f"{self._half(rng, 'first_names', 0.3)} {self._half(rng, 'surnames', 0.3)}"

    def _person(self, rng: random.Random, known: list[str]) -> str:
        return self._full_name(rng) if self._novel or rng.random() < 0.3 else rng.choice(known)

    def invented_title(self, rng: random.Random) -> str:
        frames = [
            "The {}",
            "{}",
            "{} Road",
            "The Last {}",
            "{} and Me",
            "{} in Winter",
            "A Song for {}",
        ]
        return rng.choice(frames).format(self._name(rng))

    def _film_title(self, rng: random.Random) -> str:
        if rng.random() < (0.5 if self._novel else 0.25):
            return self.invented_title(rng)
        return rng.choice(self.films)["title"]

    @staticmethod
    def _clock(rng: random.Random) -> str:
        hour = rng.choice("seven eight nine ten eleven six".split())
        return rng.choice(
            [
                f"half past {hour}",
                f"{hour} o'clock",
                f"{rng.randint(6, 11)} pm",
                f"{rng.randint(6, 11)}:{rng.choice(['15', '30', '45'])} pm",
            ]
        )
