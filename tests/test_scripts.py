"""Script files: read as written, and each fault named with file and line."""

import pytest

from agent.errors import ConfigError
from agent.scripts import Say, read_script


def written(tmp_path, text: str):
    path = tmp_path / "talk.yaml"
    path.write_text(text)
    return path


def test_scalars_are_read_as_they_stand(tmp_path):
    (user,) = read_script(
        written(
            tmp_path,
            "- user: 007\n  steps:\n    - session:\n        - 42\n        - {say: on, expect: [no], memory: off}\n    - consolidate\n    - forget: {all: true}\n",
        )
    )
    assert user.user_id == "007"
    assert [step.kind for step in user.steps] == ["session", "consolidate", "forget"]
    assert user.steps[0].says == (Say("42"), Say("on", expect=("no",), memory="off"))


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("", 1, "a script is a list of users"),
        ("user: ada\n", 1, "a script is a list of users"),
        ("- user: ada\n", 1, "'steps' is missing"),
        ("- user: ../x\n  steps: []\n", 1, "no user id"),
        ("- user: ada\n  steps:\n    - session:\n        - {say: hi, expects: [x]}\n", 4, "unknown key 'expects'"),
        ("- user: ada\n  steps:\n    - sleep\n", 3, "unknown step 'sleep'"),
        ("- user: ada\n  steps:\n    - session:\n        - {say: hi, memory: maybe}\n", 4, "memory is 'maybe'"),
        ("- user: ada\n  steps:\n    - session:\n        - {expect: [x]}\n", 4, "'say' is missing"),
        ("- user: ada\n  steps:\n    - session: hi\n", 3, "expected a list"),
        ("- user: ada\n  steps:\n    - forget: {all: false}\n", 3, "forget takes"),
        ("- user: ada\n  steps: [\n", 3, "no YAML"),
        ("- user: ada\n  steps: []\n- user: ada\n  steps: []\n", 3, "is in this file already"),
        ("- user: ada\n  steps: []\n  user: bob\n", 3, "'user' stands here twice"),
        ("- user: ada\n  steps:\n    - session:\n        - {say: hi, expect: [x], abstain: true}\n", 4, "cannot abstain and"),
    ],
)  # fmt: skip
def test_a_fault_is_named_with_file_and_line(tmp_path, text, line, reason):
    with pytest.raises(ConfigError) as caught:
        read_script(written(tmp_path, text))
    assert f"talk.yaml, line {line}:" in str(caught.value)
    assert reason in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_script(tmp_path / "nothing.yaml")


@pytest.mark.parametrize(
    ("say", "reply", "passed"),
    [
        (Say("?"), "anything", None),
        (Say("?", expect=("Ada",)), "Your name is Ada.", True),
        (Say("?", expect=("Ada",)), "You live in Canada.", False),
        (Say("?", expect=("Ada",), reject=("Bob",)), "Ada, or is it? Your name is Bob.", False),
        (Say("?", abstain=True), "You haven't told me that yet.", True),
        (Say("?", abstain=True), "You live in Turin.", False),
        (Say("?", reject=("Bob",)), "You haven't told me.", True),
    ],
)
def test_a_line_passes_as_the_format_says(say, reply, passed):
    assert say.passes(reply) is passed
