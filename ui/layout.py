"""Places the components and connects them to the handlers; the only file that knows Gradio."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import gradio as gr

from agent.errors import AgentError
from ui import handlers, panels
from ui.desk import Desk
from ui.handlers import History, Page

STYLE = (Path(__file__).parent / "style.css").read_text()

QUIET = {"show_progress": "hidden", "api_visibility": "private"}

GREETING = (
    "### Talk about films, and about yourself\n"
    "What you tell me is learned into a small set of weights of your own when you go quiet. "
    "Next time I know it, with nothing of this chat in front of me."
)


@dataclass
class Parts:
    """The components of the page that something happens to."""

    page: gr.State
    name: gr.Textbox
    chat: gr.Chatbot
    cost: gr.Markdown
    message: gr.Textbox
    send: gr.Button
    stop: gr.Button
    fresh: gr.Button
    state: gr.Markdown
    progress: gr.Markdown
    learn: gr.Button
    cancel: gr.Button
    memory: gr.Checkbox
    forget: gr.Button


def build(desk: Desk) -> gr.Blocks:
    """Return the page."""
    with gr.Blocks(title="Imprint") as demo:
        page = gr.State(Page())
        with gr.Row(elem_id="top"):
            gr.Markdown("# Imprint\nA film companion that remembers you in its weights")
            with gr.Column(scale=0, min_width=320):
                name = gr.Textbox(
                    label="Who are you?", value="guest", max_length=60, elem_id="name", submit_btn="This is me",
                    info="Anyone at this computer can pick this name.",
                )  # fmt: skip
        with gr.Row():
            with gr.Column(scale=3):
                talk = _place_chat()
            with gr.Column(scale=1, min_width=280, elem_id="panel"):
                memory = _place_memory()
        parts = Parts(page, name, *talk, *memory)
        _connect_chat(desk, parts)
        _connect_memory(desk, parts)
        demo.load(handlers.open_page, None, page, **QUIET)
    return demo


def _place_chat() -> tuple:
    chat = gr.Chatbot(
        elem_id="chat", height="62vh", placeholder=GREETING, buttons=["copy"], feedback_options=None,
        allow_tags=False, show_label=False, render_markdown=False,
    )  # fmt: skip
    cost = gr.Markdown("", elem_id="cost")
    with gr.Row():
        message = gr.Textbox(
            placeholder="Say something…", show_label=False, elem_id="message", scale=6, autofocus=True,
            max_length=100_000, lines=1, max_lines=6, label="Message",
        )  # fmt: skip
        send = gr.Button("Send", variant="primary", elem_id="send", min_width=80)
        stop = gr.Button("Stop", elem_id="stop", min_width=80)
        fresh = gr.Button("New chat", elem_id="new-chat", min_width=100)
    return chat, cost, message, send, stop, fresh


def _place_memory() -> tuple:
    gr.Markdown("## Memory")
    state = gr.Markdown("**The model is being loaded…**", elem_id="state")
    progress = gr.Markdown("", elem_id="progress")
    with gr.Row():
        learn = gr.Button("Consolidate now", elem_id="consolidate", min_width=150)
        cancel = gr.Button("Cancel", elem_id="cancel", min_width=80, interactive=False)
    memory = gr.Checkbox(
        True,
        label="Use memory",
        elem_id="memory",
        info="Off: answers know nothing of you, and are not kept.",
    )
    with gr.Accordion("Forget me", open=False, elem_id="forget-box"):
        gr.Markdown(
            "Erases every turn, question and generation of this name. This cannot be undone."
        )
        forget = gr.Button("Forget everything", variant="stop", elem_id="forget")
    return state, progress, learn, cancel, memory, forget


def _connect_chat(desk: Desk, parts: Parts) -> None:
    def say(page: Page, text: str, history: History, memory: bool) -> Iterator[tuple]:
        if not text.strip():
            gr.Warning("The message is empty. Type something to talk about.")
            yield page, history, gr.skip(), text
            return
        for new_page, shown, line in handlers.reply(desk, page, text, history, memory=memory):
            yield new_page, shown, line, ""

    def again(page: Page, history: History, memory: bool, data: gr.RetryData) -> Iterator[tuple]:
        page, history, text = handlers.take_back(desk, page, history, data.index)
        yield from say(page, text, history, memory)

    def undo(page: Page, history: History, data: gr.UndoData) -> tuple:
        return handlers.take_back(desk, page, history, data.index)

    def stopped(page: Page, history: History) -> tuple:
        return *handlers.after_stop(desk, page, history), "Stopped. What was said so far is kept."

    def empty(page: Page) -> tuple:
        return handlers.new_chat(page), [], ""

    page, chat, cost = parts.page, parts.chat, parts.cost
    talk = {"concurrency_limit": 4, "concurrency_id": "talk", "api_visibility": "private"}
    inputs, outputs = [page, parts.message, chat, parts.memory], [page, chat, cost, parts.message]
    running = [
        parts.send.click(say, inputs, outputs, **talk),
        parts.message.submit(say, inputs, outputs, **talk),
        chat.retry(again, [page, chat, parts.memory], outputs, **talk),
    ]
    parts.stop.click(None, None, None, cancels=running, **QUIET).then(
        stopped, [page, chat], [page, chat, cost], **QUIET
    )
    chat.undo(undo, [page, chat], [page, chat, parts.message], **QUIET)
    parts.fresh.click(empty, page, [page, chat, cost], **QUIET)
    chat.clear(empty, page, [page, chat, cost], **QUIET)


def _connect_memory(desk: Desk, parts: Parts) -> None:
    def rename(page: Page, name: str) -> tuple:
        try:
            page = handlers.choose_name(desk, name)
        except AgentError as error:
            gr.Warning(str(error))
            return page, gr.skip(), gr.skip(), page.display_name
        return page, [], f"Hello {page.display_name}. This is a new chat.", page.display_name

    def poll(page: Page) -> tuple:
        try:
            running = (
                panels.progress_line(desk.agent.consolidator.progress, page.user_id)
                if desk.is_ready
                else ""
            )
            return panels.panel(desk, page), running, gr.update(interactive=bool(running))
        except AgentError as error:
            return f"**{error}**", "", gr.update(interactive=False)

    page = parts.page
    parts.name.submit(
        rename, [page, parts.name], [page, parts.chat, parts.cost, parts.name], **QUIET
    )
    parts.learn.click(partial(handlers.consolidate, desk), page, None, **QUIET)
    parts.cancel.click(partial(handlers.cancel, desk), page, None, **QUIET)
    parts.forget.click(
        partial(handlers.forget, desk), page, [page, parts.chat, parts.cost], **QUIET
    )
    gr.Timer(1.0).tick(
        poll, page, [parts.state, parts.progress, parts.cancel], concurrency_limit=None, **QUIET
    )


def serve(desk: Desk, *, host: str, port: int, is_blocking: bool = True) -> gr.Blocks:
    """Open the page; returns when it is closed, or at once if not `is_blocking`."""
    demo = build(desk).queue(default_concurrency_limit=8, max_size=64)
    demo.launch(
        server_name=host, server_port=port or None, theme=gr.themes.Soft(), css=STYLE, run_history=False,
        prevent_thread_lock=not is_blocking, quiet=True, footer_links=[], show_error=False,
        enable_monitoring=False, blocked_paths=[str(desk.settings.data_dir.absolute())],
    )  # fmt: skip
    return demo
