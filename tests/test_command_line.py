"""The command line: one line for each fault, and an exit code that can be relied on."""

import io
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import typer

from agent.__main__ import app as agent_app
from agent.__main__ import describe, main
from agent.memory.adapters import AdapterStore
from agent.memory.buffer import ExperienceBuffer
from agent.memory.folder import lock_folder
from agent.memory.job import Report
from agent.settings import Settings, model_folder
from app import app as page_app

ROOT = Path(__file__).parent.parent

TALK = """\
- user: ada
  steps:
    - session:
        - I live in Turin.
        - {say: "Where do I live?", reject: [Zanzibar]}
    - consolidate
    - session:
        - {say: "Where do I live?", memory: prompt}
    - forget: {all: true}
    - consolidate
"""
"""The model of these tests has learned nothing: it never says Zanzibar, and learns nothing."""


SAY_KEYS = {
    "kind", "user", "session", "say", "reply", "passed", "memory", "generation", "prompt_tokens",
    "memory_tokens", "seconds",
}  # fmt: skip

CONSOLIDATE_KEYS = {
    "kind", "user", "seconds", "num_pairs", "num_doubtful", "num_steps", "trained_tokens",
    "published", "floor", "teacher_agreement", "recall", "abstention", "damage_nats",
    "adapter_bytes", "reason",
}  # fmt: skip
"""What a script prints."""


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Return a function that runs a command line in this process: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("IMPRINT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("IMPRINT_MAX_REPLY_TOKENS", "8")
    monkeypatch.setenv("IMPRINT_QUESTION_ROUNDS", "1")

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["agent", *map(str, arguments)])
        code = main()
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def in_its_own_process(*arguments: object, cwd: Path) -> subprocess.CompletedProcess:
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def only_error(stderr: str) -> str:
    (line,) = stderr.splitlines()
    assert line.startswith("error: ")
    return line


# -- faults -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["probe", "--user", "ada", "Hi", "--data-dir", "d", "--model", "./nowhere"], "No model in nowhere: config.json is missing"),
        (["probe", "--user", "ada", "Hi", "--data-dir", "d", "--model", "~no-such-user/x"], "No model in ~no-such-user/x: config.json is missing"),
        (["probe", "--user", "ada", "Hi", "--data-dir", "d", "--model", "nowhere/at-all"], "The model 'nowhere/at-all' cannot be loaded"),
        (["probe", "--user", "ada", "Hi", "--data-dir", "d", "--model", "no id/"], "The model 'no id/' cannot be loaded (Repo id"),
        (["probe", "--user", "ada", "Hi", "--data-dir", "a_file"], "The data folder a_file cannot be written (File exists)"),
        (["chat", "--user", "ada", "--data-dir", "a_file/d"], "The data folder a_file/d cannot be written (Not a directory)"),
        (["consolidate", "--user", "ada", "--data-dir", "d", "--quantize", "int3"], "quantize is 'int3'"),
        (["status", "--data-dir", "d"], "nothing was ever said here"),
        (["status", "--data-dir", "a_file"], "nothing was ever said here"),
        (["status", "--data-dir", "full", "--user", "eve"], "There is no user 'eve' in full"),
        (["forget", "--user", "ada", "--data-dir", "full"], "forget needs --all"),
        (["forget", "--user", "Ada", "--data-dir", "full", "--all"], "'Ada' is no user id"),
        (["chat", "--user", "../x", "--data-dir", "d"], "'../x' is no user id"),
        (["consolidate", "--user", "x" * 300, "--data-dir", "d"], "(300 characters)' is no user id"),
        (["script", "nothing.yaml"], "The script nothing.yaml cannot be read (No such file or directory)"),
        (["script", "full"], "The script full cannot be read (Is a directory)"),
        (["script", "broken.yaml"], "broken.yaml, line 2: no YAML ("),
        (["script", "nul.yaml"], "nul.yaml, line 1: no YAML (special characters are not allowed)"),
        (["script", "unknown.yaml"], "unknown.yaml, line 4: unknown key 'expects'"),
        (["script", "odd_key.yaml"], "odd_key.yaml, line 1: expected one value"),
        (["script", "good.yaml", "--json", "no/folder/out.json"], "no/folder/out.json cannot be written (No such file or directory)"),
        (["status", "--folder", "d"], "No such option: --folder"),
        (["consolidate"], "Missing option '--user'"),
        (["remember"], "No such command 'remember'"),
        (["status", "--data-dir", "x" * 300], "No experience buffer"),
        ([], "Missing command"),
    ],
)  # fmt: skip
def test_a_fault_is_one_line_and_exit_code_2(command, tmp_path, arguments, reason):
    (tmp_path / "a_file").write_text("")
    (tmp_path / "full").mkdir()
    with ExperienceBuffer(tmp_path / "full" / "experience.db") as buffer:
        buffer.append("ada", "s1", message="I live in Turin.", reply="Noted!")
    (tmp_path / "good.yaml").write_text("- user: ada\n  steps: []\n")
    (tmp_path / "broken.yaml").write_text("- user: ada\n  steps: ]\n")
    (tmp_path / "nul.yaml").write_bytes(b"- user: \x00\n")
    (tmp_path / "odd_key.yaml").write_text("- {[user]: ada}\n")
    (tmp_path / "unknown.yaml").write_text(
        "- user: ada\n  steps:\n    - session:\n        - {say: hi, expects: [x]}\n"
    )
    code, out, err = command(*arguments)
    assert code == 2
    assert reason in only_error(err)
    assert out == ""


