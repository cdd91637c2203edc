"""The films: sane rows, and titles found in free text."""

from collections import Counter

import pytest

from agent.catalogue import GENRES, Catalogue
from agent.errors import ConfigError

HEADER = "title,year,directors,actors,genres,themes,about"


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue.load()


def test_the_list_is_long_and_without_duplicates(catalogue):
    assert len(catalogue.films) >= 1200
    titles = Counter(film.title.lower() for film in catalogue.films)
    assert [title for title, number in titles.items() if number > 1] == []


def test_every_row_is_sane(catalogue):
    for film in catalogue.films:
        assert 1895 <= film.year <= 2025, film
        assert film.directors, film
        assert 1 <= len(film.genres) <= 3, film
        assert set(film.genres) <= set(GENRES), film
        assert len(set(film.genres)) == len(film.genres), film
        assert 2 <= len(set(film.themes)) == len(film.themes) <= 5, film
        assert film.about.endswith("."), film
        assert 4 <= len(film.about.split()) <= 18, film
        assert film.title.lower() not in film.about.lower() or len(film.title) < 8, film


def test_every_genre_has_enough_films(catalogue):
    counts = Counter(genre for film in catalogue.films for genre in film.genres)
    assert min(counts[genre] for genre in GENRES) >= 12


def test_no_person_is_spelled_two_ways(catalogue):
    names = {name for film in catalogue.films for name in (*film.directors, *film.actors)}
    keys = Counter("".join(char for char in name.lower() if char.isalnum()) for name in names)
    assert [key for key, number in keys.items() if number > 1] == []


@pytest.mark.parametrize(
    ("text", "titles"),
    [
        ("Have you seen Alien?", ["Alien"]),
        ("i loved the godfather and some like it hot", ["The Godfather", "Some Like It Hot"]),
        ("Aliens is louder than Alien.", ["Aliens", "Alien"]),
        ("I looked up her address, it was on the moon.", []),
        ("Up made me cry.", ["Up"]),
        ("An alienated person", []),
        ("Blade Runner 2049, not Blade Runner", ["Blade Runner 2049", "Blade Runner"]),
        ("", []),
    ],
)
def test_titles_are_found_in_free_text(catalogue, text, titles):
    assert [film.title for film in catalogue.mentioned(text)] == titles


def test_a_wrong_row_is_named_with_its_line(tmp_path):
    path = tmp_path / "films.csv"
    path.write_text(
        f"{HEADER}\nAlien,1979,Ridley Scott,,horror,aliens,They wake it.\nHeat,late,Michael Mann,,crime,heist,It ends badly.\n"
    )
    with pytest.raises(ConfigError, match="line 3"):
        Catalogue.load(path)
    path.write_text(f"{HEADER}\nAlien,1979,Ridley Scott,,scary,aliens,They wake it.\n")
    with pytest.raises(ConfigError, match="'scary'"):
        Catalogue.load(path)
