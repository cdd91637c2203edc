"""Values for the slots of the wordings: real ones, and invented ones.

Half of all names and places are invented from syllables, so that the only way
to answer is to copy from the prompt. `novel` draws only invented ones: the exam
uses it with syllable pairs that training never sees.
"""

import random
import re
from collections.abc import Callable

ONSETS = "b br c ch cr d dr f fl g gr h j k kl l m n p pl qu r s sh sk st t th tr v w y z".split()
VOWELS = "a e i o u ai ee ia io ou".split()
CODAS = "n l r s th x m nd rk sh ck t".split() + [""] * 8
FIRST_NAMES = """Ada Boris Carla Dmitri Elena Farid Grace Hugo Ines Jonas Keiko Liam Maria Noor Olga Pablo Quentin Rosa
Samir Tilda Ursula Viktor Wanda Xavier Yusuf Zoe Anna Ben Chloe Daniel Emma Felix Greta Hannah Ivan Julia Karim Lena Marco
Nadia Oscar Priya Ravi Sofia Tom Uma Vera Will Yara Zack Alice Bob Clara David Eva Frank Gina Henry Iris Jack Kate Leo Mina
Nina Otto Paula Rita Sam Tess Victor Wei Amir Bruno Celine Dora Emil Fatima Georg Helga Igor Jasmin Kofi Lucia Mehmet
Nora Omar Petra Rafael Sven Tariq Ulla Vito Ximena Yuki Zainab Arthur Beatrice Caleb Daphne Elias Freya""".split()
SURNAMES = """Hale Moreau Okafor Lindqvist Brandt Castellano Duarte Eriksen Fontaine Grady Haddad Ivanova Jensen Kowalski
Larsen Mbeki Novak Ortiz Petrov Quinn Rossi Sato Tanaka Urban Vega Weiss Yilmaz Zhang Abbott Bellini Crowe Demir Egger""".split()
PLACES = """Turin Lisbon Oslo Kyoto Porto Leeds Ghent Bergen Malmö Seville Boston Denver Lagos Nairobi Hanoi Osaka Lima
Quito Bristol Cork Galway Graz Basel Lyon Nantes Bilbao Naples Bari Split Riga Tallinn Vilnius Krakow Prague Brno Utrecht
Tampere Dakar Tunis Cairo Izmir Beirut Pune Perth Hobart Austin Portland Toronto Halifax Montreal Santiago Montevideo
Madrid Rome Paris Berlin Vienna London Dublin Athens Cusco Busan Taipei Aberdeen Freiburg Leipzig""".split()
COUNTRIES = """Portugal Japan Norway Mexico Iceland Peru Kenya Italy Vietnam Canada Greece Morocco Chile Finland India Ireland
Brazil Poland Turkey Cuba Nepal Spain France Egypt Korea Georgia""".split()
LANGUAGES = """French Spanish Italian German Portuguese Japanese Korean Arabic Hindi Turkish Polish Dutch Swedish Greek Finnish
Mandarin Russian Catalan Welsh Danish Hungarian Czech Farsi Swahili Tamil""".split()
WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = """January February March April May June July August September October November December""".split()
PETS = """Miso Biscuit Luna Pepper Olive Rufus Nori Pixel Bruno Mochi Tofu Salem Ziggy Hazel Waffle Pickle Maple Oreo Shadow
Cosmo Basil Ginger Taco Smokey Nala Felix Dusty Peanut Marble Clover""".split()
BANDS = """Radiohead;Nina Simone;The Cure;Fela Kuti;Portishead;Kraftwerk;Joni Mitchell;David Bowie;Massive Attack;Björk;Sade;
Leonard Cohen;The Smiths;Mercedes Sosa;Sigur Rós;Blur;Prince;Arcade Fire;Stereolab;Tame Impala""".replace(
    "\n", ""
).split(";")
BOOKS = """Dune;Middlemarch;Beloved;The Trial;Emma;Kindred;Pedro Páramo;Ulysses;The Hobbit;Momo;Solaris;Moby Dick;Siddhartha;
Persuasion;Rebecca;The Stranger;Things Fall Apart;Norwegian Wood;The Leopard;Stoner""".replace(
    "\n", ""
).split(";")
SERIES = """The Wire;Twin Peaks;Fleabag;Breaking Bad;Dark;The Office;Severance;Borgen;Fargo;The Sopranos;Detectorists;Lost;
Succession;Frasier;Andor;Deadwood;Fawlty Towers;Columbo;Better Call Saul;Derry Girls""".replace(
    "\n", ""
).split(";")
CINEMAS = "Rialto Odeon Luna Astor Capitol Lumière Roxy Phoenix Metropol Gaumont Eden Regal Apollo Curzon".split()
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
"""Genre → (as a taste: "I love westerns", as one film: "a western")."""


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
            "first_name": lambda rng: self._half(rng, FIRST_NAMES),
            "full_name": self._full_name,
            "place": lambda rng: self._half(rng, PLACES),
            "country": lambda rng: self._half(rng, COUNTRIES, 0.2),
            "pet_name": lambda rng: self._half(rng, PETS),
            "company": lambda rng: self._name(rng) + rng.choice(["", "", " Ltd", " Systems", " Foods", " Bank"]),
            "film": self._film_title,
            "director": lambda rng: self._person(rng, self._directors),
            "actor": lambda rng: self._person(rng, self._actors),
            "genre": lambda rng: rng.choice(list(GENRES.values()))[0],
            "weekday": lambda rng: rng.choice(WEEKDAYS),
            "date": lambda rng: f"{rng.randint(1, 28)} {rng.choice(MONTHS)}",
            "clock": self._clock,
            "band": lambda rng: rng.choice(BANDS) if rng.random() < 0.4 else "The " + self._name(rng) + "s",
            "school": lambda rng: f"{self._half(rng, PLACES)} {rng.choice(['College', 'University', 'High'])}",
            "team": lambda rng: rng.choice(["FC {}", "{} United", "{} Rovers", "the {} Bears"]).format(self._half(rng, PLACES)),
            "book": lambda rng: rng.choice(BOOKS) if rng.random() < 0.5 else "The " + self._name(rng) + rng.choice([" Garden", " Letters", " House", " Year"]),
            "series": lambda rng: rng.choice(SERIES) if rng.random() < 0.5 else self._name(rng) + rng.choice([" Bay", " Street", " Files", ""]),
            "street": lambda rng: self._name(rng) + rng.choice([" Street", " Lane", " Road", " Square"]),
            "cinema": lambda rng: "the " + (rng.choice(CINEMAS) if rng.random() < 0.5 else self._name(rng)),
            "language": lambda rng: self._half(rng, LANGUAGES, 0.25),
        }  # fmt: skip

    def draw(self, kind: dict, rng: random.Random) -> str:
        """Return a value for a kind of fact, as it stands in its templates."""
        if "value" in kind:
            return self._generators[kind["value"]](rng)
        value = rng.choice(kind["values"])
        if kind.get("made_up") == "false" or rng.random() > (1.0 if self._novel else 0.35):
            return value
        word = invented_word(rng, novel=self._novel)
        first, *_, last = ["", *value.split()] if " " not in value else value.split()
        if first[:1].isupper() or (not first and value[0].isupper()):
            word = word.capitalize()
        if first.lower() in {"a", "an", "the"}:
            word = f"{first} {word}"
        if " " in value and rng.random() < 0.4:
            word += f" {last}"
        return re.sub(r"^an? (?=(\w))", lambda match: "an " if match[1] in "aeiou" else "a ", word)

    def person_name(self, rng: random.Random) -> str:
        return self._half(rng, FIRST_NAMES)

    def _name(self, rng: random.Random) -> str:
        return invented_name(rng, novel=self._novel)

    def _half(self, rng: random.Random, real: list[str], share: float = 0.5) -> str:
        is_invented = self._novel or rng.random() < share
        return self._name(rng) if is_invented else rng.choice(real)

    def _full_name(self, rng: random.Random) -> str:
        return f"{self._half(rng, FIRST_NAMES)} {self._half(rng, SURNAMES)}"

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