def test_an_env_file_that_is_no_text_is_named(command, tmp_path):
    (tmp_path / ".env").write_bytes(b"IMPRINT_SEED=\xff")
    code, _, err = command("status")
    assert code == 2
    assert ".env" in only_error(err)


def test_a_second_process_on_the_folder_names_the_first(tmp_path):
    lock = lock_folder(tmp_path / "data")
    done = in_its_own_process(
        "-m", "agent", "consolidate", "--user", "ada", "--data-dir", tmp_path / "data", cwd=tmp_path
    )
    lock.release()
    assert done.returncode == 2
    assert f"is in use by process {os.getpid()}," in only_error(done.stderr)
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("flag", "value", "reason"),
    [
        ("--host", "0.0.0.0", "--host is '0.0.0.0', but the page works only on 127.0.0.1"),
        ("--host", "localhost", "--host is 'localhost', but"),
        ("--model", "./nowhere", "No model in nowhere: config.json is missing"),
        ("--quantize", "int3", "quantize is 'int3'"),
        ("--port", "x", "Invalid value for '--port': Input should be a valid integer"),
        ("--nowhere", "d", "No such option: --nowhere. See python app.py --help."),
    ],
)
def test_a_fault_of_the_app_is_one_line_before_the_page_is_up(tmp_path, flag, value, reason):
    done = in_its_own_process(ROOT / "app.py", flag, value, cwd=tmp_path)
    assert done.returncode == 2
    assert reason in only_error(done.stderr)
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_a_hub_id_and_house_are_no_folders_even_beside_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "house").mkdir()
    assert {model_folder(name) for name in ("house", "nowhere/at-all", "x" * 300)} == {None}


# -- what a command does -------------------------------------------------------------------------


def test_status_shows_everybody_even_beside_a_damaged_adapter(command, tmp_path):
    with ExperienceBuffer(tmp_path / "experience.db") as buffer:
        for user_id in ("ada", "bob"):
            turn = buffer.append(user_id, "s1", message="Hi", reply="Hi")
            fence = buffer.leases.take(user_id, "test", seconds=1)
            buffer.publish(user_id, fence, turn_ids=[turn.id], generation=1, report={})
    code, out, _ = command("status", "--data-dir", str(tmp_path))
    assert code == 0
    assert out.count("is damaged") == 2


