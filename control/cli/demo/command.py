"""`milliroute demo`: flags and signals, and the loop that holds the parts together.

Exit codes: 0 after Ctrl-C, SIGTERM or --seconds; 1 when the demo could not start (one message says why); 2 for usage.
"""

import asyncio
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from milliroute.control.cli.bookinfo.client import Unreachable, Upstream
from milliroute.control.cli.demo import gauge, panel, plan, working_copy
from milliroute.control.cli.demo.processes import Processes
from milliroute.control.cli.demo.screen import Screen
from milliroute.control.cli.demo.sockets import PortTaken, settle
from milliroute.control.cli.demo.visitors import Visitors, view

# A dozen Python processes on a slow machine; after a failed start the message must still come soon.
START_LIMIT_S = 40.0
# How long a page that answers 200 without one of its parts may take to become whole before the demo goes on with it:
# an edited split.yaml of an earlier run may well have broken `reviews` on purpose.
WHOLE_LIMIT_S = 5.0
POLL_S = 0.1
TICK_S = 1.0
EXAMPLE = "reviews reviews-v2=500m reviews-v3=500m"


@dataclass(frozen=True, slots=True)
class Options:
    """The flags."""

    folder: Path
    page_port: int | None
    port_base: int | None
    is_fresh: bool
    seconds: float | None
    is_plain: bool


class StartFailed(Exception):
    """The demo does not run; the text is the whole message."""


def main(args: Sequence[str]) -> int:
    """Run the demo; returns the exit code."""
    try:
        code = _command.main(args=list(args), prog_name="milliroute demo", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    return code if isinstance(code, int) else 0


@click.command(context_settings={"auto_envvar_prefix": "MILLIROUTE", "help_option_names": ["-h", "--help"]})
@click.option(
    "--dir",
    "folder",
    default="milliroute-demo",
    envvar="MILLIROUTE_DIR",
    show_default=True,
    help="Working folder: YAML and logs.",
)
@click.option(
    "--page-port", type=click.IntRange(0, 65535), help="Port of the page [default: 9080]; 0 takes a free one."
)
@click.option("--port-base", type=click.IntRange(0, 65000), help="First of all other ports; 0 takes free ones.")
@click.option("--fresh", is_flag=True, help="Replace an edited split.yaml of an earlier run by the shipped one.")
@click.option("--seconds", type=click.FloatRange(min=0), help="Stop after so many seconds.")
@click.option("--no-color", is_flag=True, help="No colours; NO_COLOR in the environment does the same.")
def _command(
    folder: str, page_port: int | None, port_base: int | None, fresh: bool, seconds: float | None, no_color: bool
) -> int:
    """Run a small bookshop behind sidecar proxies and watch its traffic being split."""
    is_plain = no_color or bool(os.environ.get("NO_COLOR")) or not sys.stdout.isatty()
    options = Options(Path(folder), page_port, port_base, fresh, seconds, is_plain)
    try:
        return asyncio.run(_demo(options))
    except (PortTaken, StartFailed, OSError) as error:
        say(str(error))
        return 1


@dataclass(frozen=True, slots=True)
class _Stage:
    """A demo that is running."""

    options: Options
    ports: plan.Ports
    processes: Processes
    page: Upstream
    stop: asyncio.Event


async def _demo(options: Options) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    ports = settle(plan.ports(options.page_port, options.port_base))
    is_kept = working_copy.prepare(options.folder, ports, is_fresh=options.is_fresh)
    programs, logs = plan.programs(ports, options.folder), options.folder / "logs"
    say(f"starting {len(programs)} processes, logs in {logs}")
    if is_kept:
        say(f"{options.folder / working_copy.SPLIT} is kept from an earlier run (--fresh replaces it)")
    stage = _Stage(options, ports, Processes(logs), Upstream(f"{plan.HOST}:{ports['page']}"), stop)
    try:
        stage.processes.start(programs)
        await _until_whole(stage)
        if not stop.is_set():
            await _show(stage)
    finally:
        stage.page.close()
        say("stopping")
        stage.processes.stop()
    return 0


async def _until_whole(stage: _Stage) -> None:
    """Wait until the page is whole, or at least answers for a while. Raises StartFailed."""
    started = time.monotonic()
    answers_since: float | None = None
    while not stage.stop.is_set():
        if dead := stage.processes.dead():
            raise StartFailed(dead)
        try:
            problem = await view(stage.page)
            answers_since = answers_since or time.monotonic()
        except Unreachable as error:
            problem, answers_since = str(error), None
        now = time.monotonic()
        if not problem or (answers_since and now - answers_since > WHOLE_LIMIT_S):
            return
        if now - started > START_LIMIT_S:
            logs = stage.processes.last_words()
            raise StartFailed(f"the page does not answer after {START_LIMIT_S:g} s: {problem}\n{logs}")
        await _pause(stage.stop, POLL_S)


async def _show(stage: _Stage) -> None:
    admin = Upstream(f"{plan.HOST}:{stage.ports['productpage admin']}")
    visitors = Visitors(stage.page)
    stream = asyncio.create_task(visitors.run())
    try:
        await _redraw(stage, visitors, admin)
    finally:
        stream.cancel()
        await asyncio.gather(stream, return_exceptions=True)
        admin.close()


async def _redraw(stage: _Stage, visitors: Visitors, admin: Upstream) -> None:
    screen, paint = Screen(sys.stdout), panel.Paint(is_on=not stage.options.is_plain)
    screen.add(panel.guide(hints(stage.options, stage.ports), paint))
    started = shown = time.monotonic()
    end = started + (float("inf") if stage.options.seconds is None else stage.options.seconds)
    while (now := time.monotonic()) < end and not stage.stop.is_set():
        await _pause(stage.stop, min(TICK_S, end - now))
        news, now = stage.processes.revive(), time.monotonic()
        # Half a tick early rather than half a tick late; a piece of news is shown at once.
        if news or now >= end or now - shown > screen.period_s - TICK_S / 2:
            shown = now
            screen.show(panel.render(panel.State(await _reading(admin), visitors.views, news), paint))


async def _reading(admin: Upstream) -> gauge.Reading | None:
    try:
        return await gauge.read(admin)
    except Unreachable:
        return None


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    """Wait, but not beyond the signal to stop."""
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return


def say(text: str) -> None:
    """Tell how it goes, on stderr."""
    print(f"milliroute demo: {text}", file=sys.stderr, flush=True)


def hints(options: Options, ports: plan.Ports) -> panel.Hints:
    """What the user can type next, for these ports."""
    milliroute, split = program_name(), options.folder / working_copy.SPLIT
    show_flags = set_flags = ""
    if options.port_base is not None:
        show_flags = f" --admin {plan.HOST}:{ports['productpage admin']}"
        set_flags = f" -f {split}"
    return panel.Hints(
        page_url=f"http://{plan.HOST}:{ports['page']}/productpage",
        set_command=f"{milliroute} split set {EXAMPLE}{set_flags}",
        show_command=f"{milliroute} split show reviews{show_flags}",
        split_path=str(split),
    )


def program_name() -> str:
    """How a user in this folder can call milliroute: by name where PATH has it, else by the path of the script."""
    script = Path(sys.argv[0])
    if script.name != "milliroute":
        script = Path(sys.executable).with_name("milliroute")
    found = shutil.which("milliroute")
    if not script.exists() or (found and Path(found).resolve() == script.resolve()):
        return "milliroute"
    here, path = Path.cwd(), Path(os.path.abspath(script))
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
