"""`kill -9` at every step of a consolidation loses no turn and leaves a usable generation."""

import signal
import subprocess
import sys

import pytest

from agent.memory.adapters import AdapterStore
from agent.memory.buffer import ExperienceBuffer
from agent.movie_agent import MovieAgent
from agent.settings import Settings
from tests.memory.kill_at import INSIDE_PUBLISHING, QUICK

pytestmark = pytest.mark.slow

STAGES = [
    "questions", "teacher", "bank", "recommend", "taste", "told now", "negatives", "unrelated sentences",
    "target sentences", "training", "probing", "publishing",
]  # fmt: skip

FIRST = ["My name is Ada.", "I live in Velmora."]
SECOND = ["I love westerns.", "My sister lives in Oslo."]


def tell(folder, messages):
    with ExperienceBuffer(folder / "experience.db") as buffer:
        return [buffer.append("ada", "s1", message=message, reply="Noted!").id for message in messages]  # fmt: skip


@pytest.fixture(scope="module")
def learned_once(house_model, tmp_path_factory):
    """A data folder with one generation and two pending turns."""
    folder = tmp_path_factory.mktemp("killed")
    tell(folder, FIRST)
    settings = Settings(data_dir=folder, **QUICK)
    agent = MovieAgent(
        house_model, ExperienceBuffer(folder / "experience.db"), AdapterStore(folder / "adapters"), settings
    )  # fmt: skip
    (report,) = agent.consolidate("ada")
    assert report.published
    agent.close()
    tell(folder, SECOND)
    return folder


@pytest.mark.parametrize("moment", [*STAGES, *INSIDE_PUBLISHING])
def test_kill_9_loses_no_turn_and_leaves_a_usable_generation(
    learned_once, house_model, tmp_path, moment
):
    folder = tmp_path / "data"
    subprocess.run(["cp", "-r", learned_once, folder], check=True)
    killed = subprocess.run(
        [sys.executable, "-m", "tests.memory.kill_at", str(folder), moment],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]

    with ExperienceBuffer(folder / "experience.db") as buffer:
        store = AdapterStore(folder / "adapters")
        store.remove_drafts()
        assert [turn.message for turn in buffer.turns("ada")] == FIRST + SECOND
        user = buffer.user("ada")
        is_published = moment == "database written"
        assert user.live_generation == (2 if is_published else 1)
        assert len(buffer.pending("ada")) == (0 if is_published else len(SECOND))
        assert store.load("ada", user.live_generation, base_hash=house_model.base_hash)
        agent = MovieAgent(house_model, buffer, store, Settings(data_dir=folder, **QUICK))
        assert agent.probe("ada", "What's my name?").generation == user.live_generation


def test_a_killed_consolidation_is_made_up_for(learned_once, tmp_path):
    """The folder was in place, the database not, and the lease was never given back."""
    folder = tmp_path / "data"
    subprocess.run(["cp", "-r", learned_once, folder], check=True)
    subprocess.run(
        [sys.executable, "-m", "tests.memory.kill_at", str(folder), "folder in place"],
        capture_output=True, check=False,
    )  # fmt: skip
    with MovieAgent.open(Settings(data_dir=folder, **QUICK)) as agent:
        (report,) = agent.consolidate("ada")
        assert (report.published, report.generation) == (True, 2)
        assert agent.buffer.pending("ada") == []
