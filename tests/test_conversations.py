"""The conversations that the figures of docs/evaluation.md come from: many, and unseen."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

from agent import prompts
from agent.catalogue import Catalogue
from agent.memory.bank import BANK_PATH
from agent.memory.unrelated import UNRELATED_PATH
from agent.scripts import read_script
from house.people import USER_FIELDS, Grammar
from house.values import NAMES
from house.wordings import normalise, read_yaml

FOLDER = Path(__file__).parent / "conversations"
FILES = sorted(FOLDER.glob("*.yaml"))
SAID = {*USER_FIELDS, "look_alikes", "messages", "untold", "bank", "ask"}
"""Lists of lines that a user says."""


def plain(line: str) -> str:
    """Return a line normalised, "what's" as "what is"."""
    return normalise(re.sub(r"['’]s\b", " is", line))


def one_of(lines: Iterable[str]) -> str:
    return f"(?:{'|'.join(re.escape(plain(line)) for line in lines)})"


WORD = r"(?!(?:what|which|who|whom|whose|where|when|why|how)\b)\w+"
VALUE = rf"{WORD}(?: {WORD}){{0,3}}"
SLOTS = {
    "my": rf"(?:my {one_of(NAMES['relations'])}(?: {WORD})?|{one_of(NAMES['first_names'])})",
    "title": one_of(film.title for film in Catalogue.load().films),
    "c": "(.+)",
}
"""What stands in a slot; in all others any value, 1 to 4 words."""


@cache
def pattern(line: str, keys: str = VALUE) -> re.Pattern[str]:
    """Return a line with its slots filled; `keys` fill {k}."""
    slots = SLOTS | {"k": keys}
    parts = re.split(r"\{(\w+)\}", line)
    parts[::2] = map(re.escape, parts[::2])
    parts[1::2] = [slots.get(name, VALUE) for name in parts[1::2]]
    return re.compile("".join(parts))


def lines_of(data: object, name: str = "", keys: str = VALUE) -> Iterator[tuple[str, str]]:
    """Yield each line that users say in a tree of wordings, and what fills its {k}."""
    if isinstance(data, dict):
        keys = one_of(data["keys"]) if data.get("keys") else keys
        for field, value in data.items():
            yield from lines_of(value, field, keys)
    elif isinstance(data, list | tuple):
        for item in data:
            yield from lines_of(item, name, keys)
    elif name in SAID:
        yield plain(data), keys


def is_nearly_all_slots(line: str) -> bool:
    """Would it fit on nearly every line, as "{name} {age} hi" does?"""
    return "{" in line and len([word for word in plain(line).split() if "{" not in word]) < 4


def with_titles(line: str, films: Iterable[str]) -> str:
    """Name the slots of a line that hold titles as such."""
    for slot in films:
        line = line.replace(f"{{{slot}}}", "{title}")
    return line


class TrainingText:
    """Looks up what a line may come from: a line of the training text or of the question bank as it
    stands there, with other values, put together with something else, or in other words."""

    def __init__(self, grammar: Grammar) -> None:
        self.grammar = grammar
        talk = {name: lines for name, lines in grammar.talk.items() if name != "attribute_frames"}
        people = [{"messages": one.messages, "untold": one.untold} for one in grammar.people]
        dialogues = [
            {"say": [with_titles(line, one.films) for line in turn.say if not is_nearly_all_slots(line)]}
            for one in grammar.dialogues for turn in one.exchanges
        ]  # fmt: skip
        files = [read_yaml(path) for path in (BANK_PATH, UNRELATED_PATH)]
        bank = [*(list(file.values()) for file in files), prompts.WOULD_LIKE, prompts.HAVE_SEEN]
        lines = {
            *lines_of(
                [
                    grammar.kinds,
                    talk,
                    grammar.films,
                    people,
                    dialogues,
                    grammar.intents,
                    {"bank": bank},
                ]
            )
        }
        self.whole = {line for line, _ in lines}
        number = Counter(word for line in self.whole for word in set(line.split()))
        self.by_rarest_word = defaultdict(list)
        """Lines with slots, each with its words."""
        for line, keys in lines:
            words = {word for word in line.split() if "{" not in word}
            if "{" in line and "{c}" not in line and words:
                rarest = min(words, key=number.__getitem__)
                self.by_rarest_word[rarest].append((line, keys, words))
        around = [
            line for part in ("carriers", "intros", "corrections") for side in ("prefixes", "suffixes")
            for line in talk[part][side]
        ] + talk["fillers"]  # fmt: skip
        frames = [*talk["carriers"]["carriers"], *(f"{line} {{c}}" for line in around)]
        frames += [f"{{c}} {line}" for line in around]
        self.frames = [pattern(plain(line)) for line in frames]
        self.exchanged = defaultdict(list)
        """Phrase → the phrases that training exchanges for it."""
        for phrase, others in grammar.thesaurus.entries.items():
            for other in others:
                self.exchanged[plain(other)].append(plain(phrase))

    def origins(self, line: str) -> set[str]:
        """Return the lines that training may make this one of."""
        framed = [frame.fullmatch(plain(line)) for frame in self.frames]
        parts = [plain(line), *(match[1] for match in framed if match)]
        texts = [" ".join(words) for part in parts for words in self.before(part.split())]
        return {found for text in texts for found in self.known(text)}

    def before(self, words: list[str]) -> Iterator[list[str]]:
        """Yield what the words may have been before phrases were exchanged."""
        if not words:
            yield []
        for number in range(1, len(words) + 1):
            phrase = " ".join(words[:number])
            for first in self.exchanged.get(phrase, []) + [phrase] * (number == 1):
                for rest in self.before(words[number:]):
                    yield [*first.split(), *rest]

    def known(self, text: str) -> Iterator[str]:
        """Yield the lines that are this text when their slots are filled."""
        if text in self.whole:
            yield text
        has = set(text.split())
        for word in has:
            for line, keys, words in self.by_rarest_word.get(word, []):
                if words <= has and pattern(line, keys).fullmatch(text):
                    yield line


@pytest.fixture(scope="module")
def users() -> list:
    return [user for path in FILES for user in read_script(path)]


@pytest.fixture(scope="module")
def training(writer) -> TrainingText:
    return TrainingText(writer.grammar)


def test_there_are_enough_users_facts_and_untold_things(users):
    says = [say for user in users for step in user.steps for say in step.says]
    assert len(users) >= 8
    assert len({normalise(say.text) for say in says if say.expect}) >= 60
    assert len({normalise(say.text) for say in says if say.abstain}) >= 40


def test_each_fact_is_asked_in_all_three_modes(users):
    for user in users:
        asked = {mode: set() for mode in ("on", "off", "prompt")}
        for step in user.steps:
            for say in step.says:
                if say.expect:
                    asked[say.memory].add(say.text)
        assert asked["off"] == asked["prompt"]
        assert asked["prompt"] <= asked["on"]
        assert asked["prompt"]


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.yaml")), ids=lambda path: path.stem)
def test_no_line_is_in_the_training_text_or_the_question_bank(path, training):
    said = {say.text for user in read_script(path) for step in user.steps for say in step.says}
    found = {line: sorted(training.origins(line))[:5] for line in said}
    assert {line: origins for line, origins in found.items() if origins} == {}


@pytest.mark.parametrize(
    ("line", "origin"),
    [
        ("What do I drink with a film?", "what do i drink with a film"),
        ("what is my lucky number", "what is my lucky number"),
        ("What is my wife called?", "what is {my} called"),
        ("What do I call my budgie?", "what do i call my {k}"),
        ("I support Aberdeen, win or lose", "i support {v} win or lose"),
        ("Remind me what my son is called.", "what my son is called"),
        ("What is my profession, please?", "what is my profession"),
        ("what food am i allergic to?", "which food am i allergic to"),
    ],
)
def test_a_line_of_training_is_found_however_it_is_put(line, origin, training):
    assert origin in training.origins(line)


def test_what_people_leave_untold_and_what_only_sounds_alike_is_found(training):
    kinds = training.grammar.kinds.values()
    look_alikes = [kind["look_alikes"] for kind in kinds if "look_alikes" in kind]
    untold = [person.untold for person in training.grammar.people]
    for questions in (look_alikes, untold):
        assert len(questions) > 300
        assert all(training.origins(pairs[0][0]) for pairs in questions[::50])
