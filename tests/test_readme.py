"""The README: short, its links lead somewhere, its table of settings is the program's."""

import re
import sys
from pathlib import Path

from agent.__main__ import main

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_it_is_short():
    assert len(TEXT.splitlines()) <= 150


def test_every_link_and_every_file_of_a_command_is_there():
    links = re.findall(r"\]\((?!http)([^)#]+)\)", TEXT)
    files = re.findall(r"(?<![\w/])(?:tests|docs|agent)/[\w/]+\.(?:yaml|md|py)", TEXT)
    assert len(links) >= 6
    assert [name for name in (*links, *files) if not (ROOT / name).exists()] == []


def test_the_table_of_settings_is_what_the_program_prints(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["agent", "settings"])
    assert main() == 0
    held = re.search(r"<!-- settings -->\n(.*)<!-- /settings -->", TEXT, re.DOTALL)[1]
    assert held == capsys.readouterr().out
