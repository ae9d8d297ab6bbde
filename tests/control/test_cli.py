"""The console script: exit codes, one line on stderr, environment names, and `run` with a fake proxy."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from milliroute.control.cli.run import RunConfig, run

MAIN = [sys.executable, "-c", "from milliroute.control.cli import main; main()"]
SPLIT = """\
apiVersion: split.smi-specs.io/v1alpha2
kind: TrafficSplit
metadata: {name: reviews}
spec:
  service: reviews
  backends:
  - {service: reviews-v1, weight: 900m}
  - {service: reviews-v2, weight: 100m}
"""
# Seconds until a process that does not end fails its test; nothing is measured against it.
PATIENCE_S = 60.0
# Nothing listens on the discard port of a loopback address of our own.
NOBODY = "127.0.0.9:9"


def milliroute(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*MAIN, *args], capture_output=True, text=True, timeout=PATIENCE_S, check=False, env={**os.environ, **env}
    )


def test_version_is_one_line() -> None:
    assert milliroute("version").stdout == "milliroute 0.1.0\n"


def test_version_loads_nothing_heavy() -> None:
    code = "import sys; sys.argv = ['milliroute', 'version']; from milliroute.control.cli import main; main();"
    code += "print(sorted({'click', 'grpc', 'yaml', 'asyncio', 'logging', 'msgspec'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    assert done.stdout.splitlines()[1] == "[]"


@pytest.mark.parametrize(
    "args",
    [
        ["nonsense"],
        ["version", "--nonsense"],
        ["control"],
        ["run", "--backend", "a=127.0.0.1:1"],
        ["split", "set", "reviews"],
        ["split", "set", "reviews", "reviews-v1=-1", "-f", "/dev/null"],
        ["split", "show", "--admin", "nowhere"],
    ],
)
def test_wrong_usage_exits_with_2(args: list[str]) -> None:
    done = milliroute(*args)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "args",
    [
        ["split", "show", "--admin", NOBODY],
        ["split", "set", "reviews", "reviews-v1=1", "-f", "/nonexistent.yaml"],
        ["split", "set", "reviews", "reviews-v1=1", "--admin", NOBODY],
        ["control", "-f", "/nonexistent.yaml"],
    ],
)
def test_a_failure_exits_with_1_and_one_line(args: list[str]) -> None:
    done = milliroute(*args)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("milliroute: ")


def test_split_set_prints_each_change_and_takes_its_file_from_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "split.yaml"
    path.write_text(SPLIT)
    done = milliroute("split", "set", "reviews", "reviews-v2=1", MILLIROUTE_FILE=str(path))
    assert done.stdout.splitlines() == [f"{path}:7 reviews-v1 900m -> 0", f"{path}:8 reviews-v2 100m -> 1"]
    assert done.returncode == 0


def test_all_weights_zero_is_worth_a_word(tmp_path: Path) -> None:
    path = tmp_path / "split.yaml"
    path.write_text(SPLIT)
    done = milliroute("split", "set", "reviews", "reviews-v2=0", "-f", str(path))
    assert done.returncode == 0
    assert "all weights are 0" in done.stderr


def test_the_proxy_verb_becomes_the_proxy_process() -> None:
    code = "import os, sys; os.execv = lambda *a: print(a); sys.argv = ['milliroute', 'proxy', '--help', '-x'];"
    code += "from milliroute.control.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    assert done.stdout.strip() == repr((sys.executable, [sys.executable, "-m", "milliroute.proxy", "--help", "-x"]))


CONFIG = RunConfig(
    files=(), backends=("a=127.0.0.1:1",), listen=("127.0.0.1:0=a",), control_admin="127.0.0.1:0", workers=2
)


def fake_proxy(code: str) -> tuple[str, ...]:
    return sys.executable, "-c", code


def test_run_gives_the_proxy_its_flags_and_ends_with_its_code(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(CONFIG, fake_proxy("import sys; print(sys.argv[1:]); sys.exit(7)")) == 7
    words = capfd.readouterr().out
    assert "'--destination', 'unix:/" in words
    assert "'--listen', '127.0.0.1:0=a', '--workers', '2'" in words


def test_the_socket_of_run_is_private_and_listening_before_the_proxy_starts() -> None:
    code = (
        "import os, socket, stat, sys; path = sys.argv[2].removeprefix('unix:');"
        "socket.socket(socket.AF_UNIX).connect(path);"
        "sys.exit(stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) != 0o700)"
    )
    assert run(CONFIG, fake_proxy(code)) == 0


def test_a_proxy_that_a_signal_ended_is_told_as_a_shell_does() -> None:
    assert run(CONFIG, fake_proxy("import os; os.kill(os.getpid(), 9)")) == 137


DRAINING = """\
import os, signal, sys, time
def drain(*_):
    print('draining', flush=True)
    {after}
