"""Scripted conversations: the format for tests, demos, bug reports and benchmarks.

A file holds users; a user has steps; a step is a session, `consolidate`, or a `forget`.
Scalars are read as written: `user: 007` is a text, and so is `expect: [no]`.
What a script expects never reaches training or the gate.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from agent.errors import ConfigError
from agent.memory.folder import check_user_id
from agent.memory.job import Progress, Report
from agent.memory.probe import grade, is_abstention
from agent.movie_agent import MEMORY_MODES, MovieAgent

SAY_KEYS = {"say", "expect", "reject", "abstain", "memory"}


@dataclass(frozen=True, slots=True)
class Say:
    """A line that is said, and what its reply must be."""

    text: str
    expect: tuple[str, ...] = ()
    reject: tuple[str, ...] = ()
    abstain: bool = False
    memory: str = "on"

    def passes(self, reply: str) -> bool | None:
        """Return whether a reply is right, None if nothing is expected."""
        if self.abstain:
            return is_abstention(reply) and not any(grade(reply, [value]) for value in self.reject)
        if self.expect:
            return grade(reply, self.expect, self.reject)
        return not any(grade(reply, [value]) for value in self.reject) if self.reject else None


@dataclass(frozen=True, slots=True)
class Step:
    kind: str
    """session, consolidate or forget."""
    says: tuple[Say, ...] = ()


@dataclass(frozen=True, slots=True)
class ScriptedUser:
    user_id: str
    steps: tuple[Step, ...]


class _Reader:
    """Turns the nodes of one file into users; an error names file and line."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fail(self, node: yaml.Node, reason: str) -> ConfigError:
        return ConfigError(f"{self.path}, line {node.start_mark.line + 1}: {reason}")

    def read(self) -> list[ScriptedUser]:
        try:
            root = yaml.compose(self.path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
        except OSError as error:
            raise ConfigError(
                f"The script {self.path} cannot be read ({error.strerror}). Check the path."
            ) from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"The script {self.path} is no UTF-8 text.") from error
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = mark.line + 1 if mark else 1
            reason = getattr(error, "problem", None) or getattr(error, "reason", error)
            raise ConfigError(f"{self.path}, line {line}: no YAML ({reason}).") from error
        if not isinstance(root, yaml.SequenceNode) or not root.value:
            raise ConfigError(f"{self.path}, line 1: a script is a list of users: - user: ada")
        users = []
        for node in root.value:
            user = self.user(node)
            if user.user_id in {other.user_id for other in users}:
                raise self.fail(node, f"the user {user.user_id!r} is in this file already.")
            users.append(user)
        return users

    def user(self, node: yaml.Node) -> ScriptedUser:
        fields = self.fields(node, {"user", "steps"}, required={"user", "steps"})
        try:
            user_id = check_user_id(self.scalar(fields["user"]))
        except ConfigError as error:
            raise self.fail(fields["user"], str(error)) from error
        return ScriptedUser(user_id, tuple(self.step(step) for step in self.items(fields["steps"])))

    def step(self, node: yaml.Node) -> Step:
        if isinstance(node, yaml.ScalarNode):
            if node.value != "consolidate":
                raise self.fail(
                    node, f"unknown step {node.value!r}; a step is session, consolidate or forget."
                )
            return Step("consolidate")
        fields = self.fields(node, {"session", "forget"})
        if len(fields) != 1:
            raise self.fail(node, "a step is one of session, consolidate or forget.")
        if "session" in fields:
            return Step("session", tuple(self.say(item) for item in self.items(fields["session"])))
        target = self.fields(fields["forget"], {"all"}, required={"all"})
        if self.scalar(target["all"]) != "true":
            raise self.fail(target["all"], "forget takes {all: true}.")
        return Step("forget")

    def say(self, node: yaml.Node) -> Say:
        if isinstance(node, yaml.ScalarNode):
            return Say(node.value)
        fields = self.fields(node, SAY_KEYS, required={"say"})
        memory = self.scalar(fields["memory"]) if "memory" in fields else "on"
        if memory not in MEMORY_MODES:
            raise self.fail(
                fields["memory"],
                f"memory is {memory!r}; it must be one of {', '.join(MEMORY_MODES)}.",
            )
        abstain = self.scalar(fields["abstain"]) if "abstain" in fields else "false"
        if abstain not in {"true", "false"}:
            raise self.fail(fields["abstain"], f"abstain is {abstain!r}; it must be true or false.")
        if abstain == "true" and "expect" in fields:
            raise self.fail(fields["expect"], "a reply cannot abstain and hold what is expected.")
        return Say(
            self.scalar(fields["say"]), self.texts(fields.get("expect")), self.texts(fields.get("reject")),
            abstain == "true", memory,
        )  # fmt: skip

    # -- nodes -----------------------------------------------------------------------

    def fields(
        self, node: yaml.Node, known: set[str], *, required: set[str] = frozenset()
    ) -> dict[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            raise self.fail(node, f"expected {', '.join(sorted(known))}.")
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = self.scalar(key)
            if name not in known:
                raise self.fail(key, f"unknown key {name!r}; known are {', '.join(sorted(known))}.")
            if name in found:
                raise self.fail(key, f"{name!r} stands here twice.")
            found[name] = value
        if missing := required - found.keys():
            raise self.fail(node, f"{sorted(missing)[0]!r} is missing.")
        return found

    def items(self, node: yaml.Node) -> list[yaml.Node]:
        if not isinstance(node, yaml.SequenceNode):
            raise self.fail(node, "expected a list.")
        return node.value

    def scalar(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise self.fail(node, "expected one value.")
        return node.value

    def texts(self, node: yaml.Node | None) -> tuple[str, ...]:
        return tuple(self.scalar(item) for item in self.items(node)) if node is not None else ()


def read_script(path: Path) -> list[ScriptedUser]:
    """Return the users of a script file.

    Raises:
        ConfigError: If the file is missing or wrong; the message has file, line and reason.
    """
    return _Reader(path).read()


def run_script(
    agent: MovieAgent,
    users: list[ScriptedUser],
    *,
    show: Callable[[str], None] = lambda line: None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> dict:
    """Run users one after the other; return {"asked", "passed", "steps"}."""
    rows: list[dict] = []
    for user in users:
        for number, step in enumerate(user.steps):
            if step.kind == "consolidate":
                reports = agent.consolidate(user.user_id, on_progress=on_progress)
                rows += [consolidation_row(report) for report in reports]
                reason = reports[-1].reason if reports else "nothing waits"
                show(f"-- {user.user_id}: consolidate: {reason}")
            elif step.kind == "forget":
                num_turns, num_generations = agent.forget(user.user_id)
                rows.append(
                    {
                        "kind": "forget",
                        "user": user.user_id,
                        "num_turns": num_turns,
                        "num_generations": num_generations,
                    }
                )
                show(f"-- {user.user_id}: forgot {num_turns} turns, {num_generations} generations")
            else:
                # A time in the id keeps a second run on the same data apart from the first.
                session_id = f"script-{time.time_ns()}-{number}"
                rows += [say_row(agent, user.user_id, session_id, say, show) for say in step.says]
    checked = [row["passed"] for row in rows if row["kind"] == "say" and row["passed"] is not None]
    return {"asked": len(checked), "passed": sum(checked), "steps": rows}


def say_row(
    agent: MovieAgent, user_id: str, session_id: str, say: Say, show: Callable[[str], None]
) -> dict:
    reply = agent.reply(user_id, session_id, say.text, memory=say.memory)
    text = "".join(reply)
    passed = say.passes(text)
    mark = {None: " ", True: "+", False: "-"}[passed]
    show(f"{mark} {user_id} [{say.memory}]: {say.text}\n      {text}")
    return {
        "kind": "say", "user": user_id, "session": session_id, "say": say.text, "reply": text, "passed": passed,
        "memory": say.memory, "generation": reply.generation, "prompt_tokens": reply.prompt_tokens,
        "memory_tokens": reply.memory_tokens, "seconds": round(reply.seconds, 3),
    }  # fmt: skip


def consolidation_row(report: Report) -> dict:
    flat = report.as_dict()
    names = (
        "seconds", "num_facts", "num_pairs", "num_doubtful", "num_steps", "trained_tokens", "published", "floor", "teacher_agreement",
        "recall", "recall_earlier", "abstention", "damage_nats", "adapter_bytes", "generation", "stage_seconds", "reason",
    )  # fmt: skip
    return {"kind": "consolidate", "user": report.user_id} | {name: flat[name] for name in names}
