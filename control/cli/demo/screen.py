"""Where the picture goes: redrawn in place on a terminal, a block every few seconds anywhere else."""

import re
import shutil
from collections.abc import Sequence
from typing import TextIO

# Seconds between two pictures.
TTY_PERIOD_S = 1.0
BLOCK_PERIOD_S = 5.0

_COLOR = re.compile(r"\x1b\[[0-9;]*m")


class Screen:
    """Shows pictures on `out`."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._drawn_lines = 0
        self.is_tty = out.isatty()
        self.period_s = TTY_PERIOD_S if self.is_tty else BLOCK_PERIOD_S

    def add(self, lines: Sequence[str]) -> None:
        """Write lines that stay, above the pictures. They may wrap, so that a command can be copied whole."""
        self._out.write("\n".join(lines) + "\n\n")
        self._drawn_lines = 0

    def show(self, lines: Sequence[str]) -> None:
        """Replace the last picture on a terminal; add one elsewhere."""
        if self.is_tty:
            columns, rows = shutil.get_terminal_size()
            # A line that wraps, or a picture higher than the window, could not be drawn over.
            lines = [fit(line, columns - 1) for line in lines[: rows - 1]]
            back = f"\x1b[{self._drawn_lines}F" if self._drawn_lines else ""
            text = back + "\x1b[J" + "\n".join(lines) + "\n"
        else:
            text = "\n".join(lines) + "\n\n"
        self._drawn_lines = len(lines)
        self._out.write(text)
        self._out.flush()


def fit(line: str, columns: int) -> str:
    """Cut a line to what is visible in so many columns; one that is cut loses its colours."""
    plain = _COLOR.sub("", line)
    return line if len(plain) <= columns else plain[:columns]
