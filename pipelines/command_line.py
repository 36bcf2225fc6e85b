"""How a job's `main` becomes a shell command, what it says, and how it ends."""

import json
import os
import sys
from collections.abc import Callable, Mapping

import tyro

from pipelines.errors import MarqueeError


def say(line: str) -> None:
    """Tell whoever watches a job how far it is: one line on standard output, at once."""
    print(line, flush=True)


def say_result(result: Mapping[str, object]) -> None:
    """End a job that went well: its last line on standard output is one JSON object of names and counts."""
    print(json.dumps(result), flush=True)


def run(main: Callable[..., object], *, description: str | None) -> None:
    """Run a job from the shell: its signature is its command line; a `MarqueeError` ends it with one sentence.

    Raises:
        SystemExit: with the exit code of the error's kind (`pipelines.errors`), or 2 when the arguments are wrong.
    """
    try:
        tyro.cli(main, description=description)
    except MarqueeError as error:
        sys.stdout.flush()
        sys.stderr.write(f"marquee: {error}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("marquee: interrupted\n")
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output went away (`| head`): nothing is wrong, and nothing can be said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
