"""Signal handlers: installed within a block and restored after it."""

import os
import signal
import threading

import pytest

from colab_drive_tuner.machine import TERMINATION_SIGNALS, signal_handlers


def test_signals_are_handled_within_the_block_and_restored_after_it():
    """The handler gets each signal within the block; an error in it restores the old handlers."""
    before = {signum: signal.getsignal(signum) for signum in TERMINATION_SIGNALS}
    got: list[int] = []

    def fail_after_all_of_them() -> None:
        for signum in TERMINATION_SIGNALS:
            os.kill(os.getpid(), signum)
        raise ValueError("the block")

    with pytest.raises(ValueError, match="the block"), signal_handlers(got.append):
        fail_after_all_of_them()
    assert got == list(TERMINATION_SIGNALS)
    assert {signum: signal.getsignal(signum) for signum in TERMINATION_SIGNALS} == before


def test_an_exception_of_the_handler_ends_the_block():
    """A handler may raise an exception to end the block."""

    def stop(signum: int) -> None:
        raise InterruptedError(signum)

    with pytest.raises(InterruptedError), signal_handlers(stop, [signal.SIGTERM]):
        os.kill(os.getpid(), signal.SIGTERM)


def test_another_thread_sets_no_handlers():
    """Python sets handlers in the main thread only; in another one the block runs without them."""
    before, ran = signal.getsignal(signal.SIGTERM), []

    def run() -> None:
        with signal_handlers(lambda _: None):
            ran.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert ran == [before]
