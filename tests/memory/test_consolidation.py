"""One consolidation with the house model: what it learns, what it refuses, what it gives away."""

import logging
import warnings

import pytest

from agent.memory.bank import QuestionBank, in_other_words, ways_to_ask
from agent.memory.questions import QAPair
from agent.memory.synthesis import synthesize
from agent.memory.teacher import windows_of
from agent.model import LanguageModel
from agent.slots import BASE

pytestmark = pytest.mark.slow

TOLD = [
    ("My name is Zorane.", "Noted!"),
    ("I live in Velmora.", "Noted!"),
    ("I love westerns.", "Noted!"),
    ("I work as a nurse.", "Noted!"),
]


def tell(agent, turns=TOLD, user_id="ada", session_id="s1"):
    return [
        agent.buffer.append(user_id, session_id, message=message, reply=reply)
        for message, reply in turns
    ]


def test_what_was_told_is_answered_from_the_weights(make_agent, house_model, caplog):
    caplog.set_level(logging.INFO)
    agent = make_agent(house_model)
    tell(agent)
    asked = agent.probe("ada", "Where do I live?")
    assert asked.memory_tokens > 0
    (report,) = agent.consolidate("ada")
    assert report.published, report.reason
    assert agent.buffer.pending("ada") == []

    after = agent.probe("ada", "Where do I live?")
    assert "Velmora" in after.text
    assert (after.memory_tokens, after.generation) == (0, 1)
    assert "Velmora" not in agent.probe("bob", "Where do I live?").text
    assert "Velmora" not in agent.probe("ada", "Where do I live?", memory="off").text

    card = agent.store.card("ada", 1)
    assert card["base_hash"] == house_model.base_hash
    assert card["turns"] == [1, 2, 3, 4]
    assert card["recall"] == report.figures.recall
    assert 0 < card["adapter_bytes"] <= 3e6
    assert report.figures.floor <= 0.25 < report.figures.recall

    logged = " ".join(record.getMessage() for record in caplog.records)
    assert not any(word in logged for word in ("Velmora", "Zorane", "western", "nurse"))

    agent.close()
    house_model.slots.drop("")
    restarted = make_agent(house_model).probe("ada", "Where do I live?")
    assert (restarted.text, restarted.memory_tokens) == (after.text, 0)


