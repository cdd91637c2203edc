"""What the house model reads: the right answers, the right tokens, nothing held out."""

import random
from collections import Counter

import pytest
import torch

from agent import prompts
from agent.memory.probe import grade, is_abstention, normalise
from house.batches import CPU, Batch, make_batches
from house.exam.films import verdict
from house.film_talk import DARK, LIGHT, suits
from house.people import USER
from house.phrasing import fill
from house.tokenizer import Encoder
from house.train import loss_of, new_model
from house.values import Values, invented_name, invented_word
from house.wordings import load_kinds, side
from house.wordings import normalise as normalise_line
from house.world import World


def test_fill_puts_capitals_and_articles_right():
    assert fill("{v} is home.", v="the Rialto") == "The Rialto is home."
    assert fill("I have a {v}.", v="owl") == "I have an owl."
    assert fill("I have a {v}.", v="cat") == "I have a cat."
    assert fill("{v} is Home.", lower=True, v="Turin") == "turin is home."


def test_a_message_of_dots_alone_keeps_them(writer):
    rng = random.Random(0)
    assert all(writer.grammar.said("...", rng) for _ in range(200))


def test_every_answer_about_a_told_fact_holds_its_value(writer):
    rng = random.Random(1)
    num_asked = 0
    for _ in range(300):
        world = World(writer.grammar, rng)
        writer.teller.told_turns(world, 4)
        for fact in world.facts:
            question, answer = world.ask(fact)
            same = world.find(fact.kind, fact.subject, fact.key)
            assert any(grade(answer, [other.value]) for other in same), (fact, question, answer)
            num_asked += 1
    assert num_asked > 1000


def test_what_was_not_told_is_answered_by_an_abstention(writer):
    rng = random.Random(2)
    num_asked = 0
    for _ in range(300):
        world = World(writer.grammar, rng)
        writer.teller.told_turns(world, 3)
        turn = world.ask_unknown(writer.teller.kinds(rng))
        if turn is not None:
            num_asked += 1
            assert is_abstention(turn[1]), turn
    assert num_asked > 250


def test_a_correction_gives_the_new_value_and_not_the_old(writer):
    rng = random.Random(3)
    for _ in range(200):
        world = World(writer.grammar, rng)
        fact = writer.grammar.new_fact("home", USER, rng)
        world.tell(fact)
        world.tell_corrected(fact)
        _, answer = world.ask(fact)
        assert grade(answer, [fact.value])
        assert normalise(fact.earlier[0]) not in normalise(answer)


def test_suggestions_are_real_films_that_fit_and_were_not_seen(writer):
    rng = random.Random(4)
    for _ in range(300):
        world = World(writer.grammar, rng)
        writer.teller.told_turns(world, 5)
        _, hated, seen = world.taste()
        suggested = world.suggest(writer.films, never={"horror"})
        if suggested is None:
            continue
        reply, film = suggested
        assert film.title in reply
        assert film in writer.films
        assert film.title.lower() not in seen
        assert not set(film.genres) & {*hated, "horror"}


def test_what_follows_a_film_is_about_it_or_about_one_that_fits(writer):
    rng, talk = random.Random(7), writer.about_films
    wanted = {"lighter": (LIGHT, DARK), "darker": (DARK, LIGHT)}
    asks = {
        line: what
        for what, lines in writer.grammar.films["follow_ups"].items()
        if what != "turns"
        for line in lines["asks"]
    }
    asked = Counter()
    for _ in range(1500):
        film = rng.choice(writer.films)
        (question, reply), other = talk.follow_up(film, rng)
        assert other.title in reply, (question, reply)
        assert film.title not in question or len(film.title) < 6
        what = asks.get(question)  # None where the line was varied
        asked[what] += 1
        if what in wanted:
            has, lacks = wanted[what]
            assert set(other.genres) & has, (question, reply)
            assert not set(other.genres) & lacks, (question, reply)
        elif what in {"another", "shown", "older", "newer"}:
            assert other is not film
            assert other.genres[0] == film.genres[0], (question, reply)
            if what in {"older", "newer"}:
                assert (other.year < film.year) == (what == "older"), (question, reply)
        elif what:
            assert other is film, (question, reply)
    assert min(asked[what] for what in [*wanted, "another", "shown", "older", "newer"]) > 10, asked


