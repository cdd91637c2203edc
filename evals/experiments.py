"""The experiments as units of work: which there are, and what each does with an arm."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import typer

from agent.catalogue import Catalogue
from agent.errors import AgentError, ConfigError
from agent.settings import Settings
from evals.arms.registry import Bench, arm_of, form_of
from evals.cost import CONTEXTS, PAST_TURNS, latency, to_recall
from evals.data import Item, life, read_contexts
from evals.examiner import Examiner
from evals.injection import LAGS, SHORT, batch, sequential, single
from evals.personal import person, personal
from evals.runs import Run, Tick, work_through
from evals.taste import most_popular, taste, taster
from house.__main__ import new_writer
from house.documents import Writer


class Source(Protocol):
    """Where contexts come from."""

    name: str
    """What it is, the same for the same data."""

    def life(self, key: str, number: int) -> list[Item]:
        """Return `number` contexts that may be told to one memory; the same for the same key."""

    def need(self, number: int) -> None:
        """Check that there are so many contexts.

        Raises:
            ConfigError: There are not.
        """


class House:
    """The invented users of the house exam: wordings, names and values of one side of the split."""

    def __init__(self, side: str) -> None:
        self.name, self.writer = f"house, {side}", new_writer(side, novel=True)

    def life(self, key: str, number: int) -> list[Item]:
        return life(self.writer, key, number)

    def need(self, number: int) -> None:
        """There are as many as are wanted."""


class File:
    """The contexts of a file, in its order, the same for every seed; the key's last number says where to
    begin."""

    def __init__(self, path: Path) -> None:
        self._path, self._items = path, read_contexts(path)
        self.name = f"{path.name}, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"

    def life(self, key: str, number: int) -> list[Item]:
        first = int(key.rpartition("/")[2]) * number
        return self._items[first : first + number]

    def need(self, number: int) -> None:
        if number > len(self._items):
            raise ConfigError(
                f"{self._path} has {len(self._items)} contexts, and {number} are wanted. Ask for fewer."
            )


WITH_A_PAST = ("full-history", "bm25", "dense", "ours")
"""Arms whose replies may take longer the longer the past is."""

Unit = Callable[[Examiner, str, Tick], dict]


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
    ticks: int = 1


def seed_of(key: str) -> int:
    return int(key.partition("/")[0])


def keys_of(seeds: int, number: int) -> list[str]:
    """Return the keys, the seeds in turn: what is cut short has something of each."""
    return [f"{seed}/{i}" for i in range(number) for seed in range(seeds)]


def single_of(source: Source, seeds: int, contexts: int) -> Experiment:
    source.need(contexts)

    def unit(examiner: Examiner, key: str, tick: Tick) -> dict:
        return single(examiner, source.life(f"single {key}", 1)[0], seed_of(key))

    return Experiment("single", keys_of(seeds, contexts), unit, 1, 6)


def batch_of(source: Source, seeds: int, contexts: int) -> Experiment:
    source.need(contexts)

    def unit(examiner: Examiner, key: str, tick: Tick) -> dict:
        return batch(examiner, source.life(f"batch {key}", contexts), seed_of(key))

    return Experiment(f"batch-{contexts}", keys_of(seeds, 1), unit, contexts, 6 * contexts)


def sequential_of(source: Source, seeds: int, length: int, sequences: int) -> Experiment:
    source.need(length * sequences)

    def unit(examiner: Examiner, key: str, tick: Tick) -> dict:
        return sequential(examiner, source.life(f"sequence {key}", length), seed_of(key), tick=tick)

    asked = length * (length + 1) // 2 if length <= SHORT else length * len(LAGS)
    return Experiment(
        f"sequential-{length}", keys_of(seeds, sequences), unit, length, 6 * asked, ticks=length
    )


def taste_of(writer: Writer, seeds: int, users: int) -> Experiment:
    catalogue = Catalogue(writer.films)

    def unit(examiner: Examiner, key: str, tick: Tick) -> dict:
        return taste(examiner, taster(writer, key), catalogue, seed_of(key))

    return Experiment("taste", keys_of(seeds, users), unit, 1, 400)


def personal_of(writer: Writer, seeds: int, people: int) -> Experiment:
    def unit(examiner: Examiner, key: str, tick: Tick) -> dict:
        who, stranger = person(writer, key), person(writer, f"{key} stranger")
        return personal(examiner, who, stranger, writer, seed_of(key))

    return Experiment("personal", keys_of(seeds, people), unit, 3, 150)


def cost_of(source: Source, seeds: int, lives: int) -> Experiment:
    source.need(CONTEXTS * lives)

    def unit(examiner: Examiner, key: str, tick: Tick) -> dict:
        return to_recall(examiner, source.life(f"cost {key}", CONTEXTS), seed_of(key))

    return Experiment("cost", keys_of(seeds, lives), unit, CONTEXTS, 400)


def latency_of(source: Source, past: Sequence[int] = PAST_TURNS) -> Experiment:
    def unit(examiner: Examiner, key: str, tick: Tick) -> dict:
        number = int(key.partition("/")[2])
        return latency(examiner.arm, source.life("latency/0", number // 3 + 1), number)

    return Experiment("latency", [f"0/{number}" for number in past], unit, 1, 20)


def put_through(
    experiment: Experiment, names: Sequence[str], settings: Settings, out: Path, *, data: str, hours: float
) -> tuple[list[Path], int]:  # fmt: skip
    """Run an experiment with every arm; return the files of the runs, and how many arms failed, which are told
    and do not keep the others from running."""
    bench = Bench(settings)
    paths, num_failed = [], 0
    for name in names:
        try:
            paths.append(_run_arm(experiment, name, bench, out, data, hours))
        except AgentError as error:
            typer.echo(f"{experiment.name}, {name} failed: {error}", err=True)
            num_failed += 1
    return paths, num_failed


def _run_arm(
    experiment: Experiment, name: str, bench: Bench, out: Path, data: str, hours: float
) -> Path:
    path = out / experiment.name / f"{name}.json"
    arm = arm_of(name, bench)
    try:
        about = {
            "experiment": experiment.name, "arm": name, "model": bench.settings.model, "base_hash": arm.model.base_hash,
            "form": form_of(name).as_dict(), "recipe": arm.about, "data": data, "settings": recipe_of(bench.settings),
        }  # fmt: skip
        examiner = Examiner(arm)
        work_through(
            Run(path, about), experiment.keys, lambda key, tick: experiment.unit(examiner, key, tick),
            ticks=experiment.ticks, hours=hours,
            estimate=experiment.contexts * arm.seconds_a_context + experiment.questions * arm.seconds_a_question,
        )  # fmt: skip
    finally:
        arm.close()
    return path


def recipe_of(settings: Settings) -> dict:
    """Return the settings that decide figures and are the same for all arms; a form has the others."""
    of_a_form = ("model", "quantize", "lora_rank", "lora_alpha", "seed")
    return {name: value for name, value in settings.recipe().items() if name not in of_a_form}


def most_popular_run(
    writer: Writer, keys: Sequence[str], settings: Settings, out: Path, data: str
) -> Path:
    """Write what the best known films are worth as recommendations: no arm, since nothing is learned."""
    path = out / "taste" / "popularity.json"
    run = Run(path, {
        "experiment": "taste", "arm": "popularity", "model": settings.model, "base_hash": "", "form": {}, "recipe": {},
        "data": data, "settings": recipe_of(settings),
    })  # fmt: skip
    for key in run.left(keys):
        run.keep(key, most_popular(writer.films, taster(writer, key)))
    return path
