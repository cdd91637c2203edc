"""Runs in a process of its own: consolidates, and kills itself without warning at a given moment.

python -m tests.memory.kill_at DATA_DIR STAGE
"""

import os
import signal
import sys
from pathlib import Path

from agent.memory.adapters import AdapterStore
from agent.memory.buffer import ExperienceBuffer
from agent.movie_agent import MovieAgent
from agent.settings import Settings

QUICK = {"question_rounds": 1, "max_steps": 12, "min_recall_share": 0.0, "min_abstention": 0.0, "max_damage_nats": 99.0, "max_earlier_loss": 1.0}  # fmt: skip
"""A consolidation that goes through every stage, publishes whatever it gets, and is soon done."""

INSIDE_PUBLISHING = {
    "weights half written": ("agent.memory.adapters", "save_file"),
    "draft written": ("agent.memory.adapters", "_flush"),
    "folder in place": (AdapterStore, "publish"),
    "database written": (ExperienceBuffer, "publish"),
}


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main(data_dir: str, moment: str) -> None:
    if moment in INSIDE_PUBLISHING:
        owner, name = INSIDE_PUBLISHING[moment]
        owner = sys.modules[owner] if isinstance(owner, str) else owner
        original = getattr(owner, name)

        def then_die(*args: object, **options: object) -> None:
            original(*args, **options)
            if moment == "weights half written":
                file = args[1]
                os.truncate(file, file.stat().st_size // 2)
            die()

        setattr(owner, name, then_die)
    with MovieAgent.open(Settings(data_dir=Path(data_dir), **QUICK)) as agent:
        agent.consolidate(
            "ada", on_progress=lambda progress: die() if progress.stage == moment else None
        )
    sys.exit(f"the moment {moment!r} never came")


if __name__ == "__main__":
    main(*sys.argv[1:])