signal.signal(signal.SIGTERM, drain)
signal.signal(signal.SIGINT, lambda *_: sys.exit(99))
{more}print('up', flush=True)
time.sleep(60)
"""


def run_in_a_process(after: str, more: str = "", terminal: int = -1) -> subprocess.Popen[str]:
    """more: code of the proxy. terminal: the one that controls it."""
    code = (
        "import sys; from tests.control import test_cli as t; from milliroute.control.cli.run import run;"
        f"sys.exit(run(t.CONFIG, t.fake_proxy({DRAINING.format(after=after, more=more)!r})))"
    )
    if terminal >= 0:  # man 4 tty_ioctl: TIOCSCTTY makes it that of the leader of a session
        code = f"import fcntl, os, termios; os.setsid(); fcntl.ioctl({terminal}, termios.TIOCSCTTY, 0); {code}"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, pass_fds=[terminal] if terminal >= 0 else []
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    return process


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_signal_drains_the_proxy(number: signal.Signals) -> None:
    with run_in_a_process("sys.exit(3)") as process:
        process.send_signal(number)
        assert process.stdout is not None
        assert process.stdout.readline() == "draining\n"
        assert process.wait(PATIENCE_S) == 3


@pytest.mark.slow
def test_a_signal_that_comes_before_the_proxy_waits_for_it() -> None:
    code = (
        "import asyncio, os, signal, sys\n"
        "from milliroute.control.cli.run import run\n"
        "from tests.control import test_cli as t\n"
        "start = asyncio.create_subprocess_exec\n"
        "async def late(*words, **more):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    return await start(*words, **more)\n"
        "asyncio.create_subprocess_exec = late\n"
        "sys.exit(run(t.CONFIG, t.fake_proxy('import time; time.sleep(60)')))"
    )
    done = subprocess.run([sys.executable, "-c", code], timeout=PATIENCE_S, check=False)
    assert done.returncode == 128 + signal.SIGTERM


@pytest.mark.slow
def test_a_second_signal_reaches_the_proxy_which_knows_how_to_end_at_once() -> None:
    after = "signal.signal(signal.SIGTERM, lambda *_: os._exit(1)); print('armed', flush=True); time.sleep(60)"
    with run_in_a_process(after) as process:
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        assert process.stdout.readline() == "draining\n"
        assert process.stdout.readline() == "armed\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 1


@pytest.mark.slow
def test_a_hangup_is_passed_on_and_ends_nothing() -> None:
    hup = "signal.signal(signal.SIGHUP, lambda *_: print('replacing', flush=True))\n"
    with run_in_a_process("sys.exit(3)", hup) as process:
        assert process.stdout is not None
        for _ in range(2):
            process.send_signal(signal.SIGHUP)
            assert process.stdout.readline() == "replacing\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "draining\n"
        assert process.wait(PATIENCE_S) == 3


@pytest.mark.slow
def test_a_terminal_that_is_gone_drains_the_proxy() -> None:
    leader, follower = os.openpty()
    hup = "signal.signal(signal.SIGHUP, lambda *_: print('replacing', flush=True))\n"
    with run_in_a_process("sys.exit(3)", hup, terminal=follower) as process:
        os.close(follower)
        os.close(leader)  # the kernel says SIGHUP to who leads its session
        assert process.stdout is not None
        assert process.stdout.readline() == "draining\n"
        assert process.wait(PATIENCE_S) == 3


@pytest.mark.slow
def test_a_taken_port_of_the_proxy_ends_run_with_1_and_the_cause_as_the_last_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        flags = ["--admin", "127.0.0.1:0", "--control-admin", "127.0.0.1:0"]
        done = milliroute("run", "--backend", "a=127.0.0.1:1", "--listen", f"{address}=a", *flags)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"milliroute: cannot listen on {address}: address already in use"


@pytest.mark.slow
def test_a_killed_run_ends_the_lifeline_of_its_proxy() -> None:
    code = (
        "import os; fd = int(os.environ['MILLIROUTE_LIFELINE_FD']); print('up', flush=True);"
        "os.read(fd, 1); print('ended', flush=True)"
    )
    script = (
        "from tests.control import test_cli as t; from milliroute.control.cli.run import run;"
        f"run(t.CONFIG, t.fake_proxy({code!r}))"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.kill()
        assert process.stdout.readline() == "ended\n"


def test_control_says_where_it_listens_and_ends_on_sigterm(tmp_path: Path) -> None:
    (tmp_path / "split.yaml").write_text(SPLIT)
    args = ["control", "-f", str(tmp_path), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    with subprocess.Popen([*MAIN, *args], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = ""
        while "listening control-admin 127.0.0.1:" not in said:
            said += process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        said += process.stderr.read()
        assert process.wait(PATIENCE_S) == 0
    assert "split default/reviews: new, reviews-v1 900m, reviews-v2 100m" in said
    assert "milliroute: listening grpc 127.0.0.1:" in said
    assert "Traceback" not in said