def test_a_wish_by_mood_gets_a_film_that_suits_it(writer):
    rng, talk = random.Random(8), writer.about_films
    assert all(
        any(suits(film, mood) for film in writer.films) for mood in writer.grammar.films["moods"]
    )
    of_line = {line: mood for mood in writer.grammar.films["moods"] for line in mood["say"]}
    num_checked = 0
    for _ in range(300):
        question, reply = talk.mood_turn(rng.choice(writer.films), rng)
        named = [film for film in writer.films if film.title in reply]
        if question in of_line:  # else the line was varied
            assert any(suits(film, of_line[question]) for film in named), (question, reply)
            num_checked += 1
    assert num_checked > 50


def test_taste_is_asked_of_people_where_it_is_known_and_answered_by_it(writer):
    rng = random.Random(6)
    verdicts = set()
    for _ in range(400):
        world = World(writer.grammar, rng)
        writer.teller.with_tastes(world, writer.teller.person_turns(world, 4))
        loved, hated, seen = world.taste()
        if turn := world.ask_would_like(writer.films):
            named = [film for film in writer.films if film.title in turn[1]]
            film = max(named, key=lambda film: len(film.title))
            is_hated, is_loved = (set(film.genres) & set(taste) for taste in (hated, loved))
            wanted = "no" if is_hated else "yes" if is_loved else "unsure"
            assert verdict(turn[1]) == wanted
            assert not any(genre[:5] in world.heard for genre in film.genres)
            verdicts.add(wanted)
        if turn := world.ask_seen(writer.films):
            is_seen = any(title in turn[1].lower() for title in seen)
            assert is_seen or is_abstention(turn[1]) or verdict(turn[1]) == "no", turn
            verdicts.add("seen" if is_seen else "unseen")
    assert verdicts == {"yes", "no", "unsure", "seen", "unseen"}


def test_a_taste_that_turned_is_the_other_taste_and_no_longer_the_old_one(writer):
    rng = random.Random(7)
    for _ in range(100):
        world = World(writer.grammar, rng)
        assert writer.about_films.turn_against(world) == []
        fact = world.new_fact(["loved_genre"], share_other=0)
        world.tell(fact)
        ((_, _, (new,)),) = writer.about_films.turn_against(world)
        assert (new.kind, new.value.lower()) == ("hated_genre", fact.value.lower())
        loved, hated, _ = world.taste()
        assert not loved
        assert len(hated) == 1
        question, answer = world.ask_other_taste()
        assert is_abstention(answer), (question, answer)


def test_questions_about_a_message_are_written_as_the_synthesis_reads_them(documents):
    from agent.memory.questions import parse_pairs

    asked = [
        (document[i]["content"], document[i + 1]["content"])
        for document in documents
        for i in range(len(document) - 1)
        if document[i]["content"].startswith("Write questions")
    ]
    assert len(asked) > 50
    for _, lines in asked:
        assert lines == prompts.NOTHING_TO_ASK or len(parse_pairs(lines)) == len(lines.splitlines())


def test_no_held_out_line_is_in_the_training_text(documents):
    """A line of dev or final that has no slot would stand there word for word."""
    held_out = {
        normalise_line(line)
        for kind in load_kinds().values()
        for name in ("asks", "indirect", "clauses", "list_asks")
        for line in kind.get(name, [])
        if "{" not in line and side(line) != "train"
    }
    assert len(held_out) > 300
    said = {normalise_line(message["content"]) for document in documents for message in document}
    assert not said & held_out


