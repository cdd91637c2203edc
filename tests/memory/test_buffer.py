"""The experience buffer: nothing lost, nothing mixed up, nothing left after forgetting."""

import sqlite3
import threading
from dataclasses import replace

import pytest
import sqlalchemy as sa

from agent.errors import ConfigError, StoreError
from agent.memory.buffer import ExperienceBuffer
from agent.memory.tables import StoredPair


def tell(buffer: ExperienceBuffer, user_id: str = "ada", message: str = "I live in Turin."):
    return buffer.append(user_id, "s1", message=message, reply="Noted!")


def pair_of(
    user_id: str, question: str = "Where do I live?", *, is_probe: bool = False
) -> StoredPair:
    return StoredPair(
        user_id, question, "You live in Turin.", "Turin", "direct", is_probe, (1,), 1, 1
    )


def publish(
    buffer: ExperienceBuffer, user_id: str, turn_ids: list[int], generation: int = 1
) -> bool:
    fence = buffer.leases.take(user_id, "worker", seconds=60)
    return buffer.publish(
        user_id,
        fence,
        turn_ids=turn_ids,
        generation=generation,
        new_pairs=[pair_of(user_id)],
        report={"a": 1},
    )


def test_a_turn_is_pending_until_a_generation_knows_it(buffer):
    first, second = tell(buffer), tell(buffer, message="I love westerns.")
    assert buffer.pending("ada") == [first, second]
    assert publish(buffer, "ada", [first.id])
    assert [turn.id for turn in buffer.pending("ada")] == [second.id]
    user = buffer.user("ada")
    assert (user.head, user.watermark, user.live_generation) == (second.id, first.id, 1)


def test_a_turn_is_pending_again_when_the_live_generation_falls_behind(buffer):
    turn = tell(buffer)
    publish(buffer, "ada", [turn.id], generation=2)
    assert buffer.pending("ada") == []
    assert [t.id for t in buffer.pending("ada", live_generation=1)] == [turn.id]
    assert [t.id for t in buffer.pending("ada", live_generation=0)] == [turn.id]


def test_turns_without_anything_to_learn_are_done_with_for_good(buffer):
    known, turn = tell(buffer), tell(buffer, message="Hi")
    publish(buffer, "ada", [known.id])
    fence = buffer.leases.take("ada", "worker", seconds=60)
    buffer.skip("ada", fence, turn_ids=[turn.id], report={"reason": "nothing to learn"})
    assert buffer.pending("ada") == []
    assert [t.id for t in buffer.pending("ada", live_generation=0)] == [known.id]
    user = buffer.user("ada")
    assert (user.watermark, user.live_generation) == (turn.id, 1)


def test_a_turn_that_was_taken_back_meanwhile_is_not_published(buffer):
    turn = tell(buffer)
    fence = buffer.leases.take("ada", "worker", seconds=60)
    buffer.retract(turn.id)
    assert not buffer.publish(
        "ada", fence, turn_ids=[turn.id], generation=1, new_pairs=[pair_of("ada")], report={}
    )
    assert buffer.pairs("ada") == []
    assert buffer.user("ada").live_generation == 0


def test_superseded_pairs_are_live_again_when_their_generation_is_gone(buffer):
    first, second = tell(buffer), tell(buffer, message="I moved.")
    publish(buffer, "ada", [first.id], generation=1)
    (old,) = buffer.pairs("ada")
    fence = buffer.leases.take("ada", "worker", seconds=60)
    buffer.publish(
        "ada", fence, turn_ids=[second.id], generation=2, new_pairs=[replace(pair_of("ada", "two"), generation=2)],
        superseded=[old.id], report={},
    )  # fmt: skip
    assert [pair.question for pair in buffer.pairs("ada")] == ["two"]
    assert old.id in [pair.id for pair in buffer.pairs("ada", with_corrected=True)]
    buffer.roll_back("ada", 1)
    assert [pair.id for pair in buffer.pairs("ada")] == [old.id]
    # What only a generation knew that was taken back may be dealt anew.
    assert [pair.id for pair in buffer.pairs("ada", with_corrected=True)] == [old.id]


def test_an_error_of_the_database_holds_nothing_a_user_said(buffer):
    tell(buffer)
    with pytest.raises(StoreError) as caught, buffer._database.writing() as connection:
        connection.execute(
            sa.text("INSERT INTO nowhere VALUES (:message)"), {"message": "Quillaborn"}
        )
    causes = [str(caught.value), str(caught.value.__cause__)]
    assert not any("Quillaborn" in text for text in causes)


def test_users_do_not_see_each_other(buffer):
    tell(buffer, "ada")
    bobs = tell(buffer, "bob", "I live in Oslo.")
    assert buffer.turns("bob") == [bobs]
    assert buffer.pending("bob") == [bobs]


