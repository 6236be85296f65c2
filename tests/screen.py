"""A terminal small enough to be sure of: what stands on it after some bytes.  A sequence that it does not know is an error, not nothing."""

from __future__ import annotations

import re
from unicodedata import combining, east_asian_width

_TOKEN = re.compile(r"\x1b\[([?0-9;]*)([@-~])|\x1b\](.*?)(?:\x07|\x1b\\)|\x1b(.)|([\r\n\b\x07])|([^\x1b\r\n\b\x07]+)", re.DOTALL)


class Screen:
    """``columns`` × ``rows`` of characters; lines that scroll off its top are kept in ``above``."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns = columns
        self.rows = rows
        self.above: list[str] = []
        self.lines: list[list[str]] = [[]]
        self.row = self.column = 0
        self.cursor = True
        self.colours: set[str] = set()
        """Parameters of every SGR sequence seen so far."""

    def feed(self, text: str) -> None:
        """Text with escape sequences, whole ones."""
        at = 0
        while at < len(text):
            token = _TOKEN.match(text, at)
            assert token is not None, f"an unfinished or unknown sequence: {text[at : at + 20]!r}"
            at = token.end()
            parameters, final, title, escape, control, plain = token.groups()
            if final is not None:
                self._sequence(parameters, final)
            elif control is not None:
                self._control(control)
            elif plain is not None:
                for char in plain:
                    self._put(char)
            else:
                assert title is not None, f"an unknown sequence: ESC {escape}"

    def _sequence(self, parameters: str, final: str) -> None:
        count = int(parameters) if parameters.isdigit() else 1
        if final == "m":
            self.colours.update(parameters.split(";"))
        elif final == "A":
            self.row = max(0, self.row - count)
        elif final == "K" and parameters == "2":
            self.lines[self.row] = []
        elif final == "K" and parameters in ("", "0"):
            del self.lines[self.row][self.column :]
        elif final in "hl" and parameters == "?25":
            self.cursor = final == "h"
        else:
            raise AssertionError(f"an unknown sequence: CSI {parameters}{final}")

    def _control(self, char: str) -> None:
        if char == "\r":
            self.column = 0
        elif char == "\b":
            self.column = max(0, self.column - 1)
        elif char == "\n":
            self._down()

    def _down(self) -> None:
        self.row += 1
        while self.row >= len(self.lines):
            self.lines.append([])
        if len(self.lines) > self.rows:
            self.above.append("".join(self.lines.pop(0)).rstrip())
            self.row -= 1

    def _put(self, char: str) -> None:
        if combining(char):
            return
        assert east_asian_width(char) not in "WF", f"{char!r} is two columns wide"
        if self.column >= self.columns:
            self.column = 0
            self._down()
        line = self.lines[self.row]
        line += [" "] * (self.column + 1 - len(line))
        line[self.column] = char
        self.column += 1

    @property
    def shown(self) -> list[str]:
        """What a person sees, without blanks at the ends of lines."""
        return ["".join(line).rstrip() for line in self.lines]

    @property
    def text(self) -> str:
        """All of it, from the first line that scrolled away."""
        return "\n".join([*self.above, *self.shown])
