"""The database file: where it is, and that cleaning it does not wait for ever."""

import sqlite3
import time
from contextlib import closing

import pytest
import sqlalchemy as sa

from agent.errors import StoreError
from agent.memory.buffer import ExperienceBuffer
from agent.memory.database import Database


@pytest.fixture
def read_elsewhere(tmp_path):
    """The path of a file with turns that another program is in the middle of reading."""
    path = tmp_path / "experience.db"
    with ExperienceBuffer(path) as buffer, closing(sqlite3.connect(path)) as reader:
        buffer.append("ada", "s1", message="Hi", reply="Hello!")
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM turns").fetchone() == (1,)
        buffer.append("ada", "s1", message="Bye", reply="Bye!")
        yield path


def test_cleaning_waits_for_a_reader_five_seconds_in_all_and_says_so(read_elsewhere, monkeypatch):
    began, waits = time.monotonic(), []

    def sleep(seconds):
        waits.append(seconds)
        assert time.monotonic() - began < 10

    monkeypatch.setattr(time, "sleep", sleep)
    with closing(Database(read_elsewhere, read_only=False)) as database:
        with pytest.raises(StoreError, match="is being read by another program"):
            database.clean()
        assert sum(waits) == pytest.approx(5)
        with database.reading() as connection:
            assert connection.execute(sa.text("PRAGMA busy_timeout")).scalar() == 30_000


@pytest.mark.parametrize("name", ["what?", "a#b", "100%41", "José & me"])
def test_the_file_is_in_its_folder_whatever_the_name_of_the_folder(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    with ExperienceBuffer(folder / "experience.db") as buffer:
        buffer.append("ada", "s1", message="Hi", reply="Hello!")
    assert list(tmp_path.iterdir()) == [folder]
    assert (folder / "experience.db").is_file()


def test_a_full_disk_is_said_and_what_was_there_stays(tmp_path):
    path = tmp_path / "experience.db"
    with ExperienceBuffer(path) as buffer:
        buffer.append("ada", "s1", message="Hi", reply="Hello!")
        with buffer._database.writing() as connection:  # SQLite answers as on a full disk
            connection.exec_driver_sql("PRAGMA max_page_count=1")
        with pytest.raises(StoreError, match="The disk is full: nothing more can be remembered"):
            buffer.append("ada", "s1", message="word " * 50_000, reply="Hello!")
        assert [turn.message for turn in buffer.turns("ada")] == ["Hi"]
