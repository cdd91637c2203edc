"""Who may import whom, checked on the source, and the check on planted code."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

OWNERS = {
    "gradio": {"ui/layout.py"},
    "sqlalchemy": {
        "agent/memory/buffer.py",
        "agent/memory/database.py",
        "agent/memory/tables.py",
    },
    "alembic": {"agent/memory/database.py"},
    "peft": {"agent/slots.py"},
    "bitsandbytes": {"agent/checkpoint.py"},
    "transformers": {"agent/checkpoint.py", "agent/model.py"},
    "sentence_transformers": {"agent/memory/encoder.py"},
    "torch": {
        "agent/checkpoint.py", "agent/halves.py", "agent/model.py", "agent/packing.py", "agent/slots.py", "agent/recommend.py", "agent/memory/distillation.py",
        "agent/memory/adapters.py", "agent/memory/consolidation.py", "agent/memory/learning.py",
    },
}  # fmt: skip
"""Risky module → the files of agent/, ui/ and app.py that may import it."""

LAYERS = ["agent/errors.py", "agent/prompts.py", "agent/settings.py", "agent/catalogue.py", "agent/slots.py", "agent/halves.py", "agent/packing.py",
          "agent/checkpoint.py", "agent/model.py",
          "agent/memory", "agent/recommend.py", "agent/movie_agent.py", "agent/scripts.py", "ui", "app.py", "agent/__main__.py"]  # fmt: skip
"""Lowest first; a file imports from lower layers and its own."""


def imported(source: str) -> set[str]:
    """Return the full names of all modules a source imports, wherever the import stands."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def layer_of(path: str) -> int | None:
    found = [i for i, layer in enumerate(LAYERS) if path == layer or path.startswith(f"{layer}/")]
    return found[0] if found else None


def faults_of(path: str, source: str) -> list[str]:
    names = imported(source)
    faults = [
        f"{path} imports {module}"
        for module, owners in OWNERS.items()
        if path not in owners
        and any(name == module or name.startswith(f"{module}.") for name in names)
    ]
    for name in names:
        if name.split(".")[0] in {"house", "evals"}:
            faults.append(f"{path} imports {name}: agent and ui never do")
        target = name.replace(".", "/")
        height = next(
            (h for h in (layer_of(f"{target}.py"), layer_of(target)) if h is not None), None
        )
        if height is not None and layer_of(path) is not None and height > layer_of(path):
            faults.append(f"{path} imports {name}, which is above it")
    return faults


def sources() -> list[str]:
    files = [*(ROOT / "agent").rglob("*.py"), *(ROOT / "ui").rglob("*.py"), *ROOT.glob("app.py")]
    return sorted(str(path.relative_to(ROOT)) for path in files if "migrations" not in path.parts)


@pytest.mark.parametrize("path", sources())
def test_imports_go_down_only_and_each_risky_module_has_its_owner(path):
    assert faults_of(path, (ROOT / path).read_text()) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("agent/recommend.py", "import peft"),
        ("agent/recommend.py", "def f():\n    from peft.tuners import lora"),
        ("agent/memory/probe.py", "from agent import movie_agent"),
        ("agent/memory/probe.py", "import agent.movie_agent"),
        ("agent/catalogue.py", "from house import values"),
        ("ui/panels.py", "import gradio as gr"),
    ],
)
def test_the_check_sees_a_planted_violation(path, source):
    assert faults_of(path, source) != []


def test_importing_starts_nothing(tmp_path):
    """No thread, no folder, no network at import: modules load with HOME unwritable and sockets shut."""
    modules = [
        path.removesuffix(".py").replace("/", ".")
        for path in sources()
        if not path.endswith(("__init__.py", "__main__.py"))
    ]
    code = (
        "import socket, threading, importlib\n"
        "socket.socket.connect = lambda *a: (_ for _ in ()).throw(OSError('no network at import'))\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "ours = [t.name for t in threading.enumerate() if t.name in ('consolidator', 'reply')]\n"
        "assert ours == [], ours\n"
    )
    environment = {
        "HOME": "/nonexistent",
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert list(tmp_path.iterdir()) == []
