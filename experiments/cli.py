"""The command line: ``reverie COMMAND ...``. What a command does not need is not imported."""

import os
import sys

from envs.errors import EmulatorSilent, RunError, UsageError
from envs.games import GAME_LISTS, all_games, near_names

USAGE = """\
reverie: reinforcement-learning agents built on generative models

  reverie train PRESET [role:name ...] [--game GAME | --games GAMES] [--steps N] [--seed S] ...
  reverie evaluate RUN ... | random   [--episodes N] [--protocols A,B] [--video] ...
  reverie ablate PRESET role:a,b ...  [--games GAMES] [--seeds N] [--dry-run] ...
  reverie report DIR ...              what runs say: one HTML file, and the same as Markdown
  reverie collect RUN | random [--frames N] [--format own|grey|rgb] [--epsilon E] ...
  reverie pretrain ROLE:NAME --data FOLDER [--steps N] ...
  reverie play RUN                          look inside, in the browser: dream beside truth
  reverie list [games | presets | roles]
  reverie reproduce NAME ... | --all        run again what a results table was made from
  reverie verify [--write]                  README tables against the committed results
  reverie bench                             speed on this machine
  reverie doctor                            whether this machine can run all of it

A part is chosen as role:name and tuned as --role.parameter value:
  reverie train episodic agent.representation:projection --agent.representation.dim 32
  reverie train episodic --game qbert --protocol machado
GAMES is atari26, atari57, hard or names with commas. `reverie COMMAND --help` says more; a module
with parts of your own is imported with --with my_module."""

COMMANDS = (
    "train", "evaluate", "ablate", "report", "collect", "pretrain", "list", "reproduce", "verify",
    "bench", "doctor", "play",
)  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit status is 0, 1 for a failed run, 2 for unusable input."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if not arguments or arguments[0] in ("-h", "--help", "help"):
            print(USAGE)
            return 0
        command, rest = arguments[0], arguments[1:]
        if command not in COMMANDS:
            hint = near_names(command, COMMANDS) or f" The commands are {', '.join(COMMANDS)}."
            raise UsageError(f"There is no command '{command}'.{hint}")
        if command == "list" and rest == ["games"]:
            return _list_games()
        from experiments import commands  # torch comes with these

        return commands.COMMANDS[command](rest)
    except UsageError as error:
        print(f"reverie: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except RunError as error:
        print(f"reverie: {error}", file=sys.stderr)
        if isinstance(error, EmulatorSilent):
            sys.stdout.flush()
            os._exit(1)  # a thread that still waits for an emulator would abort a tidier exit
        return 1


def _list_games() -> int:
    for name, games in GAME_LISTS.items():
        print(f"{name} ({len(games)}): {' '.join(games)}")
    print(f"all ({len(all_games())}): {' '.join(all_games())}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
