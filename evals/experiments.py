"""The experiments as units of work: which there are, and what each does with an arm."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agent.errors import ConfigError
from agent.settings import Settings
from evals.arms.registry import Bench, arm_of
from evals.cost import CONTEXTS, PAST_TURNS, latency, to_recall
from evals.data import Item, life, read_contexts
from evals.examiner import Examiner
from evals.injection import LAGS, SHORT, batch, sequential, single
from evals.personal import person, personal
from evals.runs import Run, work_through
from evals.taste import most_popular, taste, taster
from house.__main__ import new_writer
from house.documents import Writer


class Source(Protocol):
    """Where contexts come from."""

    name: str

    def life(self, key: str, number: int) -> list[Item]:
        """Return `number` contexts that may be told to one memory; the same for the same key."""


class House:
    """The invented users of the house exam: wordings, names and values of one side of the split."""

    def __init__(self, side: str) -> None:
        self.name, self.writer = f"house, {side}", new_writer(side, novel=True)

    def life(self, key: str, number: int) -> list[Item]:
        return life(self.writer, key, number)


class File:
    """The contexts of a file, in its order; the key's last number says where to begin."""

    def __init__(self, path: Path) -> None:
        self.name, self._path, self._items = path.name, path, read_contexts(path)

    def life(self, key: str, number: int) -> list[Item]:
        first = int(key.rpartition("/")[2]) * number
        if first + number > len(self._items):
            raise ConfigError(
                f"{self._path} has {len(self._items)} contexts, and {first + number} are wanted. Ask for fewer."
            )
        return self._items[first : first + number]


WITH_A_PAST = ("full-history", "bm25", "dense", "ours")
"""Arms whose replies may take longer the longer the past is."""

Unit = Callable[[Examiner, str], dict]


@dataclass(frozen=True)
class Experiment:
    """What an arm is put through."""

    name: str
    keys: list[str]
    """Of the units: seed, then which one."""
    unit: Unit
    contexts: int
    questions: int
    """Learned and asked in a unit, for the estimate."""


def seed_of(key: str) -> int:
    return int(key.partition("/")[0])


def keys_of(seeds: int, number: int) -> list[str]:
    """Return the keys, the seeds in turn: what is cut short has something of each."""
    return [f"{seed}/{i}" for i in range(number) for seed in range(seeds)]


def single_of(source: Source, seeds: int, contexts: int) -> Experiment:
    def unit(examiner: Examiner, key: str) -> dict:
        return single(examiner, source.life(f"single {key}", 1)[0], seed_of(key))

    return Experiment("single", keys_of(seeds, contexts), unit, 1, 6)


def batch_of(source: Source, seeds: int, contexts: int) -> Experiment:
    def unit(examiner: Examiner, key: str) -> dict:
        return batch(examiner, source.life(f"batch {key}", contexts), seed_of(key))

    return Experiment(f"batch-{contexts}", keys_of(seeds, 1), unit, contexts, 6 * contexts)


def sequential_of(source: Source, seeds: int, length: int, sequences: int) -> Experiment:
    def unit(examiner: Examiner, key: str) -> dict:
        return sequential(examiner, source.life(f"sequence {key}", length), seed_of(key))

    asked = length * (length + 1) // 2 if length <= SHORT else length * len(LAGS)
    return Experiment(f"sequential-{length}", keys_of(seeds, sequences), unit, length, 6 * asked)


def taste_of(writer: Writer, seeds: int, users: int) -> Experiment:
    def unit(examiner: Examiner, key: str) -> dict:
        return taste(examiner, taster(writer, key), writer.films, seed_of(key))

    return Experiment("taste", keys_of(seeds, users), unit, 1, 400)


def personal_of(writer: Writer, seeds: int, people: int) -> Experiment:
    def unit(examiner: Examiner, key: str) -> dict:
        who, stranger = person(writer, key), person(writer, f"{key} stranger")
        return personal(examiner, who, stranger, writer, seed_of(key))

    return Experiment("personal", keys_of(seeds, people), unit, 2, 100)


def cost_of(source: Source, seeds: int, lives: int) -> Experiment:
    def unit(examiner: Examiner, key: str) -> dict:
        return to_recall(examiner, source.life(f"cost {key}", CONTEXTS), seed_of(key))

    return Experiment("cost", keys_of(seeds, lives), unit, CONTEXTS, 400)


def latency_of(source: Source, past: Sequence[int] = PAST_TURNS) -> Experiment:
    def unit(examiner: Examiner, key: str) -> dict:
        return latency(
            examiner.arm, source.life("latency/0", max(past) // 3), int(key.partition("/")[2])
        )

    return Experiment("latency", [f"0/{number}" for number in past], unit, 1, 20)


def put_through(
    experiment: Experiment, names: Sequence[str], settings: Settings, out: Path, *, data: str, hours: float
) -> list[Path]:  # fmt: skip
    """Run an experiment with every arm; return the files of the runs."""
    bench = Bench(settings)
    paths = []
    for name in names:
        arm = arm_of(name, bench)
        path = out / experiment.name / f"{name}.json"
        about = {
            "experiment": experiment.name, "arm": name, "model": settings.model, "base_hash": arm.model.base_hash,
            "data": data, "settings": settings.recipe(),
        }  # fmt: skip
        examiner = Examiner(arm)
        try:
            work_through(
                Run(path, about), experiment.keys, lambda key, e=examiner: experiment.unit(e, key),
                estimate=experiment.contexts * arm.seconds_a_context + experiment.questions * arm.seconds_a_question,
                hours=hours,
            )  # fmt: skip
        finally:
            arm.close()
        paths.append(path)
    return paths


def most_popular_run(
    writer: Writer, keys: Sequence[str], settings: Settings, out: Path, data: str
) -> Path:
    """Write what the best known films are worth as recommendations: no arm, since nothing is learned."""
    path = out / "taste" / "popularity.json"
    about = {
        "experiment": "taste", "arm": "popularity", "model": "none", "base_hash": "", "data": data, "settings": settings.recipe(),
    }  # fmt: skip
    run = Run(path, about)
    for key in run.left(keys):
        run.keep(key, most_popular(writer.films, taster(writer, key)))
    return path
