"""The kinds of fact of the scripted conversations stand in the groups they belong to."""

import re
from pathlib import Path

import pytest

from agent.memory.bank import BANK_PATH, QuestionBank
from agent.scripts import read_script
from evals.conversations import NOT_IN_BANK, group_of, kinds_of
from house.wordings import WORDINGS_DIR, load_kinds

FILES = sorted((Path(__file__).parent.parent / "conversations").rglob("*.yaml"))
KINDS = sorted({kind for path in FILES for kind in kinds_of(path).values()})

IN_A_QUESTION = {
    "actor": "actor .* like", "age": "how old", "allergy": "allergic", "author": "author|writer|writes|wrote",
    "band": "music|band", "bedtime": "to bed", "best_friend": "closest friend", "birthday": "born|birthday", "book": "book",
    "breakfast": "breakfast", "car": r"\bcar\b", "child": "children", "cinema": "which cinema", "coffee": "coffee",
    "collection": "collect", "colour": "colour", "comfort_film": "comfort", "commute": "get to work", "day_off": "off work",
    "decade": "decade", "diet": "diet", "director": "director", "disliked_actor": "actor .* avoid", "disliked_food": "dish .* not bear",
    "dream_job": "dream", "dream_trip": "dream|journey|trip", "drink": "drink", "employer": "employed", "event": "event",
    "favourite_film": "film .* more than all", "film_company": "with whom", "film_length": "how long .* film", "film_night": "film evening",
    "film_opinion": "opinion|verdict|think of", "first_film": "first .*(film|cinema)", "flatmate": "shares a flat",
    "former_job": "former|used to|before", "game": "game .*(like|love|play)", "gift": "present .* wish", "hated_film": "film .* not stand",
    "hated_genre": "kind of film .* hate", "holiday": "holiday", "home": "do I live", "hometown": "raised", "injury": "injur|hurt|broke",
    "job": "for work", "languages": "languages", "last_film": "last thing I watched", "learning": "language .* pick up",
    "loved_genre": "genre .* most", "lucky_number": "luck", "name": "name should you", "nationality": "citizen",
    "neighbourhood": "neighbourhood|district|part of", "new_skill": "skill|craft|learn", "nickname": "nickname", "partner": "partner",
    "pet": "cat|dog", "phobia": "afraid", "restaurant": "restaurant|eat out", "sad_film": "cry", "scary_film": "scared",
    "school": "school", "seat": "to sit", "series": "series", "snack": "nibble", "sport": "sport", "streaming": "streaming",
    "studies": "study", "subtitles": "subtitles", "teacher": "teacher", "team": "team", "watchlist": "still want to see",
    "other_actor": "actor", "other_favourite_film": "film .* most|favourite film", "other_favourite_food": "food|dish",
    "other_home": "where .* live", "other_job": "for a living|for work", "other_loved_genre": "genre .* love",
    "other_name": "'s name", "other_pet": r"\b(cat|dog|pet)\b",
}  # fmt: skip
"""Kind → what a question of the bank holds, if it asks for that."""

IN_PEOPLE = {
    "boat": r"boat('s| is) (called|name)|named your boat|(call|name of) my boat",
    "instrument": "instrument (do|did|have) I|instrument .{0,9} play",
}
"""Kinds that only `people/` tell → what their lines hold."""

IN_NO_TEXT = {
    "x_blood_type": "blood (type|group)",
    "x_chess": "chess rating", "x_house_number": r"\b(house number|number of my house)\b",
    "x_running": "half.marathon|(ran|run|finish) the marathon",
    "x_shoe_size": "shoe size|(wear|take) size", "x_star_sign": "star sign is|(zodiac|star) sign am", "x_tattoo": "my tattoo|tattoo (of|is) {v}",
}  # fmt: skip
"""Kind → what its lines hold."""


@pytest.mark.parametrize("kind", IN_PEOPLE)
def test_a_kind_of_people_is_in_their_text_and_not_in_the_bank(kind):
    def has(path):
        return re.search(IN_PEOPLE[kind], path.read_text(encoding="utf-8"), re.IGNORECASE)

    assert any(has(path) for path in (WORDINGS_DIR / "people").glob("*.yaml"))
    assert not has(BANK_PATH)
    assert group_of(kind) == "in the corpus, not in the bank"


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if not kind.startswith("x_") and kind not in IN_PEOPLE]
)
def test_a_kind_is_trained_and_in_the_bank_or_not_as_its_group_says(kind):
    wordings = load_kinds()[kind.removeprefix("other_")]
    assert "other" in wordings or not kind.startswith("other_")
    bank = QuestionBank.load()
    questions = bank.others if kind.startswith("other_") else bank.questions
    firsts = [ways[0] for ways in questions]  # the others ask the same
    is_asked = any(re.search(IN_A_QUESTION[kind], line, re.IGNORECASE) for line in firsts)
    assert group_of(kind) == ("in the bank" if is_asked else "in the corpus, not in the bank")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.startswith("x_")])
def test_a_kind_in_neither_is_in_no_wording_and_no_question(kind):
    assert any(re.search(IN_NO_TEXT[kind], path.read_text(), re.IGNORECASE) for path in FILES)
    texts = [*WORDINGS_DIR.rglob("*.yaml"), BANK_PATH]
    found = [path for path in texts if re.search(IN_NO_TEXT[kind], path.read_text(), re.IGNORECASE)]
    assert (found, group_of(kind)) == ([], "in neither")


def test_of_each_group_at_least_five_kinds_are_told_and_asked():
    asked = {
        kinds_of(path)[say.text]
        for path in FILES for user in read_script(path) for step in user.steps for say in step.says
        if say.memory == "prompt"
    }  # fmt: skip
    groups = [group_of(kind) for kind in asked]
    assert min(map(groups.count, set(groups))) >= 5
    assert len(set(groups)) == 3
    assert set(KINDS) >= NOT_IN_BANK
