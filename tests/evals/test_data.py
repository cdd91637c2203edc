"""Invented users without contradictions; files of contexts, with what is wrong in them."""

import json

import pytest

from agent import prompts
from agent.errors import ConfigError
from agent.memory.probe import holds, normalise
from evals.data import MAX_WORDS, life, messages, read_contexts
from evals.personal import person
from evals.taste import as_ranks, most_popular, taster


def test_a_life_tells_each_value_once_and_asks_for_it_in_two_ways(final_writer):
    items = life(final_writer, "0/0", 20)
    said = [" ".join(message for message, _ in item.turns) for item in items]
    for i, item in enumerate(items):
        assert len(item.questions) == 6
        assert len({question.text for question in item.questions}) == 6
        for question in item.questions:
            (value,) = question.expect
            assert holds(said[i], value), (said[i], value)
            assert question.gold[0] == value
            assert value not in question.reject


def test_the_first_contexts_of_a_life_do_not_depend_on_its_length(final_writer):
    assert life(final_writer, "0/0", 20)[:3] == life(final_writer, "0/0", 3)
    assert life(final_writer, "0/1", 3) != life(final_writer, "0/0", 3)


def test_a_person_corrects_and_tells_of_others(final_writer):
    who = person(final_writer, "0/0")
    first, second = (" ".join(message for message, _ in item.turns) for item in who.items)
    for question in who.corrected:
        assert holds(second, question.expect[0])
        assert all(holds(first, old) for old in question.reject)
        assert question.reject
    for question, mine in who.others:
        assert question.expect != mine
        assert holds(first, question.expect[0])
        assert holds(first, mine[0])
        assert mine[0] in question.reject  # right is not both
    for (message, _), question in who.now:
        assert holds(message, question.expect[0])
        assert not holds(f"{first} {second}", question.expect[0])
    assert len(who.untold) >= 4
    assert {right for _, right in who.verdicts} <= {"yes", "no"}
    assert who == person(final_writer, "0/0")


def test_nobody_is_told_to_have_what_the_other_has(final_writer):
    for number in range(40):
        for question, mine in person(final_writer, f"twins {number}").others:
            assert normalise(question.expect[0]) != normalise(mine[0])


def test_a_film_that_may_please_was_not_seen_and_as_many_please_as_not(final_writer):
    asked = [
        verdict for n in range(20) for verdict in person(final_writer, f"verdicts {n}").verdicts
    ]
    rights = [right for _, right in asked]
    assert len(asked) > 60
    assert abs(rights.count("yes") - rights.count("no")) < 40


def test_a_taster_names_some_of_what_is_loved_and_the_rest_is_to_be_found(final_writer):
    who = taster(final_writer, "0/0")
    said = " ".join(message for message, _ in who.item.turns)
    assert all(holds(said, title) for title in who.named)
    assert not set(who.named) & set(who.loved)
    assert len(who.loved) == 18


def test_ranks_of_loved_films_by_hand(final_writer):
    who = taster(final_writer, "0/0")
    all_right = as_ranks(who.loved, who)
    assert (all_right["recall@1"], all_right["recall@20"], all_right["ndcg@10"]) == (1 / 18, 1, 1)
    named_first = as_ranks([*who.named, "Nothing", who.loved[0]], who)
    assert named_first["recall@1"] == 0
    assert named_first["recall@5"] == 1 / 18  # what was named is left out, whoever ranks it
    assert named_first["ndcg@10"] == pytest.approx(0.6309 / 4.5436, abs=1e-4)
    assert not set(most_popular(final_writer.films, who)["ranking"]) & set(who.named)


def test_lines_of_one_context_are_one_item(tmp_path):
    path = tmp_path / "pwc.jsonl"
    rows = [
        ("A method. It works.", "What works?", "A method"),
        ("Another.", "What?", "That"),
        ("A method. It works.", "Does it?", "yes"),
    ]
    path.write_text(
        "\n".join(
            json.dumps(dict(zip(("context", "question", "answer"), row, strict=True)))
            for row in rows
        )
        + "\n\n"
    )
    first, second = read_contexts(path)
    assert first.turns == (("A method. It works.", prompts.WITHHELD),)
    assert [(q.text, q.expect) for q in first.questions] == [
        ("What works?", ("A method",)),
        ("Does it?", ("yes",)),
    ]
    assert second.name == "pwc/1"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "Expecting"), ("[1]", "it is a list"), ('{"context": "a", "question": "b"}', "answer is missing"),
        ('{"context": "a", "question": " ", "answer": "c"}', "question is ' ', no text"),
        ("caf\u00e9".encode("latin-1"), "decode"),
        ('{"context": 3, "question": "b", "answer": "c"}', "context is 3, no text"),
    ],
)  # fmt: skip
def test_a_bad_line_is_named_with_its_reason(tmp_path, line, reason):
    path = tmp_path / "bad.jsonl"
    line = line if isinstance(line, bytes) else line.encode()
    path.write_bytes(
        b'{"context": "a", "question": "b\xe2\x80\xa8c", "answer": "c"}\n' + line + b"\n"
    )
    with pytest.raises(ConfigError, match="line 2") as caught:
        read_contexts(path)
    assert reason in str(caught.value)


def test_an_empty_file_and_a_missing_one_are_named(tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(ConfigError, match="has no line"):
        read_contexts(tmp_path / "empty.jsonl")
    with pytest.raises(ConfigError, match="There is no"):
        read_contexts(tmp_path / "missing.jsonl")


def test_a_long_text_is_cut_into_messages_at_ends_of_sentences():
    text = " ".join(f"This is sentence number {i}." for i in range(60))
    parts = messages(text)
    assert " ".join(parts) == text
    assert all(len(part.split()) <= MAX_WORDS and part.endswith(".") for part in parts)
    assert [len(part.split()) for part in messages("word " * 200)] == [80, 80, 40]
