"""Run the movie agent: `python app.py`, then open http://127.0.0.1:7860."""

import logging
import os
import sys
from pathlib import Path
from typing import Annotated

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import typer

from agent.errors import AgentError
from agent.memory.folder import check_host, lock_folder
from agent.settings import Settings, model_folder
from ui.desk import Desk

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def run(
    model: Annotated[str | None, typer.Option(help="house, a folder, or a hub id [house]")] = None,
    quantize: Annotated[str | None, typer.Option(help="nf4 or none [nf4]")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="turns and adapters [memory_logs]")] = None,
    host: Annotated[str | None, typer.Option(help="only 127.0.0.1: there are no accounts")] = None,
    port: Annotated[int | None, typer.Option(help="TCP port, 0 takes a free one [7860]")] = None,
    idle_seconds: Annotated[float | None, typer.Option(help="quiet time, then learn [60]")] = None,
) -> None:
    """Talk to Imprint in a browser; stop with Ctrl-C."""
    settings = Settings.read(
        model=model, quantize=quantize, data_dir=data_dir,
        host=host, port=port, idle_seconds=idle_seconds,
    )  # fmt: skip
    check_host(settings.host)
    model_folder(settings.model)
    lock = lock_folder(settings.data_dir)
    with Desk(settings, lock) as desk:  # loads the model in the background
        from ui.layout import serve

        serve(desk, host=settings.host, port=settings.port)


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    for name in ("httpx", "alembic", "bitsandbytes"):  # the last warns of kernels nobody needs
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        return app(standalone_mode=False) or 0
    except AgentError as error:
        reason = str(error)
    except typer.TyperException as error:  # a wrong flag
        reason = f"{error.format_message().rstrip('.')}. See python app.py --help."
    print(f"error: {reason}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
