"""Draws the share of probes beyond each error: peers_plot.py ERRORS.json PLOT.svg

ERRORS.json has each program's errors in ns. Runs in the labs' environment, which has matplotlib.
"""

import io
import json
import pathlib
import re
import sys
import textwrap

# The eye tells apart about so many points of a curve. Each of the largest errors has a point of its own.
POINTS, LARGEST = 120, 30
# matplotlib has so many colours. Further curves take them again, with another line.
COLOURS = 10
# A logarithmic axis has no place for 0: this is the clocks' resolution.
LEAST_US = 0.001
LINE_MAX = 118


def curve(errors):
    """Returns errors in us, and the share of probes that has each of them or more."""
    ordered = sorted(errors)
    count = len(ordered)
    step = max(1, count // POINTS)
    places = sorted({*range(0, count, step), *range(max(0, count - LARGEST), count)})
    return [max(ordered[at] / 1000, LEAST_US) for at in places], [(count - at) / count for at in places]


def small(svg):
    """Makes a drawing of matplotlib smaller: tenths of a point, steps along a line joined, a line for each group."""

    def path(match):
        if set(re.findall("[A-Za-z]", match[1])) - set("MLz"):
            return match[0]
        steps = re.findall(r"([MLz])\s*([-0-9.]*)\s*([-0-9.]*)", match[1])
        points = [(word, *(float(number) for number in place if number)) for word, *place in steps]
        kept = []
        for word, *place in points:
            place = [round(number, 1) for number in place]
            # The middle one of three points on a horizontal or vertical line adds nothing.
            if word == "L" and len(kept) > 1 and kept[-1][0] == "L":
                (_, one), (_, two) = kept[-2:]
                if any(one[axis] == two[axis] == place[axis] for axis in (0, 1)):
                    kept.pop()
            if not kept or place != kept[-1][1]:
                kept.append((word, place))
        words = " ".join(" ".join([word, *(f"{number:g}" for number in place)]) for word, place in kept)
        return 'd="' + "\n".join(textwrap.wrap(words, LINE_MAX)) + '"'

    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bd="([^"]*)"', path, svg)
    return re.sub(r">\s+(?=<(?!g id=))", ">", svg)


def main(source, target):
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as pyplot

    # The same errors make the same file, with text as text.
    matplotlib.rcParams.update({"svg.hashsalt": "peers", "svg.fonttype": "none"})
    figure, axes = pyplot.subplots(figsize=(8.5, 5))
    for number, (name, errors) in enumerate(json.loads(pathlib.Path(source).read_text()).items()):
        line = "-" if number < COLOURS else "--"
        width = 2 if number < 2 else 1.2
        axes.step(*curve(errors), where="post", label=name.replace("`", ""), linewidth=width, linestyle=line)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(left=0.1)
    axes.set_xlabel("error of the reported round trip, us, or more")
    axes.set_ylabel("share of probes")
    axes.set_title("A probe a millisecond: reported round trips against captures")
    axes.grid(True, which="major", linewidth=0.4)
    axes.legend(fontsize="small", loc="lower left")
    figure.tight_layout()
    drawing = io.StringIO()
    figure.savefig(drawing, format="svg", metadata={"Date": None})
    pathlib.Path(target).write_text(small(drawing.getvalue()))


if __name__ == "__main__":
    main(*sys.argv[1:])
