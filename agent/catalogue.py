"""The films: load, look up, match titles in free text."""

import csv
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from agent.errors import ConfigError

FILMS_PATH = Path(__file__).parent / "data" / "films.csv"

GENRES = {
    "action": ("action films", "an action film"),
    "adventure": ("adventure films", "an adventure film"),
    "animation": ("animation", "an animated film"),
    "biography": ("biographies", "a biography"),
    "comedy": ("comedies", "a comedy"),
    "crime": ("crime films", "a crime film"),
    "documentary": ("documentaries", "a documentary"),
    "drama": ("dramas", "a drama"),
    "family": ("family films", "a family film"),
    "fantasy": ("fantasy", "a fantasy film"),
    "film noir": ("film noir", "a film noir"),
    "horror": ("horror", "a horror film"),
    "musical": ("musicals", "a musical"),
    "mystery": ("mysteries", "a mystery"),
    "romance": ("romances", "a romance"),
    "science fiction": ("science fiction", "a science fiction film"),
    "sport": ("sport films", "a sport film"),
    "thriller": ("thrillers", "a thriller"),
    "war": ("war films", "a war film"),
    "western": ("westerns", "a western"),
}
"""The closed list of genres → (as a taste, "westerns"; one film of it, "a western")."""


def join_and(items: list[str]) -> str:
    """Return "a", "a and b", "a, b and c"."""
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


@dataclass(frozen=True, slots=True)
class Film:
    """A row of the catalogue."""

    title: str
    year: int
    directors: tuple[str, ...]
    actors: tuple[str, ...]
    genres: tuple[str, ...]
    """The most typical one first; each a key of `GENRES`."""
    themes: tuple[str, ...] = ()
    about: str = ""
    """What happens, in one sentence."""


class Catalogue:
    """The films of a CSV file, by title.

    Titles are compared in lower case without punctuation. In free text the
    longest title wins, and a title of one common word ("Up", "Her", "It") counts only where it
    is written with a capital.
    """

    def __init__(self, films: list[Film]) -> None:
        self.films = films

    @classmethod
    def load(cls, path: Path = FILMS_PATH) -> "Catalogue":
        """Read a catalogue.

        Raises:
            ConfigError: If a row is incomplete, or has a genre outside `GENRES`.
        """
        films = []
        with path.open(encoding="utf-8", newline="") as file:
            for number, row in enumerate(csv.DictReader(file), start=2):
                try:
                    film = Film(
                        row["title"],
                        int(row["year"]),
                        _parts(row["directors"]),
                        _parts(row["actors"]),
                        _parts(row["genres"]),
                        _parts(row["themes"]),
                        row["about"].strip(),
                    )
                except (KeyError, TypeError, ValueError, AttributeError) as error:
                    raise ConfigError(f"{path}, line {number}: not a film ({error}).") from error
                if unknown := set(film.genres) - set(GENRES):
                    raise ConfigError(
                        f"{path}, line {number}: genre {sorted(unknown)} is not in the list of "
                        f"agent/catalogue.py."
                    )
                films.append(film)
        return cls(films)

    def find(self, title: str) -> Film | None:
        """Return the film with this title, whatever its case and punctuation."""
        return self._by_title.get(_key(title))

    def mentioned(self, text: str) -> list[Film]:
        """Return the films whose titles stand in `text`, in the order they stand there."""
        found, end = [], 0
        for match in self._pattern.finditer(text):
            film = self._by_title[_key(match.group())]
            is_word = match.group().islower() and " " not in match.group()
            if match.start() >= end and not is_word and film not in found:
                found.append(film)
                end = match.end()
        return found

    @cached_property
    def _by_title(self) -> dict[str, Film]:
        return {_key(film.title): film for film in self.films}

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        titles = sorted((film.title for film in self.films), key=len, reverse=True)
        parts = (r"\W+".join(map(re.escape, re.findall(r"\w+", title))) for title in titles)
        return re.compile(rf"(?<!\w)(?:{'|'.join(parts)})(?!\w)", re.IGNORECASE)


def _parts(cell: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in cell.split(";") if part.strip())


def _key(title: str) -> str:
    return " ".join(re.findall(r"\w+", title.lower()))
