"""The entry point of ``reverie COMMAND ...``; only the module of the command is imported."""

import os
import signal
import sys
from importlib import import_module

from ...envs.atari.games import did_you_mean
from ...envs.errors import EmulatorTimeout, Interrupted, RunError, UsageError
from ..runs.output import discard_output, prepare_output

USAGE = """\
reverie: reinforcement-learning agents built on generative models

  reverie train PRESET [role:name ...] [--game GAME | --games GAMES] [--total-timesteps N] ...
  reverie evaluate RUN ... | random   [--episodes N] [--protocols A,B] [--video] ...
  reverie ablate PRESET role:a,b ...  [--games GAMES] [--seeds N] [--dry-run] ...
  reverie report DIR ...              results of runs as one HTML file and as Markdown
  reverie collect RUN | random        [--frames N] [--format own|gray|rgb] [--epsilon E] ...
  reverie pretrain ROLE:NAME --data FOLDER [--num-updates N] ...
  reverie play RUN                    watch an agent and its models in the browser
  reverie list [games | presets | roles]
  reverie reproduce NAME ... | --all  repeat the runs behind a results table
  reverie verify [--write]            compare the tables of the documents with the results
  reverie bench                       speed on this machine
  reverie doctor                      test whether this machine can run all of it

A part is chosen as role:name and tuned as --role.parameter value:
  reverie train mfec agent.representation:projection --agent.representation.dim 32
  reverie train mfec --game qbert --protocol machado
GAMES is atari26, atari57, hard, or names separated by commas. `reverie COMMAND --help` shows every
flag. A module with parts of your own is imported by --import my_module."""

COMMANDS = (
    "train", "evaluate", "ablate", "report", "collect", "pretrain", "list", "reproduce", "verify",
    "bench", "doctor", "play",
)  # fmt: skip
"""Each command is a module of this package, whose ``run(argv)`` returns the exit status."""


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status.

    0; 1 for a failed run, a difference or a problem that was found; 2 for unusable input; and 128
    and the number of the signal if one ended the command: SIGPIPE if its output is no longer read.
    """
    prepare_output()
    try:
        try:
            return _run_command(list(sys.argv[1:] if argv is None else argv))
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        discard_output()
        return 128 + signal.SIGPIPE


def _run_command(argv: list[str]) -> int:
    try:
        if not argv or argv[0] in ("-h", "--help", "help"):
            print(USAGE)
            return 0
        command, rest = argv[0], argv[1:]
        if command not in COMMANDS:
            hint = did_you_mean(command, COMMANDS) or f" The commands are {', '.join(COMMANDS)}."
            raise UsageError(f"There is no command '{command}'.{hint}")
        module = "list_parts" if command == "list" else command
        status: int = import_module(f".{module}", __package__).run(rest)
        return status
    except UsageError as error:
        print(f"reverie: {error}", file=sys.stderr)
        return 2
    except Interrupted as interrupted:
        return 128 + interrupted.number
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except RunError as error:
        print(f"reverie: {error}", file=sys.stderr)
        if isinstance(error, EmulatorTimeout):
            sys.stdout.flush()
            os._exit(1)  # the thread that waits for the emulator would abort a regular exit
        return 1


if __name__ == "__main__":
    sys.exit(main())
