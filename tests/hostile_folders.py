"""Folders in which anything may be, and what a command on one must leave alone.

A case copies a whole folder, mutates one or two of its files and runs a command on it. What it
reads and writes outside, its memory and its time are measured.
"""

import ctypes
import os
import random
import re
import shutil
import signal
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hostile_changes import mutate

from reverie.envs.errors import RunError, UsageError
from reverie.experiments.cli.main import main
from reverie.experiments.sessions.executor import Executable, TaskResult, seconds_of

SECRET, ENCODED = "SECRET" * 10, "U0VDUkVU"
"""What is outside the folders, and its Base64."""
SECONDS, CPU_SECONDS = 20, 10
"""Wall time without work after which a case has hung, and processor time that it may take."""
MEMORY = 10**9
"""Bytes of memory that a case may take beside twice the size of its files."""
IN_OPEN, IN_ISDIR = 0x20, 0x40000000
"""Masks of inotify(7)."""


@dataclass(frozen=True)
class Part:
    """A folder, and the commands that read it."""

    commands: tuple[str, ...]
    """{0} is the folder, {1} one to write in."""
    mutated: str | None = ""
    """What is mutated below it; None for what the command names."""


class InlinePool:
    """Executes tasks in this process."""

    def __init__(self, *args: Any) -> None:
        pass

    def execute(self, tasks: Sequence[Executable]) -> Iterator[TaskResult[Any]]:
        for task in tasks:
            try:
                yield TaskResult(task, seconds_of(task))
            except (RunError, UsageError, OSError) as error:
                yield TaskResult(task, 0.0, str(error))

    def stop(self) -> None:
        pass


class Watch:
    """The files of a folder that any process has opened."""

    def __init__(self, folder: Path) -> None:
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.file = os.fdopen(self.libc.inotify_init1(os.O_NONBLOCK), "rb", buffering=0)
        assert self.libc.inotify_add_watch(self.file.fileno(), os.fsencode(folder), IN_OPEN) >= 0

    def opened(self) -> bool:
        """Return whether a file has been opened since the last call."""
        data, found = self.file.read() or b"", False
        while data:
            _, mask, _, length = struct.unpack_from("iIII", data)
            found |= not mask & IN_ISDIR
            data = data[16 + length :]
        return found

    def close(self) -> None:
        self.file.close()


def memory(name: str) -> int:
    """Return a number of bytes that /proc/self/status has of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(x for x in lines if x.startswith(name)).split()[1])


@contextmanager
def limited(size: int) -> Iterator[dict[str, str]]:
    """Give what a case has exceeded, when it has ended; interrupt it if it hangs."""
    exceeded: dict[str, str] = {}
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, begin = memory("VmRSS"), time.process_time()
    last = begin

    def check(number: int, frame: Any) -> None:
        """Interrupt a case that waits; one that works on a busy machine goes on."""
        nonlocal last
        last, since = time.process_time(), last
        if last - since < 0.02 or last - begin > 3 * CPU_SECONDS:
            raise AssertionError(f"it hangs after {last - begin:.1f} s of processor time")
        signal.alarm(SECONDS)

    signal.signal(signal.SIGALRM, check)
    signal.alarm(SECONDS)
    try:
        yield exceeded
    finally:
        signal.alarm(0)
    if (used := memory("VmHWM") - before) > MEMORY + 2 * size:
        exceeded["memory"] = f"{used / 1e9:.2f} GB of memory"
    if (seconds := time.process_time() - begin) > CPU_SECONDS:
        exceeded["time"] = f"{seconds:.1f} s of processor time"


NAMES = (
    "figures/<img src=x>.png", "videos/](x) ![.mp4", f"figures/{'x' * 240}.png",
    "scores-=1+1.json", "figures/\x1b[31m.png",
)  # fmt: skip


def prepare(seed: int, name: str, part: Part, root: Path, to: Path) -> tuple[str, list[Any]]:
    """Make the folders of a case; return its command, what was changed, and what to close."""
    rng, keep, done = random.Random(f"{name} {seed}"), list[Any](), list[str]()
    shutil.copytree(root / name, to / name)
    shutil.copytree(root / "outside", to / "outside")
    (to / "out").mkdir()
    command = rng.choice(part.commands).format(to / name, to / "out")
    named = [Path(x) for x in command.split() if x.startswith(f"{to / name}/")]
    target = to / name / part.mutated if part.mutated is not None else named[0]
    for _ in range(rng.choice([1, 1, 1, 2])):
        files = [target] if target.is_file() else sorted(target.rglob("*"))
        files = [x for x in files if x.is_file() and not x.is_symlink()]
        shallow = [x for x in files if x.suffix != "" and "blocks" not in x.parts]
        if shallow:
            path = rng.choice(shallow)
            done.append(mutate(path, rng, to / "outside", to / name, keep))
    if rng.random() < 0.2 and name == "runs":
        link = rng.choice(NAMES)
        (target / link).symlink_to(to / "outside/secret")
        done.append(link)
    if rng.random() < 0.1 and target.is_dir():
        places = [x for x in sorted(target.rglob("*")) if x.is_dir() and not x.is_symlink()]
        if places:
            place = rng.choice(places)
            done.append(f"{place.name}: a link to a folder")
            shutil.rmtree(place)
            place.symlink_to(to / "outside")
    return f"{command}; {', '.join(done)}", keep


def fault(seed: int, name: str, part: Part, root: Path, to: Path, capsys: Any) -> str:
    """Run a case; return what is wrong with its end, or an empty text."""
    about, keep = prepare(seed, name, part, root, to)
    size = sum(x.lstat().st_size for x in (to / name).rglob("*"))
    command = about.partition(";")[0]
    status, wrong = -1, list[str]()
    capsys.readouterr()
    with closing(Watch(to / "outside")) as watch:
        try:
            with limited(size) as exceeded:
                status = main(command.split())
        except (Exception, AssertionError) as error:
            wrong.append(f"{type(error).__name__}: {error}")
        else:
            wrong += exceeded.values()
        named = any(os.path.islink(x) for x in command.split())  # the user chose it
        if watch.opened() and not named:
            wrong.append("a file outside was opened")
    for each in keep:
        each.close()
    output = capsys.readouterr()
    if status not in (0, 1, 2) and not wrong:
        wrong.append(f"its status is {status}")
    if status in (1, 2) and not output.err.strip() + output.out.strip():
        wrong.append("it failed without a sentence")
    if "Traceback" in output.err + output.out:
        wrong.append("a traceback")
    if "\x1b" in output.out:
        wrong.append("an escape sequence")
    files = [x for x in (to / "out").rglob("*") if x.is_file()]
    injected = {".csv": rb'(?m)(^|,)"?[=@]', ".md": rb"(?<!\\)\]\(x\)|(?<!\\)\[a\]\(b\)"}
    for path in files:
        if (pattern := injected.get(path.suffix)) and re.search(pattern, path.read_bytes()):
            wrong.append(f"a formula or a link in {path.name}")
    for content in (output.out.encode(), output.err.encode(), *(x.read_bytes() for x in files)):
        if SECRET.encode() in content or ENCODED.encode() in content:
            wrong.append("content from outside")
    found = {x.name: x.read_bytes() for x in (to / "outside").iterdir() if x.is_file()}
    if found != {"secret": SECRET.encode()} or len([*(to / "outside").iterdir()]) != 1:
        wrong.append("something outside was changed")
    shutil.rmtree(to)
    return f"case {seed} of {name}: {'; '.join(wrong)}: {about}" if wrong else ""