def test_status_works_beside_a_running_process(command, tmp_path):
    lock = lock_folder(tmp_path)
    with ExperienceBuffer(tmp_path / "experience.db") as buffer:
        turns = [
            buffer.append("ada", "s1", message=text, reply="Noted!") for text in ("Hi", "Bye", "Hi")
        ]
        buffer.append("bob", "s1", message="Hi", reply="Hello!")
        AdapterStore(tmp_path / "adapters").publish(
            "ada", 1, {}, config={}, card={"base_hash": "f" * 64, "recall": 0.875, "floor": None}
        )
        fence = buffer.leases.take("ada", "test", seconds=60)
        buffer.publish("ada", fence, turn_ids=[turns[0].id], generation=1, report={})
        code, out, err = command("status", "--data-dir", tmp_path)
        only_bob = command("status", "--data-dir", tmp_path, "--user", "bob")
    lock.release()
    assert (code, err) == (0, "")
    adas, bobs = out.splitlines()
    assert adas.startswith("ada: 3 turns, 2 pending · adapter ada@v1 (0.0 MB) · recall 0.88 (")
    assert adas.endswith("(floor –)")
    assert bobs == "bob: 1 turns, 1 pending"
    assert only_bob == (0, f"{bobs}\n", "")


def test_status_shows_a_dash_for_what_a_card_lacks_or_what_the_terminal_has_instead(
    command, monkeypatch, tmp_path
):
    with ExperienceBuffer(tmp_path / "experience.db") as buffer:
        turn = buffer.append("ada", "s1", message="Hi", reply="Noted!")
        fence = buffer.leases.take("ada", "test", seconds=60)
        buffer.publish("ada", fence, turn_ids=[turn.id], generation=1, report={})
    path = tmp_path / "adapters" / "ada" / "v0001" / "card.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"base_hash": "f", "weights_sha256": "f"}')
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding="latin-1"))
    code, _, err = command("status", "--data-dir", tmp_path)
    assert (code, err) == (0, "")
    assert shown.getvalue().endswith(b"adapter ada@v1 (0.0 MB) \xb7 recall ? (floor ?)\n")


@pytest.mark.parametrize(("expectation", "code"), [("expect", 1), ("reject", 0)])
def test_a_script_fails_if_an_expectation_does(command, tmp_path, tiny_folder, expectation, code):
    path = tmp_path / "talk.yaml"
    path.write_text(
        f"- user: ada\n  steps:\n    - session:\n        - Hi\n        - {{say: Hi, {expectation}: [Zanzibar]}}\n"
    )
    found, out, _ = command("script", path, "--quiet", "--model", tiny_folder)
    assert (found, out) == (code, f"{1 - code} of 1 as expected\n")


def test_a_script_writes_what_happened_and_leaves_nothing_else(
    command, tmp_path, monkeypatch, tiny_folder
):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("IMPRINT_MAX_STEPS", "1")
    (tmp_path / "talk.yaml").write_text(TALK)

    code, out, err = command(
        "script", "talk.yaml", "--json", "out.json", "--no-question-bank", "--model", tiny_folder
    )

    assert code == 0, err
    assert out.splitlines()[-1] == "1 of 1 as expected"
    assert out.count("-- ada: consolidate: ") == 2
    assert "-- ada: consolidate: nothing waits" in out
    result = json.loads((tmp_path / "out.json").read_text())
    assert (result["asked"], result["passed"]) == (1, 1)
    first, checked, consolidated, compared, forgotten = result["steps"]
    says = (first, checked, compared)
    assert [step.keys() for step in says] == [SAY_KEYS] * 3
    assert [step["passed"] for step in says] == [None, True, None]
    assert [step["memory"] for step in says] == ["on", "on", "prompt"]
    assert first["session"] == checked["session"] != compared["session"]
    assert first["memory_tokens"] == checked["memory_tokens"] == 0 < compared["memory_tokens"]
    assert consolidated.keys() >= CONSOLIDATE_KEYS
    assert not consolidated["published"]
    assert f"-- ada: consolidate: {consolidated['reason']}" in out
    assert forgotten == {"kind": "forget", "user": "ada", "num_turns": 2, "num_generations": 0}
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "out.json",
        "talk.yaml",
        "temporary",
    ]


