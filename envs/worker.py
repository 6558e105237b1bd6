"""A daemon thread that makes blocking calls, so that one which never returns can be abandoned."""

import queue
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any


class Worker:
    """One thread that makes calls in order; it must be stopped, or deleted, at the end."""

    def __init__(self) -> None:
        self.tasks: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self.results: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        self.num_pending = 0
        threading.Thread(target=_serve, args=(self.tasks, self.results), daemon=True).start()

    def submit(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Schedule the call ``function(*arguments)``."""
        self.num_pending += 1
        self.tasks.put(lambda: function(*arguments))

    def result(self, timeout: float) -> Any:
        """Return the result of the oldest pending call, or raise its exception.

        Raises TimeoutError after ``timeout`` seconds.
        """
        try:
            result, error = self.results.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError from None
        self.num_pending -= 1
        if error is not None:
            raise error
        return result

    def drain(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds for each pending call, and discard the results."""
        while self.num_pending:
            try:
                self.result(timeout)
            except TimeoutError:
                return
            except Exception:  # its result is not wanted either
                continue

    def stop(self) -> None:
        """End the thread after the pending calls."""
        self.tasks.put(None)

    def __del__(self) -> None:
        self.stop()


class InlineWorker:
    """A ``Worker`` without a thread, for short calls during which Python's lock is held.

    Another thread would make them no earlier. A call is made when its result is asked for, and no
    time limit applies to it.
    """

    def __init__(self) -> None:
        self.tasks: deque[Callable[[], Any]] = deque()

    def submit(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Schedule the call ``function(*arguments)``."""
        self.tasks.append(partial(function, *arguments))

    def result(self, timeout: float) -> Any:
        """Make the oldest pending call; return its result, or raise its exception."""
        return self.tasks.popleft()()

    def drain(self, timeout: float) -> None:
        """Discard the pending calls."""
        self.tasks.clear()

    def stop(self) -> None:
        """End nothing: there is no thread."""


def _serve(
    tasks: "queue.SimpleQueue[Callable[[], Any] | None]",
    results: "queue.SimpleQueue[tuple[Any, BaseException | None]]",
) -> None:
    while (task := tasks.get()) is not None:
        try:
            results.put((task(), None))
        except BaseException as error:  # raised again in the caller's thread
            results.put((None, error))
        del task  # or an idle thread would keep the environment alive
