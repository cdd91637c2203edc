"""One run: an arm in an experiment, its units one after the other into one JSON file.

A unit (a seed and a user, say) that the file holds is not run again, so an interrupted run goes on. The
file says with what it was made: command, commit, hardware, versions, seeds, base model, settings.
"""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import typer

from agent.errors import ConfigError

ROOT = Path(__file__).parent.parent

VERSIONS = ("torch", "transformers", "peft", "bitsandbytes", "bm25s", "sentence-transformers")


@dataclass
class Run:
    """What an arm did in an experiment, unit by unit.

    Raises:
        ConfigError: The file was made with another base model or other settings.
    """

    path: Path
    about: dict
    """What decides the figures: experiment, arm, base model, settings."""
    units: dict[str, dict] = field(default_factory=dict)
    made: list[dict] = field(default_factory=list)
    """Of each session: command, commit, hardware, versions, when."""
    _has_begun: bool = False

    def __post_init__(self) -> None:
        if not self.path.exists():
            return
        held = read_run(self.path)
        other = [name for name in self.about if held["about"].get(name) != self.about[name]]
        if other:
            raise ConfigError(
                f"{self.path} was made with {other[0]} = {held['about'].get(other[0])}, now it is {self.about[other[0]]}. "
                f"Give another --out, or remove it."
            )
        self.units, self.made = held["units"], held["made"]

    @property
    def hours(self) -> float:
        """What the units took in all sessions."""
        return sum(unit.get("spent", 0.0) for unit in self.units.values()) / 3600

    def left(self, keys: Sequence[str]) -> list[str]:
        return [key for key in keys if key not in self.units]

    def keep(self, key: str, unit: dict) -> None:
        """Add a unit, and write the file anew, whole or not at all."""
        if not self._has_begun:
            self.made, self._has_begun = [*self.made, made_with()], True
        self.units[key] = unit
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(".draft")
        rows = ",\n".join(
            f"{json.dumps(k)}: {json.dumps(u, ensure_ascii=False)}" for k, u in self.units.items()
        )
        head = json.dumps({"about": self.about, "made": self.made}, indent=1, ensure_ascii=False)
        draft.write_text(f'{head[:-2]},\n "units": {{\n{rows}\n}}}}\n', encoding="utf-8")
        os.replace(draft, self.path)


def read_run(path: Path) -> dict:
    """Return what a file of a run holds.

    Raises:
        ConfigError: It is damaged.
    """
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        held["about"]["arm"], held["made"][0]["commit"], held["units"].values()
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{path} is no run of this program ({type(error).__name__}). Remove it, or give another --out."
        ) from error
    return held


def made_with() -> dict:
    """Return the command, the commit, the machine and the versions of this process."""
    return {
        "command": " ".join(["python -m evals", *sys.argv[1:]]),
        "commit": _commit(),
        "hardware": f"{os.cpu_count()} × {_processor()}, {_gigabytes()} GiB",
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in VERSIONS},
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip


def _commit() -> str:
    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    changed = " and changes" if git("status", "--porcelain", "--untracked-files=no") else ""
    return (git("rev-parse", "--short", "HEAD") or "unknown") + changed


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _gigabytes() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


Tick = Callable[[], None]


def work_through(
    run: Run,
    keys: Sequence[str],
    unit: Callable[[str, Tick], dict],
    *,
    ticks: int,
    estimate: float,
    hours: float,
) -> None:
    """Run the units that are left, with a bar and the time left; say before about how long it will take.

    Args:
        unit: Takes a key, and a function to be called `ticks` times while it works.
        estimate: Seconds of a unit, roughly.
        hours: For all units, in all sessions: none is begun that would end later. Those left out are
            said.
    """
    left, name = run.left(keys), f"{run.about['experiment']}, {run.about['arm']}"
    if not left:
        typer.echo(f"{name}: all {len(keys)} units are there.")
        return
    typer.echo(
        f"{name}: {len(left)} of {len(keys)} units to run, about {lasting(estimate * len(left))}."
    )
    with typer.progressbar(
        length=ticks * len(left), label=name, show_eta=True, show_pos=True
    ) as bar:
        for number, key in enumerate(left):
            if run.units:
                estimate = 3600 * run.hours / len(run.units)
            if run.hours + estimate / 3600 > hours:
                break
            began = time.monotonic()
            found = unit(key, lambda: bar.update(1))
            run.keep(key, found | {"spent": round(time.monotonic() - began, 2)})
            bar.update(ticks * (number + 1) - bar.pos)
    if missing := run.left(keys):
        typer.echo(
            f"{name}: {hours:g} hours are too few for {len(missing)} of {len(keys)} units; --hours gives more."
        )


def lasting(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
