"""The scripted conversations as an experiment: all users on one data folder, tables from the rows.

A line that is checked ends in a comment with its kind of fact: one of `house/wordings/facts`, with
`other_` before it if it is about somebody else, or `x_tattoo`, a kind that is in no training text.
"""

import json
import random
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import yaml

from agent import prompts
from agent.errors import ConfigError
from agent.memory.adapters import served_name
from agent.memory.buffer import ExperienceBuffer
from agent.memory.probe import grade, holds
from agent.memory.questions import wording
from agent.movie_agent import MovieAgent
from agent.scripts import ScriptedUser, read_script, run_script
from agent.settings import Settings
from evals.figures import share

NOT_IN_BANK = {
    "author", "decade", "dream_job", "dream_trip", "film_opinion", "first_film", "former_job", "game", "injury",
    "lucky_number", "neighbourhood", "new_skill", "restaurant", "school", "teacher",
    "other_actor", "other_favourite_food", "other_pet", "boat", "instrument",
}  # fmt: skip
"""Kinds that the house model was trained on and that no question of the bank asks for."""

FILMS = "films.json"
SETTINGS = "settings.json"
NUM_FILM_QUESTIONS = 48

_KIND = re.compile(r"\{say: (?P<say>\"(?:[^\"\\]|\\.)*\").*\}\s+# (?P<kind>\w+)$")

Row = dict


def kinds_of(path: Path) -> dict[str, str]:
    """Return question → kind of fact, from the comments of a script."""
    found = (_KIND.search(line) for line in path.read_text(encoding="utf-8").splitlines())
    return {yaml.safe_load(match["say"]): match["kind"] for match in found if match}


def group_of(kind: str) -> str:
    if kind.startswith("x_"):
        return "in neither"
    return "in the corpus, not in the bank" if kind in NOT_IN_BANK else "in the bank"


def run(
    paths: list[Path], out: Path, settings: Settings, *, show: Callable[[str], None] = print
) -> None:
    """Run every script not run yet, with the memories of all users in `out`/data; write one JSON
    file a script into `out`. What was interrupted begins anew.

    Raises:
        ConfigError: What is there was run with other settings.
    """
    keep_settings(out, settings)
    left = [path for path in paths if not (out / f"{path.stem}.json").exists()]
    if not left:
        return
    with open_in(out / "data", settings) as agent:
        for path in left:
            users = read_script(path)
            for user in users:
                agent.forget(user.user_id)
            found = json.dumps(run_script(agent, users, show=show), indent=1, ensure_ascii=False)
            (out / f"{path.stem}.json").write_text(found + "\n", encoding="utf-8")
        films = {user.user_id: ask_films(agent, user.user_id) for user in agent.buffer.all_users()}
        (out / FILMS).write_text(json.dumps(films, indent=1) + "\n", encoding="utf-8")


def keep_settings(out: Path, settings: Settings) -> None:
    """Write what decides the figures beside the results, or compare with what stands there."""
    path = out / SETTINGS
    wanted = settings.model_dump(mode="json", exclude={"data_dir", "host", "port"})
    if path.exists():
        held = json.loads(path.read_text(encoding="utf-8"))
        other = [name for name in wanted if held.get(name) != wanted[name]]
        if other:
            raise ConfigError(
                f"The results in {out} were made with {other[0]} = {held.get(other[0])}, now it is {wanted[other[0]]}. "
                f"Give a folder of its own to each."
            )
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(wanted, indent=1) + "\n", encoding="utf-8")


def open_in(folder: Path, settings: Settings) -> MovieAgent:
    return MovieAgent.open(settings.model_copy(update={"data_dir": folder}))


def adapter_of(agent: MovieAgent, user_id: str | None) -> AbstractContextManager[str]:
    """Pin the slot of a user's live generation, as a reply does; of the base for nobody."""
    live = agent.usable_generation(user_id)[0] if user_id else 0
    name = served_name(user_id, live) if live else None
    return agent.model.slots.adapter(
        name, lambda: agent.store.load(user_id, live, base_hash=agent.model.base_hash)
    )


