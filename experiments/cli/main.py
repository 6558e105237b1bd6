"""The entry point of ``reverie COMMAND ...``; only the module of the command is imported."""

import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

from ...envs.atari.games import did_you_mean
from ...envs.errors import EmulatorTimeout, Interrupted, RunError, UsageError
from ..runs.disk_errors import describe, remedy
from ..runs.output import discard_output, prepare_output
from ..text.terminal_text import description_list, message, paragraph, plain

USAGES = {
    "train": ("PRESET [role:name ...]", "Train an agent: --game GAME --total-timesteps N."),
    "imagine": ("PRESET [role:name ...]", "Train in the dreams of a predictor, in rounds."),
    "evaluate": ("RUN ... | random", "Play whole episodes: --episodes N --video."),
    "play": ("RUN", "Watch an agent and its models in the browser."),
    "ablate": ("PRESET role:a,b ...", "Compare parts: --seeds N or --until decided, --dry-run."),
    "sweep": ("PRESET --FLAG LOW..HIGH", "Search settings: --trials N --halving N, --dry-run."),
    "runs": ("[DIR]", "List runs: --where SETTING=VALUE, --tidy, --delete."),
    "compare": ("RUN RUN", "Say what differs between two runs."),
    "check": ("RUN", "Verify the files of runs and recordings: --repair."),
    "report": ("DIR ...", "Write the results of runs as HTML and Markdown."),
    "collect": ("RUN | random", "Record frames: --frames N --format own|gray|rgb."),
    "data": ("COMMAND", "List recordings, show, convert and replay them."),
    "export": ("RUN [FILE]", "Write a run as one file: --hugging-face DIR for a model card."),
    "import": ("FILE", "Make a run folder from an exported file: --folder DIR."),
    "compress": ("FOLDER", "Code recorded frames losslessly: --density cts."),
    "decompress": ("FILE", "Decode the frames of an archive."),
    "pretrain": ("ROLE:NAME --data DIR", "Fit a model to recorded frames."),
    "gallery": ("", "Show every density on the same frames: --games GAMES --quick."),
    "list": ("[TOPIC]", "Print games, presets, pretrained runs, roles and parts."),
    "reproduce": ("[NAME ... | --all]", "Repeat the runs behind a results table."),
    "verify": ("[--write]", "Compare the documents with the results."),
    "bench": ("", "Measure the speed of this machine."),
    "doctor": ("", "Test whether this machine can run all of it."),
}
"""Arguments and purpose of each command."""

EXAMPLES = """\
Start with:
  reverie train ppo --game pong --total-timesteps 200000
A part is chosen as role:name, tuned as --role.parameter:
  reverie train mfec agent.representation:vae \\
    --agent.representation.latent.size 16"""

NOTES = (
    "GAMES is atari26, atari57, hard, or names separated by commas. A RUN is a folder, or "
    "pretrained:NAME. A module with parts of your own is imported by --import my_module. Flags may "
    "stand in a YAML file: --config FILE, which --print-config writes. reverie COMMAND --help, or "
    "reverie help COMMAND, shows every flag of a command."
)

COMMANDS = tuple(USAGES)
"""Each command is a module of this package, whose ``run(argv)`` returns the exit status."""
MODULES = {"import": "import_run", "list": "list_parts", "sweep": "sweep_settings"}
"""Modules that do not have the name of their command."""


def usage() -> str:
    """Return the help of ``reverie``."""
    rows = [(f"{name} {args}".strip(), text) for name, (args, text) in USAGES.items()]
    title = "reverie: reinforcement-learning agents built on generative models"
    return "\n\n".join([paragraph(title), description_list(rows), EXAMPLES, paragraph(NOTES)])


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status."""
    return exit_status(lambda: _run_command(list(sys.argv[1:] if argv is None else argv)))


def exit_status(run: Callable[[], int]) -> int:
    """Return the exit status of ``run``, whose expected errors are printed as one sentence.

    0; 1 for a failed run, a difference or a problem that was found; 2 for unusable input; and 128
    and the number of the signal if one ended the command: SIGPIPE if its output is no longer read.
    """
    prepare_output()
    try:
        try:
            return _status(run)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        discard_output()
        return 128 + signal.SIGPIPE


def _rank() -> int | None:
    """Return the rank that torchrun gave this process; None if it is the only one."""
    several = "LOCAL_RANK" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1"
    return int(os.environ["RANK"]) if several else None


def _status(run: Callable[[], int]) -> int:
    try:
        return run()
    except UsageError as error:
        if not _rank():  # it is the same in all processes
            _print_error(error)
        return 2
    except Interrupted as interrupted:
        return 128 + interrupted.number
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        raise
    except OSError as error:
        if not isinstance(error.filename, str | bytes):
            raise
        folder = Path(os.fsdecode(error.filename)).parent
        _print_error(f"{describe(error, folder)}; {remedy(error)}, and run the command again.")
        return 1
    except RunError as error:
        _print_error(error)
        if isinstance(error, EmulatorTimeout):
            sys.stdout.flush()
            os._exit(1)  # the thread that waits for the emulator would abort a regular exit
        return 1


def _print_error(error: Exception | str) -> None:
    text = f"reverie: {plain(str(error))}"
    print(message(text, terminal=sys.stderr.isatty()), file=sys.stderr)


def _run_command(argv: list[str]) -> int:
    if argv[:1] == ["help"]:
        argv = [*argv[1:], "--help"]
    if not argv or argv[0] in ("-h", "--help"):
        print(usage())
        return 0
    if argv[0] == "--version":
        print(f"reverie {version('reverie')}")
        return 0
    command, rest = argv[0], argv[1:]
    _refuse_empty(rest)
    if command not in COMMANDS:
        hint = (
            did_you_mean(command, (*COMMANDS, "--version"))
            or f" The commands are {', '.join(COMMANDS)}."
        )
        raise UsageError(f"There is no command '{command}'.{hint}")
    if command != "train" and _rank() is not None:
        raise UsageError(
            f"`reverie {command}` runs in one process; leave out torchrun, which is for "
            "`reverie train`."
        )
    if command != "import" and not {"-h", "--help"} & set(rest) and "pretrained:" in " ".join(rest):
        from ..sharing.pretrained import expand_pretrained

        rest = expand_pretrained(rest)
    module = MODULES.get(command, command)
    status: int = import_module(f".{module}", __package__).run(rest)
    return status


def _refuse_empty(argv: list[str]) -> None:
    """Raise UsageError for an empty folder, which would be the working folder."""
    for flag, arg in pairwise(["", *argv]):
        folder = arg == "--folder=" or (flag == "--folder" and not arg)
        if folder or (not arg and not flag.startswith("--")):
            raise UsageError(
                f"{'--folder' if folder else 'An argument'} is empty, as of a variable that is not "
                "set; name a folder, or . for the working folder."
            )


if __name__ == "__main__":
    sys.exit(main())
