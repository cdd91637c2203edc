"""Files with one JSON object a line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from agent.errors import ConfigError

T = TypeVar("T")


def read_lines(path: Path, parse: Callable[[dict], T], *, what: str) -> list[T]:
    """Return what `parse` makes of each line; empty lines are skipped.

    Raises:
        ConfigError: If there is no such file, or a line is no `what`; it gives the line and the reason.
    """
    if not path.is_file():
        raise ConfigError(f"There is no {path}. It must have one JSON object a line, each {what}.")
    found = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8"))
            if not isinstance(row, dict):
                raise TypeError(f"it is a {type(row).__name__}")
            found.append(parse(row))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reason = f"{error.args[0]} is missing" if isinstance(error, KeyError) else error
            raise ConfigError(f"{path}, line {number}: {reason}. Each line is {what}.") from error
    return found