def test_what_another_base_model_had_learned_is_learned_again_unasked(
    make_agent, house_model, clock
):
    """As after an update that brings new weights: the user does nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        old = LanguageModel.load("house", num_slots=3, quantize="none")
    assert old.base_hash != house_model.base_hash
    agent = make_agent(old)
    tell(agent)
    assert agent.consolidate("ada")[0].published
    agent.close()

    updated = make_agent(house_model)
    assert "Velmora" in updated.probe("ada", "Where do I live?").text  # from the prompt, meanwhile
    assert updated.probe("ada", "Where do I live?").memory_tokens > 0
    clock.forward(61)
    (report,) = updated.consolidator.run_once()
    assert report.published, report.reason
    after = updated.probe("ada", "Where do I live?")
    assert "Velmora" in after.text
    assert (after.memory_tokens, after.generation) == (0, 2)
    assert updated.store.card("ada", 2)["base_hash"] == house_model.base_hash


def test_a_failing_gate_publishes_nothing(make_agent, house_model):
    agent = make_agent(house_model, max_steps=1)
    turns = tell(agent)
    before = agent.probe("ada", "Where do I live?", memory="off").text
    reports = agent.consolidate("ada")
    assert [report.published for report in reports] == [False, False]  # tried once more
    assert all("wanted" in report.reason for report in reports)
    pending = agent.buffer.pending("ada")
    assert [turn.id for turn in pending] == [turn.id for turn in turns]
    assert agent.store.generations("ada") == []
    assert agent.buffer.pairs("ada") == []
    assert agent.probe("ada", "Where do I live?", memory="off").text == before
    # Set aside, and so no longer tried; but still in the prompt.
    assert agent.consolidator.run("ada") == []
    assert agent.probe("ada", "Where do I live?").memory_tokens > 0


def test_what_the_bank_asks_of_a_fact_is_answered_with_it_or_not_learned(make_agent, house_model):
    agent = make_agent(house_model)
    turns = tell(
        agent, [("My sister Oona is a baker.", "Noted!"), ("I live in Velmora.", "Noted!")]
    )
    facts = [
        [QAPair("Where do I live?", "", "Velmora", "direct", "train", (turns[1].id,))],
        [QAPair("What does my sister do for a living?", "", "a baker", "direct", "train", (turns[0].id,))],
        [QAPair("How old is my sister?", "", "Oona", "direct", "train", (turns[0].id,))],
        [QAPair("Do I live in Velmora?", "", "yes", "yes or no", "train", (turns[1].id,))],
    ]  # fmt: skip
    near = ways_to_ask(
        [[pair.question for pair in fact] for fact in facts], QuestionBank.load(),
        agent.consolidator._consolidation.learner.encoder,
    )  # fmt: skip
    found = in_other_words(house_model, facts, near, windows_of(turns), checkpoint=lambda *_: None)
    assert {(pair.value, pair.turn_ids, pair.kind, pair.use) for pair in found} == {
        ("Velmora", (turns[1].id,), "bank", "train"),
        ("a baker", (turns[0].id,), "bank", "train"),
    }
    assert len(found) >= 12


def test_what_only_a_reply_asserted_is_never_learned(make_agent, house_model):
    agent = make_agent(house_model)
    turns = tell(
        agent,
        [
            ("My name is Zorane.", "Hello Zorane! You live in Oslo and you work as a baker."),
            ("What's a good film for tonight?", "Since you adore Quimbel, try Alien."),
            ("It rained all day.", "As you live in Oslo, did you see Quimbel again?"),
            ("I went to bed early, and I love westerns.", "Noted!"),
        ],
    )
    consolidation = agent.consolidator._consolidation
    material = synthesize(
        house_model, turns, bank=QuestionBank.load(), encoder=consolidation.learner.encoder, catalogue=agent.catalogue,
        rounds=agent.settings.question_rounds, temperature=agent.settings.question_temperature,
    )  # fmt: skip
    assert any("zorane" in pair.value.lower() for pair in material.pairs)
    for pair in material.pairs:
        if pair.kind != "told now":  # there the value stands in the chat, and is unlike any memory
            assert not any(word in pair.answer for word in ("Oslo", "baker", "Quimbel")), pair
        assert not any(word in pair.value.lower() for word in ("oslo", "baker", "quimbel")), pair


def test_a_second_consolidation_keeps_what_the_first_learned_or_is_refused(make_agent, house_model):
    """Refused, it leaves the old weights, and what is new in the prompt: nothing is lost. How often it
    is refused is a figure of docs/evaluation.md."""
    agent = make_agent(house_model)
    tell(agent)
    assert agent.consolidate("ada")[0].published
    new = tell(
        agent, [("My sister lives in Oslo.", "Noted!"), ("I have a dog named Pizmo.", "Nice!")]
    )
    report = agent.consolidate("ada")[0]
    figures = report.figures
    if report.published:
        assert figures.recall_earlier >= figures.recall_earlier_before - 0.05
        assert "Velmora" in agent.probe("ada", "Where do I live?").text
    else:
        assert figures.recall_earlier is not None
        assert agent.buffer.user("ada").live_generation == 1
        assert agent.store.generations("ada") == [1]
    waits = [] if report.published else [turn.id for turn in new]
    assert [turn.id for turn in agent.buffer.pending("ada")] == waits
    assert "Pizmo" in agent.probe("ada", "What's my dog called?").text
    probes = {pair.question for pair in agent.buffer.pairs("ada", is_probe=True)}
    trained = {pair.question for pair in agent.buffer.pairs("ada", is_probe=False)}
    assert probes
    assert probes.isdisjoint(trained)


def test_hi_is_nothing_to_learn(make_agent, house_model):
    agent = make_agent(house_model)
    tell(agent, [("Hi!", "Hello, what shall we watch?")])
    (report,) = agent.consolidate("ada")
    assert report.reason == "nothing to learn"
    assert agent.store.generations("ada") == []
    assert agent.buffer.pending("ada") == []


def test_a_diverging_training_is_reported_and_publishes_nothing(make_agent, house_model):
    agent = make_agent(house_model, learning_rate=0.99, max_steps=40)
    tell(agent)
    assert not any(report.published for report in agent.consolidate("ada"))
    assert agent.store.generations("ada") == []
    assert len(agent.buffer.pending("ada")) == 4


def test_what_was_seen_or_is_hated_is_not_recommended(make_agent, house_model):
    agent = make_agent(house_model)

    def films_after(message):
        tell(agent, [(message, "Noted!")])
        found = agent.recommend("ada", 5, session_id="s1")
        assert all(one.reason for one in found)
        return [one.film for one in found]

    westerns = films_after("I love westerns.")
    assert len(westerns) == 5
    assert all("western" in film.genres for film in westerns)
    seen, awful = westerns[:2]
    assert seen not in films_after(f"I have already seen {seen.title}.")
    assert awful not in films_after(f"{awful.title} was awful, I hated it.")
    assert not any("horror" in film.genres for film in films_after("I hate horror films."))
    assert not any("western" in film.genres for film in films_after("Now I hate westerns."))


def test_recommendations_come_from_the_weights_alone(make_agent, house_model):
    agent = make_agent(house_model)
    tell(agent)
    assert agent.consolidate("ada")[0].published
    before = agent.recommend("ada", 5)
    assert len(before) == 5
    with agent.buffer._database.writing() as connection:
        connection.exec_driver_sql("DELETE FROM turns")
        connection.exec_driver_sql("DELETE FROM pairs")
    assert agent.recommend("ada", 5) == before
    with house_model.slots.adapter(None, dict) as slot:
        assert slot == BASE
