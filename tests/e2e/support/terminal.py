"""Runs a command in a pseudo-terminal of 80 columns and 24 lines, presses keys, and prints each screen that it showed."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time

WIDTH, HEIGHT, PATIENCE = 80, 24, 30
CODE = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])")


class Screen:
    def __init__(self):
        self.rows = [[" "] * WIDTH for _ in range(HEIGHT)]
        self.row = self.column = 0

    def take(self, text):
        """Text, and of the terminal's codes those that move or clear. An incomplete code at the end is given back."""
        place = 0
        while place < len(text):
            if text[place] == "\x1b":
                code = CODE.match(text, place)
                if code is None:
                    if len(text) - place < 16:
                        return text[place:]
                    place += 2
                    continue
                numbers = [int(part) if part.isdigit() else 0 for part in code[1].split(";")]
                if code[2] == "H":
                    self.row = max(numbers[0], 1) - 1
                    self.column = max(numbers[1] if len(numbers) > 1 else 1, 1) - 1
                elif code[2] == "J":
                    self.rows = [[" "] * WIDTH for _ in range(HEIGHT)]
                place = code.end()
                continue
            if text[place] >= " " and self.row < HEIGHT and self.column < WIDTH:
                self.rows[self.row][self.column] = text[place]
                self.column += 1
            place += 1
        return ""

    def text(self):
        return "\n".join("".join(row).rstrip() for row in self.rows)


def main(command, steps):
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
    running = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    os.close(slave)
    screen, rest = Screen(), ""
    for key, word in steps:
        os.write(master, key.encode())
        until = time.monotonic() + PATIENCE
        while word not in screen.text():
            ready, _, _ = select.select([master], [], [], 0.2)
            if ready:
                rest = screen.take(rest + os.read(master, 65536).decode(errors="replace"))
            if time.monotonic() > until:
                sys.exit(f"no {word!r} after {key!r}:\n{screen.text()}")
        print(screen.text(), flush=True)
    os.write(master, b"q")
    until = time.monotonic() + PATIENCE
    while running.poll() is None:
        # What it says at its end must be read, or it waits for that.
        if select.select([master], [], [], 0.05)[0]:
            try:
                os.read(master, 65536)
            except OSError:
                pass
        if time.monotonic() > until:
            running.kill()
            sys.exit("it does not end")
    sys.exit(running.returncode)


if __name__ == "__main__":
    words = sys.argv[2:]
    main([sys.argv[1], "top"], list(zip(words[::2], words[1::2])))
