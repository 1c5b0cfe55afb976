"""Draws a terminal's screen as an SVG, from what `tmux capture-pane -e -p` prints. Letters stay letters: they can be
searched, copied and read aloud.
"""

import html
import re

CELL, LINE, SIZE, MARGIN = 8.4, 18, 14, 12
# Several spaces in a row are one in an SVG.
NO_BREAK = "\u00a0"
INK, GROUND = "#d8dee9", "#16181d"
# The sixteen colours that a terminal has names for.
NAMED = [
    *["#3b4252", "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#d8dee9"],
    *["#5c6370", "#ff7a85", "#b5e890", "#ffd68a", "#7cc4ff", "#e094f5", "#6fd3de", "#ffffff"],
]
ESCAPE = re.compile(r"\x1b\[([\d;]*)m|\x1b[()].|\x0f|\x0e")


def colour(number):
    """Returns one of a terminal's 256 colours."""
    if number < 16:
        return NAMED[number]
    if number >= 232:
        return "#" + f"{8 + 10 * (number - 232):02x}" * 3
    steps = [0, 95, 135, 175, 215, 255]
    number -= 16
    return "#" + "".join(f"{steps[number // power % 6]:02x}" for power in (36, 6, 1))


class Pen:
    """What the next letters look like."""

    def __init__(self):
        self.clear()

    def clear(self):
        self.ink, self.ground = None, None
        self.bold = self.dim = self.reverse = self.under = False

    def take(self, codes):
        codes = [int(code or 0) for code in codes.split(";")]
        while codes:
            code = codes.pop(0)
            if code == 0:
                self.clear()
            elif code in (1, 2, 4, 7):
                setattr(self, {1: "bold", 2: "dim", 4: "under", 7: "reverse"}[code], True)
            elif code == 22:
                self.bold = self.dim = False
            elif code in (24, 27):
                setattr(self, {24: "under", 27: "reverse"}[code], False)
            elif code in (38, 48):
                if codes.pop(0) == 5:
                    shade = colour(codes.pop(0))
                else:
                    shade = "#" + "".join(f"{codes.pop(0):02x}" for _ in range(3))
                setattr(self, "ink" if code == 38 else "ground", shade)
            elif code in (39, 49):
                setattr(self, "ink" if code == 39 else "ground", None)
            elif 30 <= code % 100 <= 37 or 90 <= code <= 97:
                self.ink = NAMED[code % 10 + (8 if code >= 90 else 0)]
            elif 40 <= code <= 47 or 100 <= code <= 107:
                self.ground = NAMED[code % 10 + (8 if code >= 100 else 0)]

    def look(self):
        ink, ground = self.ink or INK, self.ground or GROUND
        return (ground, ink) if self.reverse else (ink, ground)


def draw(screen, columns):
    """Returns the picture of a screen."""
    lines = screen.rstrip("\n").split("\n")
    width, height = columns * CELL + 2 * MARGIN, len(lines) * LINE + 2 * MARGIN
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" height="{height}">',
        f'<rect width="100%" height="100%" rx="6" fill="{GROUND}"/>',
        f'<g font-family="ui-monospace, \'DejaVu Sans Mono\', Menlo, Consolas, monospace" font-size="{SIZE}">',
    ]
    pen = Pen()
    for row, line in enumerate(lines):
        at, column = 0, 0
        top = MARGIN + row * LINE
        for found in [*ESCAPE.finditer(line), None]:
            text = line[at : found.start() if found else None]
            out.append(run(text, column, top, pen))
            column += len(text)
            if found:
                at = found.end()
                if found[1] is not None:
                    pen.take(found[1])
    out.append("</g></svg>\n")
    return "\n".join(part for part in out if part)


def run(text, column, top, pen):
    """Returns letters that look alike."""
    ink, ground = pen.look()
    parts = []
    x = MARGIN + column * CELL
    if ground != GROUND and text:
        parts.append(f'<rect x="{x:.1f}" y="{top}" width="{len(text) * CELL:.1f}" height="{LINE}" fill="{ground}"/>')
    shown = text.strip()
    if shown:
        x += (len(text) - len(text.lstrip())) * CELL
        more = ' font-weight="700"' if pen.bold else ""
        more += ' opacity="0.65"' if pen.dim else ""
        more += ' text-decoration="underline"' if pen.under else ""
        # The reader's letters have another width than ours, and columns must stand beneath each other.
        wide = f'textLength="{len(shown) * CELL:.1f}" lengthAdjust="spacingAndGlyphs"'
        parts.append(f'<text x="{x:.1f}" y="{top + 13.5}" fill="{ink}"{more} {wide}>{html.escape(shown).replace(" ", NO_BREAK)}</text>')
    return "".join(parts)
