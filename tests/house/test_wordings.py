"""The hand-written lines: complete, split for good, and never on two sides."""

import copy
import random

import pytest

from agent.memory.probe import grade
from house import wordings
from house.people import Grammar
from house.phrasing import Thesaurus, fill
from house.values import Values
from house.wordings import WORDINGS_DIR, check_kind, load_kinds, normalise, read_yaml, side, split

KINDS = load_kinds()


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_complete(name):
    assert check_kind(KINDS[name]) == []


@pytest.mark.parametrize("name", KINDS)
def test_every_answer_counts_as_right(name):
    words = {"v": "Zorblax", "k": "Quark", "my": "my sister", "your": "your sister", "old": "Oslo"}
    answers = [
        line
        for part in (KINDS[name], KINDS[name].get("other", {}))
        for field in ("answers", "yes", "no", "list_answers")
        for line in part.get(field, [])
    ]
    assert [line for line in answers if not grade(fill(line, **words), ["Zorblax"])] == []


def test_there_are_as_many_kinds_as_promised():
    assert len(KINDS) >= 60
    assert sum("other" in kind for kind in KINDS.values()) >= 20


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda kind: kind["states"].pop(), "at least 24 wanted"),
        (lambda kind: kind["asks"].append("Is it {v}?"), "must not give {v} away"),
        (lambda kind: kind["states"].append("I live somewhere."), "lacks {v}"),
        (lambda kind: kind["asks"].append(kind["asks"][0].upper() + "!"), "repeats"),
        (
            lambda kind: kind["answers"].append("You live in {v}, yes, {v}."),
            "uses a placeholder twice",
        ),
        (lambda kind: kind["yesno"].append("Do I live in {w} or {v}?"), "unknown or misplaced"),
        (lambda kind: kind.update(colour="red"), "unknown fields"),
        (
            lambda kind: kind["other"]["asks"].append("Where does {my} have her house?"),
            "uses a pronoun",
        ),
    ],
)
def test_a_planted_fault_is_found(change, fault):
    kind = copy.deepcopy(KINDS["home"])
    kind["states"] = kind["states"][:24]
    change(kind)
    assert any(fault in found for found in check_kind(kind))


def test_case_and_punctuation_do_not_change_the_side_of_a_line():
    for line in KINDS["home"]["asks"]:
        assert side(line) == side(line.lower().rstrip("?") + " !")


def test_a_fifth_of_the_lines_is_held_out():
    lines = [line for kind in KINDS.values() for name in ("states", "asks") for line in kind[name]]
    assert len(lines) > 2000
    shares = {
        name: sum(side(line) == name for line in lines) / len(lines)
        for name in ("train", "dev", "final")
    }
    # 1/10 of 2,000 lines: two standard errors are 0.013.
    assert shares["dev"] == pytest.approx(0.1, abs=0.02)
    assert shares["final"] == pytest.approx(0.1, abs=0.02)


def test_the_sides_are_disjoint_and_together_everything():
    lines = KINDS["home"]["asks"]
    parts = [split(lines, name) for name in ("train", "dev", "final")]
    assert sorted(line for part in parts for line in part) == sorted(lines)


def test_a_line_of_signs_alone_is_not_empty():
    assert normalise(":(") != normalise(":)")


def test_yaml_scalars_stay_what_was_written(tmp_path):
    path = tmp_path / "kind.yaml"
    path.write_text("yes: [no, 1990, on]\n")
    assert wordings.read_yaml(path) == {"yes": ["no", "1990", "on"]}


def test_other_words_keep_the_slots_and_the_article_fits():
    vary = Thesaurus({"film": ["old movie"], "i like": ["i adore"], "v": ["w"]}).vary
    said = vary("I like a film called {v}.", random.Random(0), share=1.0)
    assert said == "I adore an old movie called {v}."
    assert vary("i like films", random.Random(0), share=1.0) == "i adore films"


def test_held_out_lines_are_asked_as_they_were_written():
    values = Values([])
    assert not Grammar(values, side="dev").thesaurus.entries
    assert Grammar(values, side="train").thesaurus.entries


def test_no_exchange_gives_the_same_word_or_a_slot():
    for phrase, others in read_yaml(WORDINGS_DIR / "talk" / "synonyms.yaml").items():
        assert phrase == phrase.lower()
        assert phrase not in others
        assert others
        assert not any("{" in other for other in others)
