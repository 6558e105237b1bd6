"""Calls made in a thread of their own, so that one which never returns can be left behind."""

import queue
import threading
from collections.abc import Callable
from typing import Any


class Worker:
    """A thread that makes the emulator's calls, so that a silent one can be left behind."""

    def __init__(self) -> None:
        self.tasks: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self.answers: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        self.under_way = 0
        threading.Thread(target=_serve, args=(self.tasks, self.answers), daemon=True).start()

    def begin(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Have ``function(*arguments)`` called."""
        self.under_way += 1
        self.tasks.put(lambda: function(*arguments))

    def end(self, timeout: float) -> Any:
        """What the call answered; raises what it raised, or TimeoutError."""
        try:
            answer, error = self.answers.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError from None
        self.under_way -= 1
        if error is not None:
            raise error
        return answer

    def settle(self, timeout: float) -> None:
        """Wait for what is under way, and forget what it answers."""
        while self.under_way:
            try:
                self.end(timeout)
            except TimeoutError:
                return
            except Exception:  # nobody has asked
                continue

    def stop(self) -> None:
        self.tasks.put(None)

    def __del__(self) -> None:
        self.stop()


def _serve(
    tasks: "queue.SimpleQueue[Callable[[], Any] | None]",
    answers: "queue.SimpleQueue[tuple[Any, BaseException | None]]",
) -> None:
    while (task := tasks.get()) is not None:
        try:
            answers.put((task(), None))
        except BaseException as error:  # it is the caller's to handle
            answers.put((None, error))
        del task  # or an idle thread would keep the environment alive