def test_the_quick_encoding_is_that_of_the_chat_template(documents, tokenizer):
    encoder = Encoder(tokenizer)
    for document, (ids, is_answer) in zip(
        documents[:60], encoder.encode(documents[:60]), strict=True
    ):
        slow = tokenizer.apply_chat_template(
            document, return_assistant_tokens_mask=True, return_dict=True
        )
        assert ids == slow["input_ids"]
        assert is_answer == [bool(mark) for mark in slow["assistant_masks"]]


def test_the_trained_tokens_are_the_answers_and_their_ends(documents, tokenizer):
    (row,) = Encoder(tokenizer).encode(documents[:1])
    trained = tokenizer.decode([token for token, is_answer in zip(*row, strict=True) if is_answer])
    replies = [message["content"] for message in documents[0] if message["role"] == "assistant"]
    assert trained == "".join(f"{reply}<|end|>" for reply in replies)


def test_batches_hold_each_document_once_with_its_own_targets(documents, tokenizer):
    rows = Encoder(tokenizer).encode(documents)
    batches = make_batches(rows, pad=0, rng=random.Random(0), recipe=CPU)
    assert len(batches) > 5
    assert len({batch.ids.shape for batch in batches}) <= len(CPU.lengths)
    found = []
    for batch in batches:
        assert batch.ids.numel() <= CPU.batch_tokens
        found += [
            ids[:size].tolist()
            for ids, size in zip(batch.ids, batch.sizes.tolist(), strict=True)
            if size
        ]
        assert batch.ids.shape[1] in CPU.lengths
        targets = batch.targets[batch.weights > 0]
        places = targets % batch.ids.shape[1]
        sizes = batch.sizes[targets // batch.ids.shape[1]]
        assert bool(((places > 0) & (places < sizes)).all())
        assert len(set(targets.tolist())) == len(targets)
    assert sorted(found) == sorted(ids for ids, _ in rows if len(ids) <= CPU.lengths[-1])
    answers = sum(int((batch.weights == 1).sum()) for batch in batches)
    assert answers == sum(sum(is_answer) for ids, is_answer in rows if len(ids) <= CPU.lengths[-1])


def test_the_loss_of_a_document_is_the_same_beside_longer_ones(documents, tokenizer):
    """Padding stands behind a document, where nothing of it looks."""
    rows = sorted(Encoder(tokenizer).encode(documents), key=lambda row: len(row[0]))
    rows = [row for row in rows if 2 * sum(row[1]) <= len(row[0])]  # all of its answers fit
    torch.manual_seed(0)
    model = new_model(tokenizer, layers=2, width=64, hidden=96).eval()
    for row in (rows[0], rows[1]):
        (alone,) = make_batches([row], 0, random.Random(0), CPU)
        (beside,) = make_batches([row, rows[-1]], 0, random.Random(0), CPU)
        keep_answers_of_first(alone)
        keep_answers_of_first(beside)
        with torch.no_grad():
            losses = [loss_of(model, batch).item() for batch in (alone, beside)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def keep_answers_of_first(batch: Batch) -> None:
    """Leave in a batch the targets that are answers of its first document."""
    chosen = (batch.weights == 1) & (batch.targets < batch.ids.shape[1])
    batch.targets, batch.weights = batch.targets[chosen].sort().values, batch.weights[chosen]


def test_words_and_names_for_the_exam_are_never_those_of_the_training():
    rng = random.Random(5)
    for make in (invented_word, invented_name):
        known = {make(rng) for _ in range(4000)}
        novel = {make(rng, novel=True) for _ in range(400)}
        assert not known & novel
        assert len(known) > 2000
    train, final = Values([]), Values([], novel=True)
    kind = {
        "values": [
            "a nurse",
            "a baker",
            "a cook",
            "a pilot",
            "a judge",
            "a monk",
            "a clown",
            "a spy",
        ]
        * 5
    }
    for name in ("first_name", "place", "pet_name"):
        assert not {train.draw({"value": name}, rng) for _ in range(3000)} & {
            final.draw({"value": name}, rng) for _ in range(500)
        }
    assert {train.draw(kind, rng) for _ in range(300)} - {final.draw(kind, rng) for _ in range(300)}