def test_a_retracted_turn_is_kept_but_neither_shown_nor_pending(buffer):
    turn = tell(buffer)
    assert buffer.retract(turn.id).id == turn.id
    assert buffer.retract(turn.id) is None
    assert buffer.turns("ada") == buffer.pending("ada") == []
    assert len(buffer.turns("ada", with_retracted=True)) == 1


def test_two_rejections_set_a_slice_aside_and_retry_brings_it_back(buffer):
    turn = tell(buffer)
    for _ in range(2):
        fence = buffer.leases.take("ada", "worker", seconds=60)
        buffer.reject("ada", fence, turn_ids=[turn.id], report={"published": False})
    (pending,) = buffer.pending("ada")
    assert pending.is_unlearned
    buffer.retry("ada")
    assert not buffer.pending("ada")[0].is_unlearned
    assert len(buffer.reports("ada")) == 2


def test_a_worker_whose_lease_was_taken_over_publishes_nothing(buffer, clock):
    turn = tell(buffer)
    late = buffer.leases.take("ada", "first", seconds=60)
    assert buffer.leases.take("ada", "second", seconds=60) is None
    clock.forward(61)
    fence = buffer.leases.take("ada", "second", seconds=60)
    assert not buffer.publish("ada", late, turn_ids=[turn.id], generation=1, report={})
    assert buffer.user("ada").live_generation == 0
    assert buffer.publish("ada", fence, turn_ids=[turn.id], generation=1, report={})


def test_a_worker_whose_user_was_forgotten_publishes_nothing(buffer):
    turn = tell(buffer)
    fence = buffer.leases.take("ada", "worker", seconds=60)
    assert buffer.forget("ada") == 1
    assert not buffer.publish(
        "ada", fence, turn_ids=[turn.id], generation=1, new_pairs=[pair_of("ada")], report={}
    )
    assert buffer.user("ada") is None
    assert buffer.pairs("ada") == []


def test_pairs_come_least_recently_rehearsed_first(buffer):
    turn = tell(buffer)
    fence = buffer.leases.take("ada", "worker", seconds=60)
    new = [pair_of("ada", "one"), pair_of("ada", "two"), pair_of("ada", "three", is_probe=True)]
    buffer.publish("ada", fence, turn_ids=[turn.id], generation=1, new_pairs=new, report={})
    first = buffer.pairs("ada", is_probe=False)[0]
    assert first.question == "one"
    assert first.source_turn_ids == (1,)
    buffer.publish("ada", fence, turn_ids=[], generation=2, rehearsed=[first.id], report={})
    assert [pair.question for pair in buffer.pairs("ada")] == ["two", "three", "one"]


def test_forgetting_leaves_no_byte_in_any_file(buffer, tmp_path):
    tell(buffer, message="My locker word is Quillaborn.")
    publish(buffer, "ada", [1])
    tell(buffer, "bob", "I keep this one.")
    before = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"Quillaborn" in before
    buffer.forget("ada")
    after = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"Quillaborn" not in after
    assert b"I keep this one." in after


def test_many_threads_lose_no_turn(buffer):
    def talk(name: str) -> None:
        for i in range(25):
            buffer.append(name, "s", message=f"{name} {i}", reply="ok")

    threads = [threading.Thread(target=talk, args=(f"user{i}",)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(6):
        assert [turn.message for turn in buffer.turns(f"user{i}")] == [
            f"user{i} {j}" for j in range(25)
        ]


def test_what_was_written_is_there_after_opening_again(tmp_path):
    with ExperienceBuffer(tmp_path / "experience.db") as buffer:
        turn = tell(buffer)
    with ExperienceBuffer(tmp_path / "experience.db") as buffer:
        assert buffer.turns("ada") == [turn]
    with ExperienceBuffer(tmp_path / "experience.db", read_only=True) as buffer:
        assert buffer.turns("ada") == [turn]
        with pytest.raises(StoreError):
            tell(buffer)


def test_a_schema_from_the_future_is_refused_by_number(tmp_path):
    ExperienceBuffer(tmp_path / "experience.db").close()
    with sqlite3.connect(tmp_path / "experience.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'm099'")
    connection.close()
    with pytest.raises(
        StoreError, match="schema version m099, but this code knows only up to m001"
    ):
        ExperienceBuffer(tmp_path / "experience.db")


def test_the_migrations_make_exactly_the_tables_the_code_uses(buffer):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from agent.memory.tables import metadata

    with buffer._database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_a_file_that_is_no_database_is_named(tmp_path):
    (tmp_path / "experience.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(StoreError, match="damaged or no database"):
        ExperienceBuffer(tmp_path / "experience.db")


@pytest.mark.parametrize("user_id", ["", "../x", "a" * 41, "Ada", "a b", "é", "a/b", "."])
def test_a_user_id_that_could_leave_its_folder_is_refused(buffer, user_id):
    with pytest.raises(ConfigError, match="no user id"):
        buffer.append(user_id, "s", message="x", reply="y")
