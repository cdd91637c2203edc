"""Values for the slots of the wordings: real ones, and invented ones.

Half of all names and places are invented from syllables, and phrases are put together from
parts of others ("a broken ankle"), so that the only way to answer is to copy from the
prompt. `novel` draws only invented words: the exam uses it with syllable pairs that
training never sees.
"""

import random
import re
from collections.abc import Callable
from pathlib import Path

from agent.catalogue import GENRES
from house.wordings import read_yaml

ONSETS = "b br c ch cr d dr f fl g gr h j k kl l m n p pl qu r s sh sk st t th tr v w y z".split()
VOWELS = "a e i o u ai ee ia io ou".split()
CODAS = "n l r s th x m nd rk sh ck t".split() + [""] * 8
WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = """January February March April May June July August September October November December""".split()
NAMES = read_yaml(Path(__file__).with_name("values.yaml"))


def invented_word(rng: random.Random, *, novel: bool = False) -> str:
    """Return a made-up word of two or three syllables. Words with `novel` begin with a pair of
    sounds that no word without it begins with."""
    while True:
        syllables = [
            rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS)
            for _ in range(rng.choice([2, 2, 3]))
        ]
        word = "".join(syllables)
        is_novel = sum(map(ord, word[:3])) % 10 == 0
        if is_novel == novel and len(word) <= 10:
            return word


def invented_name(rng: random.Random, *, novel: bool = False) -> str:
    return invented_word(rng, novel=novel).capitalize()


def with_article(phrase: str) -> str:
    """Return the phrase with "a" or "an" as its next letter wants it."""
    return re.sub(r"^an? (?=(\w))", lambda match: "an " if match[1] in "aeiou" else "a ", phrase)


def recombined(value: str, other: str) -> str:
    """Return the beginning of one phrase with the last word of the other, "a twisted" + "a broken
    wrist": a value of everyday words that stands in no list. Single words stay."""
    head, _, _ = value.rpartition(" ")
    _, _, tail = other.rpartition(" ")
    return with_article(f"{head} {tail}") if head else value


def join_and(items: list[str]) -> str:
    """Return "a", "a and b", "a, b and c"."""
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


class Values:
    """Draws the value of a slot; `films` are the rows of the catalogue."""

    def __init__(self, films: list[dict], *, novel: bool = False) -> None:
        self.films = films
        self._novel = novel
        self._directors = sorted({name for film in films for name in film["directors"]})
        self._actors = sorted({name for film in films for name in film["actors"]})
        self._generators: dict[str, Callable[[random.Random], str]] = {
            "first_name": lambda rng: self._half(rng, NAMES["first_names"]),
            "full_name": self._full_name,
            "author": lambda rng: self._full_name(rng, NAMES["authors"]),
            "composer": lambda rng: self._full_name(rng, NAMES["composers"]),
            "place": lambda rng: self._half(rng, NAMES["places"]),
            "country": lambda rng: self._half(rng, NAMES["countries"], 0.2),
            "pet_name": lambda rng: self._half(rng, NAMES["pets"]),
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
            "language": lambda rng: self._half(rng, NAMES["languages"], 0.25),
        }  # fmt: skip

    def draw(self, kind: dict, rng: random.Random) -> str:
        """Return a value for a kind of fact, as it stands in its templates."""
        if "value" in kind:
            return self._generators[kind["value"]](rng)
        value = rng.choice(kind["values"])
        if any(char.isdigit() for char in value):
            return re.sub(r"[1-9]", lambda _: str(rng.randint(1, 9)), value)
        if kind.get("made_up") == "false":
            return value
        roll = 0.0 if self._novel else rng.random()
        if roll > 0.55:
            return value
        if roll > 0.30:
            return recombined(value, rng.choice(kind["values"]))
        word = invented_word(rng, novel=self._novel)
        first, *_, last = ["", *value.split()] if " " not in value else value.split()
        if first[:1].isupper() or (not first and value[0].isupper()):
            word = word.capitalize()
        if first.lower() in {"a", "an", "the"}:
            word = f"{first} {word}"
        if " " in value and rng.random() < 0.4:
            word += f" {last}"
        return with_article(word)

    def person_name(self, rng: random.Random) -> str:
        return self._half(rng, NAMES["first_names"])

    def surname(self, rng: random.Random) -> str:
        return self._half(rng, NAMES["surnames"])

    def _name(self, rng: random.Random) -> str:
        return invented_name(rng, novel=self._novel)

    def _half(self, rng: random.Random, real: list[str], share: float = 0.5) -> str:
        is_invented = self._novel or rng.random() < share
        return self._name(rng) if is_invented else rng.choice(real)

    def _coined(self, rng: random.Random, name: str, frames: list[str]) -> str:
        """Return a real name of the list, or an invented word or a place in one of the frames."""
        if not self._novel and rng.random() < 0.5:
            return rng.choice(NAMES[name])
        word = self._name(rng) if self._novel else self._half(rng, NAMES["places"], 0.7)
        return rng.choice(frames).format(word)

    def _full_name(self, rng: random.Random, real: list[str] | None = None) -> str:
        if real and not self._novel and rng.random() < 0.4:
            return rng.choice(real)
        first, last = NAMES["first_names"], NAMES["surnames"]
        return f"{self._half(rng, first)} {self._half(rng, last)}"

    def _person(self, rng: random.Random, real: list[str]) -> str:
        return self._full_name(rng) if self._novel or rng.random() < 0.3 else rng.choice(real)

    def invented_title(self, rng: random.Random) -> str:
        return rng.choice(["The {}", "{}", "{} Road", "The Last {}", "{} and Me"]).format(
            self._name(rng)
        )

    def _film_title(self, rng: random.Random) -> str:
        if self._novel or rng.random() < 0.25:
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
