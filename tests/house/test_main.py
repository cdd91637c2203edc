"""The command line of the house model: what is missing is said in a sentence."""

import pytest

from agent.errors import ConfigError
from house.__main__ import app


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["train", "RUN"], r"has no tokenizer.json. `python -m house tokenizer "),
        (["mean", "RUN", "RUN"], r"has no weights/state.json. `python -m house train "),
        (["export", "RUN"], r"has no tokenizer.json"),
        (["encoder", "RUN"], r"has no tokenizer.json"),
    ],
)
def test_a_run_without_what_a_command_needs_is_named(tmp_path, arguments, reason):
    with pytest.raises(ConfigError, match=reason):
        app(
            [argument.replace("RUN", str(tmp_path)) for argument in arguments],
            standalone_mode=False,
        )
