"""A terminal, as far as the displays of the command line need one."""

import re


class Screen:
    """What a terminal that never scrolls shows after it was given a text."""

    def __init__(self, text: str) -> None:
        """Obey carriage returns, line feeds, lines erased and the cursor moved up; leave out styles."""
        self.lines, self.row, self.column, self.is_cursor_visible = [""], 0, 0, True
        for code, letter in re.findall(r"(\x1b\[\??[0-9;]*[A-Za-z])|([\s\S])", text):
            self._obey(code) if code else self._put(letter)

    def _obey(self, code: str) -> None:
        if code == "\x1b[2K":
            self.lines[self.row] = ""
        elif code.endswith("A"):
            self.row -= int(code[2:-1])
        elif code.startswith("\x1b[?25"):
            self.is_cursor_visible = code.endswith("h")
        else:
            assert code.endswith("m"), code

    def _put(self, letter: str) -> None:
        if letter == "\r":
            self.column = 0
        elif letter == "\n":
            self.row, self.column = self.row + 1, 0
            self.lines += [""] * (self.row + 1 - len(self.lines))
        else:
            line = self.lines[self.row].ljust(self.column)
            self.lines[self.row] = line[: self.column] + letter + line[self.column + 1 :]
            self.column += 1

    @property
    def text(self) -> str:
        """All that can be seen."""
        return "\n".join(self.lines).rstrip("\n")
