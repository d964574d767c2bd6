"""Test how signals become requests or exceptions."""

import os
import signal
import subprocess
import sys

import pytest

from afdctl.errors import StoppedError
from afdctl.interrupts import catch_signals, exit_now, raise_on_signal, signals_blocked


def test_requests_are_recorded_and_a_stop_raises_with_a_hint():
    with catch_signals() as requests:
        requests.raise_if_stopped("nothing to do")
        signal.raise_signal(signal.SIGUSR1)
        assert requests.save
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(StoppedError, match="stopped by SIGTERM; resume later") as stopped:
            requests.raise_if_stopped("resume later")
    assert stopped.value.exit_code == 128 + signal.SIGTERM


def test_a_blocked_signal_is_delivered_afterwards():
    steps: list[str] = []

    def work() -> None:
        with signals_blocked():
            signal.raise_signal(signal.SIGINT)
            steps.append("finished")
        steps.append("not reached")

    with raise_on_signal("while waiting"), pytest.raises(StoppedError, match="stopped by SIGINT while waiting"):
        work()
    assert steps == ["finished"]


def test_the_same_signal_again_exits_at_once(monkeypatch: pytest.MonkeyPatch):
    """This holds for any previous handler, and also after the block, while the process exits."""
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)

    def handler(*_: object) -> None: ...

    before = signal.signal(signal.SIGINT, handler)
    try:
        with catch_signals() as requests:
            signal.raise_signal(signal.SIGINT)
            assert requests.stop == signal.SIGINT
            signal.raise_signal(signal.SIGINT)
        assert codes == [130]
        assert signal.getsignal(signal.SIGINT) is exit_now
    finally:
        signal.signal(signal.SIGINT, before)


def test_nohup_is_respected():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with catch_signals() as requests:
            signal.raise_signal(signal.SIGHUP)
            assert requests.stop is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_interrupt_after_the_block_ends_the_process_without_a_traceback():
    code = (
        "import os, signal\n"
        "from afdctl.interrupts import catch_signals\n"
        "with catch_signals() as requests:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "assert requests.stop == signal.SIGINT\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (130, "")