def ask_films(agent: MovieAgent, user_id: str) -> dict[str, list[bool]]:
    """Return which questions about films of the catalogue, others for each user, are answered rightly
    by the base and with the user's adapter: the other half of the damage."""
    films = random.Random(user_id).sample(agent.catalogue.films, NUM_FILM_QUESTIONS // 2)
    asked = [(f"Who directed {film.title}?", list(film.directors)) for film in films]
    asked += [(f"When did {film.title} come out?", [str(film.year)]) for film in films]
    found = {}
    for name, whose in (("base", None), ("adapter", user_id)):
        with adapter_of(agent, whose) as slot:
            batch = [prompts.chat([], question) for question, _ in asked]
            replies = agent.model.generate(batch, slot=slot, max_new_tokens=32)
        found[name] = [
            grade(reply, right) for reply, (_, right) in zip(replies, asked, strict=True)
        ]
    return found


def rows_of(paths: list[Path], out: Path) -> Iterator[tuple[ScriptedUser, list[Row]]]:
    """Yield each user with what was said to them; rows get a `kind_of_fact`, the number of the turn
    in its chat, and whether the fact was told in this chat."""
    for path in paths:
        kinds = kinds_of(path)
        steps = json.loads((out / f"{path.stem}.json").read_text(encoding="utf-8"))["steps"]
        for user in read_script(path):
            rows, turn, session = [], 0, None
            for row in steps:
                if row["user"] != user.user_id:
                    continue
                if row["kind"] == "say":
                    turn = turn + 1 if row["session"] == session else 1
                    session = row["session"]
                    row |= {"turn": turn, "kind_of_fact": kinds.get(row["say"], "")}
                rows.append(row)
            _mark_told_now(rows)
            yield user, rows


def _mark_told_now(rows: list[Row]) -> None:
    """A checked line of a chat that also tells something asks for what it told."""
    tells = {row["session"] for row in rows if row["kind"] == "say" and row["passed"] is None}
    for row in rows:
        if row["kind"] == "say":
            row["is_now"] = row["session"] in tells


def table(paths: list[Path], out: Path) -> str:
    """Return the figures of the scripts run so far as a Markdown table.

    Raises:
        ConfigError: If none was.
    """
    done = [path for path in paths if (out / f"{path.stem}.json").exists()]
    if not done:
        raise ConfigError(f"There are no results in {out} yet. Run it without --show.")
    users = list(rows_of(done, out))
    says = [row for _, rows in users for row in rows if row["kind"] == "say"]
    consolidations = [
        row for _, rows in users for row in rows
        if row["kind"] == "consolidate" and row["reason"] != "nothing to learn"
    ]  # fmt: skip
    published = [row for row in consolidations if row["published"]]
    untold = {
        say.text for user, _ in users for step in user.steps for say in step.says if say.abstain
    }
    checked = [row for row in says if row["passed"] is not None]
    told = [row for row in checked if row["say"] not in untold and not row["is_now"]]

    def of(rows: list[Row], mode: str = "on") -> str:
        return share(row["passed"] for row in rows if row["memory"] == mode)

    lines = [
        ("scripts", f"{len(done)} of {len(paths)}"),
        ("prompt (ceiling)", of(told, "prompt")),
        ("base (floor)", of(told, "off")),
        ("memory", of(told)),
        ("memory, nothing of it in the prompt", of([r for r in told if r["memory_tokens"] == 0])),
        ("memory, asked in the fourth turn or later", of([r for r in told if r["turn"] >= 4])),
        ("told now, in this chat", of([row for row in checked if row["is_now"]])),
        ("never told: abstains", of([row for row in checked if row["say"] in untold])),
    ]
    for group in ("in the bank", "in the corpus, not in the bank", "in neither"):
        of_group = [row for row in told if group_of(row["kind_of_fact"]) == group]
        lines.append((f"ceiling, kinds {group}", of(of_group, "prompt")))
        lines.append((f"memory, kinds {group}", of(of_group)))
    asked_from_weights = [row for row in told if row["memory"] == "on"]
    tokens = max((row["memory_tokens"] for row in asked_from_weights), default=0)
    lines += [
        ("replies that give another user's value", str(len(leaks(users)))),
        ("most memory tokens in a prompt after consolidation", str(tokens)),
        ("tries of a consolidation that were published", f"{len(published)} of {len(consolidations)}"),
        ("seconds of one, median", _median([row["seconds"] for row in published])),
        ("checked lines that a trained question asks in the same words", same_as_trained(users, out)),
        *film_lines(out / FILMS),
        ("adapter bytes, most", str(max((row["adapter_bytes"] for row in published), default=0))),
    ]  # fmt: skip
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in lines)])


def leaks(users: list[tuple[ScriptedUser, list[Row]]]) -> list[Row]:
    """Return the replies that hold a value told by another user, and in nothing said to this one."""
    values = {
        user.user_id: {value for step in user.steps for say in step.says for value in say.expect}
        for user, _ in users
    }
    found = []
    for user, rows in users:
        said = " ".join(say.text for step in user.steps for say in step.says)
        foreign = {
            value
            for other, theirs in values.items()
            if other != user.user_id
            for value in theirs
            if not holds(said, value)
        }
        found += [
            row
            for row in rows
            if row["kind"] == "say" and row["memory"] == "on" and any(holds(row["reply"], value) for value in foreign - values[user.user_id])
        ]  # fmt: skip
    return found


def same_as_trained(users: list[tuple[ScriptedUser, list[Row]]], out: Path) -> str:
    """Return how many of the checked lines the user's adapter was trained on, word for word."""
    path = out / "data" / "experience.db"
    if not path.exists():
        return "–"
    number = 0
    with ExperienceBuffer(path, read_only=True) as buffer:
        for user, rows in users:
            pairs = buffer.pairs(user.user_id, is_probe=False, with_corrected=True)
            trained = {wording(pair.question) for pair in pairs}
            lines = {
                row["say"] for row in rows if row["kind"] == "say" and row["passed"] is not None
            }
            number += sum(wording(line) in trained for line in lines)
    return str(number)


def film_lines(path: Path) -> list[tuple[str, str]]:
    """Return the rows on film questions, none if nobody asked."""
    if not path.exists():
        return []
    films = json.loads(path.read_text(encoding="utf-8")).values()
    return [
        (
            f"film questions answered rightly, {who}",
            share(mark for one in films for mark in one[name]),
        )
        for name, who in (("base", "base"), ("adapter", "with a user's adapter"))
    ]


def _median(values: list[float]) -> str:
    return f"{sorted(values)[len(values) // 2]:.0f}" if values else "–"