def test_a_chat_in_the_terminal_is_kept_and_can_be_forgotten(
    command, monkeypatch, tiny_folder, tmp_path
):
    place = ("--data-dir", tmp_path / "data", "--model", tiny_folder)
    monkeypatch.setattr(sys, "stdin", io.StringIO("I live in Turin.\nHi\n"))  # ends without a line
    code, out, _ = command("chat", "--user", "ada", *place)
    assert code == 0
    assert out.count("imprint: ") == 2
    assert out.count("(generation 0, 0 memory tokens, ") == 2
    assert command("status", "--data-dir", tmp_path / "data")[1] == "ada: 2 turns, 2 pending\n"
    assert command("forget", "--user", "ada", "--all", "--yes", *place)[:2] == (
        0,
        "Erased 2 turns and 0 generations of ada.\n",
    )
    assert command("status", "--data-dir", tmp_path / "data")[0] == 2


def test_a_chat_goes_on_after_a_refused_message_and_after_bytes_that_are_no_text(
    command, monkeypatch, tiny_folder, tmp_path
):
    typed = io.BytesIO("\u200b\n".encode() + b"I live in Caf\xe9.\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(typed, encoding="utf-8"))
    code, out, _ = command("chat", "--user", "ada", "--data-dir", tmp_path, "--model", tiny_folder)
    assert code == 0
    assert "The message is empty. Type something to talk about.\n" in out
    assert out.count("imprint: ") == 1
    with ExperienceBuffer(tmp_path / "experience.db") as buffer:
        assert [turn.message for turn in buffer.turns("ada")] == ["I live in Caf\ufffd."]


def test_forgetting_asks_and_does_nothing_without_a_yes(command, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    with ExperienceBuffer(tmp_path / "experience.db") as buffer:
        buffer.append("ada", "s1", message="Hi", reply="Hello!")
        code, _, err = command("forget", "--user", "ada", "--all", "--data-dir", tmp_path)
        assert code == 1
        assert err.endswith("Nothing was done.\n")
        assert len(buffer.turns("ada")) == 1


def test_a_figure_that_was_not_measured_is_a_dash(command):
    report = Report("ada", 1, True, "it passed its probe", 1).as_dict() | {
        "recall": 0.9, "floor": 0.0, "abstention": None, "damage_nats": 0.01
    }  # fmt: skip
    assert "Recall 0.90 (floor 0.00), abstention –, damage 0.010 nats" in describe(report)


@pytest.mark.parametrize("app", [page_app, agent_app])
def test_the_defaults_that_a_help_text_names_are_those_of_the_settings(app):
    top = typer.main.get_command(app)
    commands = top.commands.values() if hasattr(top, "commands") else [top]
    named = {
        (option.name, found[1])
        for command in commands
        for option in command.params
        if (found := re.search(r" \[(\w+)\]$", getattr(option, "help", None) or ""))
    }
    assert named
    fields = Settings.model_fields
    assert {(name, float(value) if value.isdigit() else value) for name, value in named} == {
        (name, fields[name].default if isinstance(fields[name].default, int | float) else str(fields[name].default))
        for name, _ in named
    }  # fmt: skip


@pytest.mark.parametrize("is_published", [True, False])
def test_what_was_not_understood_is_said_whether_the_rest_was_learned_or_not(is_published):
    report = Report("ada", 1, is_published, "nothing to learn", 1, num_doubtful=2).as_dict()
    sentence = "Not understood well enough to learn: 2. Say it in other words, if it matters."
    assert describe(report | {"damage_nats": 0.01}).endswith(f". {sentence}")
    assert "understood" not in describe(report | {"damage_nats": 0.01, "num_doubtful": 0})


def test_a_long_consolidation_asks_and_does_nothing_without_a_yes(
    command, monkeypatch, tmp_path, tiny_folder
):
    with ExperienceBuffer(tmp_path / "experience.db") as buffer:
        buffer.append("ada", "s1", message="I live in Turin.", reply="Noted!")
    place = ("--user", "ada", "--data-dir", tmp_path, "--model", tiny_folder)
    monkeypatch.setenv("IMPRINT_ASK_ABOVE_SECONDS", "0.000001")
    monkeypatch.setenv("IMPRINT_MAX_STEPS", "1")
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    code, out, err = command("consolidate", *place)
    assert code == 1
    assert err.endswith("Nothing was done.\n")
    assert "minutes. Go on?" in out
    code, out, _ = command("consolidate", *place, "--yes")
    assert code == 0
    assert out.startswith("ada: ")
