"""Draws what a command prints as a terminal window, for the README.

    python tools/terminal_picture.py docs/images/story.svg \\
        smelt generate "Tell me a story about a fox who is afraid of the dark"
"""

from __future__ import annotations

import argparse
import io
import re
import shlex
import subprocess
from pathlib import Path

from rich.console import Console
from rich.text import Text

# Where rich says which web fonts to load: a picture in a repository loads nothing.
_WEB_FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def draw(command: list[str], width: int) -> str:
    """An SVG of the command and its output, at this many columns."""
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    console = Console(record=True, width=width, file=io.StringIO(), highlight=False)
    console.print(Text("$ ", style="bold green") + Text(shlex.join(command).replace("'", '"')))
    console.print(Text(done.stdout.rstrip("\n")))
    return _WEB_FONTS.sub("", console.export_svg(title="smelt"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("picture", type=Path, metavar="FILE.svg")
    parser.add_argument("--width", type=int, default=88, help="columns (default: 88)")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    args.picture.write_text(draw(args.command, args.width), "utf-8")


if __name__ == "__main__":
    main()
