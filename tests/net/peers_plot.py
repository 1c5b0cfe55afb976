"""Draws which share of probes has an error of more than so much: peers_plot.py ERRORS.json PLOT.svg

ERRORS.json has each program's errors in ns. Runs in the labs' environment, which has matplotlib.
"""

import json
import pathlib
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as pyplot  # noqa: E402

# As many points as the eye tells apart; the largest errors all have theirs.
POINTS, LARGEST = 120, 30
# A logarithm has no place for 0: the clocks' own step.
LEAST_US = 0.001


def curve(errors):
    """The errors in us, and which share of probes has that or more."""
    ordered = sorted(errors)
    count = len(ordered)
    step = max(1, count // POINTS)
    places = sorted({*range(0, count, step), *range(max(0, count - LARGEST), count)})
    return [max(ordered[at] / 1000, LEAST_US) for at in places], [(count - at) / count for at in places]


def main(source, target):
    # The same errors make the same file, with words as words.
    matplotlib.rcParams.update({"svg.hashsalt": "peers", "svg.fonttype": "none"})
    figure, axes = pyplot.subplots(figsize=(8.5, 5))
    for number, (name, errors) in enumerate(json.loads(pathlib.Path(source).read_text()).items()):
        axes.step(*curve(errors), where="post", label=name.replace("`", ""), linewidth=2 if number < 2 else 1.2)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(left=0.1)
    axes.set_xlabel("error of the reported round trip, us, or more")
    axes.set_ylabel("share of probes")
    axes.set_title("A UDP probe a millisecond: reported round trips against captures")
    axes.grid(True, which="major", linewidth=0.4)
    axes.legend(fontsize="small", loc="lower left")
    figure.tight_layout()
    figure.savefig(target, metadata={"Date": None})


main(*sys.argv[1:])
