"""A page of `latency-monitor report` in a browser: what its script lets a reader do with the plots.

A zoom shows a part of what was there, with the axes of that part: each label is where its value is. Pointing tells the
value under the cursor. The page asks nobody, and complains of nothing.
"""

import math
import re

from lab import expect, wait_until

# What a label says, in nanoseconds or in the axis's own unit.
UNITS = {"ns": 1, "µs": 1e3, "ms": 1e6, "s": 1e9}
# Labels are rounded; a place on the screen is not.
PIXELS = 8
# Plots of each kind that are zoomed.
EACH = 2
PLOTS = "[...document.querySelectorAll('svg[data-plot]')]"
# The labels of a plot that are to be seen: what they say, and where they are in units of the picture.
LABELS = """((svg) => [...svg.querySelectorAll('.zoomed text')].map((text) => (
  [text.textContent, Number(text.getAttribute('x')), Number(text.getAttribute('y')), text.getAttribute('text-anchor')]
)))({})"""
DOTS = """((svg) => [...svg.querySelectorAll('.inside circle:not(.spot)')].map((dot) => (
  [dot.cx.baseVal.value / svg.dataset.fine, dot.cy.baseVal.value / svg.dataset.fine]
)))({})"""


def check(lab, browser, page, peak_ms, name="report"):
    """Exercises the first plot over time, of the burst, and each plot's zoom."""
    # A page that looks at a daemon asks until it is left.
    browser.open("about:blank")
    wait_until(lambda: browser.evaluate("location.href") == "about:blank", "the page before to be left")
    browser.complaints.clear()
    browser.requests.clear()
    browser.open(page.as_uri())
    wait_until(lambda: browser.evaluate("document.readyState") == "complete", "the report to be there")
    kinds = browser.evaluate(f"{PLOTS}.map((svg) => svg.dataset.kind)")
    expect({"time", "percentiles", "heat"} <= set(kinds), f"not plots of every kind: {kinds}")
    hints = browser.evaluate("[...document.querySelectorAll('output')].filter((one) => one.textContent).length")
    expect(hints == len(kinds), "not each plot says what its reader may do")
    burst = kinds.index("time")
    check_hover(browser, burst, peak_ms)
    browser.picture(lab.folder / f"{name}-whole.png")
    check_drag(browser, burst)
    browser.picture(lab.folder / f"{name}-zoomed.png")
    chosen = [number for number, kind in enumerate(kinds) if kinds[:number].count(kind) < EACH]
    for number in chosen:
        check_keys(browser, number, kinds[number])
    browser.theme("dark")
    browser.picture(lab.folder / f"{name}-dark.png")
    expect(browser.requests == [page.as_uri()], f"the report asks for {browser.requests}")
    expect(not browser.complaints, f"the report complains: {browser.complaints}")
    lab.note(f"{page.name}: {len(chosen)} of {len(kinds)} plots zoomed")


def plot(number):
    return f"{PLOTS}[{number}]"


def numbers(browser, number, name):
    return [float(one) for one in browser.evaluate(f"{plot(number)}.dataset.{name}").split()]


def mouse(browser, number, x, y, kind="mouseMoved", **more):
    """Moves or presses at a place of the picture. The plot is scrolled to where a mouse can be."""
    place = f"((svg) => {{ const box = svg.getBoundingClientRect(); return [box.left, box.top, box.width / 1000]; }})({plot(number)})"
    left, top, scale = browser.evaluate(place)
    browser.ask("Input.dispatchMouseEvent", type=kind, x=left + x * scale, y=top + y * scale, **more)


def told(browser, number):
    return browser.evaluate(f"{plot(number)}.nextElementSibling.textContent")


def check_hover(browser, number, peak_ms):
    """Pointing at the highest dot tells its delay."""
    browser.evaluate(f"{plot(number)}.scrollIntoView({{ block: 'center' }})")
    x, y = min(browser.evaluate(DOTS.format(plot(number))), key=lambda dot: dot[1])
    mouse(browser, number, x, y)
    words = told(browser, number)
    found = re.search(r"(forward|reverse): ([\d.]+) (ms|s) over its least", words)
    expect(found, f"the highest dot is not told: {words}")
    high = float(found[2]) * UNITS[found[3]] / 1e6
    expect(high * 1.5 >= peak_ms, f"the highest dot is said to be at {high} ms, and the burst had {peak_ms}")
    mouse(browser, number, x, 340)
    below = told(browser, number)
    expect(below != words, "pointing elsewhere says the same")


def check_drag(browser, number):
    """A rectangle is what is shown then, each dot where its value is, under labels of that part."""
    before = browser.evaluate(DOTS.format(plot(number)))
    left, right, top, bottom = numbers(browser, number, "plot")
    x1, x2 = left + 0.4 * (right - left), left + 0.6 * (right - left)
    y1, y2 = top + 0.1 * (bottom - top), top + 0.7 * (bottom - top)
    mouse(browser, number, x1, y1, "mousePressed", button="left", clickCount=1)
    mouse(browser, number, x2, y2, buttons=1)
    mouse(browser, number, x2, y2, "mouseReleased", button="left", clickCount=1)
    wait_until(lambda: browser.evaluate(LABELS.format(plot(number))), "the axes of the zoom")
    after = browser.evaluate(DOTS.format(plot(number)))
    for (ax, ay), (bx, by) in zip(before, after):
        wanted = (left + (ax - x1) * (right - left) / (x2 - x1), top + (ay - y1) * (bottom - top) / (y2 - y1))
        # Pixels of the screen are whole ones, and the zoom is fivefold.
        expect(math.dist(wanted, (bx, by)) < PIXELS, f"a dot at {(ax, ay)} is moved to {(bx, by)}, not {wanted}")
    check_labels(browser, number, "time")
    # A second one goes deeper.
    shown = numbers(browser, number, "shown")
    mouse(browser, number, x1, y1, "mousePressed", button="left", clickCount=1)
    mouse(browser, number, x2, y1 + 2, buttons=1)
    mouse(browser, number, x2, y1 + 2, "mouseReleased", button="left", clickCount=1)
    wait_until(lambda: numbers(browser, number, "shown") != shown, "the second zoom")
    deeper = numbers(browser, number, "shown")
    expect(deeper[1] - deeper[0] < 0.3 * (shown[1] - shown[0]), f"from {shown} to {deeper}")
    expect(deeper[2:] == shown[2:], f"a flat rectangle is of a time alone: from {shown} to {deeper}")
    check_labels(browser, number, "time")


def check_labels(browser, number, kind):
    """Each label stands where its value is in the range that is shown."""
    left, right, top, bottom = numbers(browser, number, "plot")
    x1, x2, y1, y2 = numbers(browser, number, "shown")
    labels = browser.evaluate(LABELS.format(plot(number)))
    expect(len({text for text, *_ in labels}) == len(labels), f"labels say the same: {labels}")
    across = [(text, x) for text, x, _, anchor in labels if anchor == "middle"]
    up = [(text, y - 5) for text, _, y, anchor in labels if anchor == "end"]
    expect(len(across) >= 2 and len(up) >= 2, f"too few labels on a plot of kind {kind}: {labels}")
    for text, x in across:
        value = float(text.removesuffix(" %"))
        if text.endswith("%"):
            expect(value < 100, f"a percentile is {text}")
            value = -math.log10(1 - value / 100)
        wanted = left + (value - x1) / (x2 - x1) * (right - left)
        expect(abs(wanted - x) < PIXELS and left - 1 <= x <= right + 1, f"{text} is at {x}, not {wanted}, of {kind}")
    for text, y in up:
        value, _, unit = text.partition(" ")
        value = float(value) * UNITS.get(unit, 1)
        if kind == "heat":
            value = 10 * math.log10(value)
        wanted = bottom - (value - y1) / (y2 - y1) * (bottom - top)
        expect(abs(wanted - y) < PIXELS and top - 1 <= y <= bottom + 1, f"{text} is at {y}, not {wanted}, of {kind}")


def check_keys(browser, number, kind):
    """Plus zooms to the cursor, arrows move it, 0 shows all again."""
    browser.evaluate(f"{plot(number)}.scrollIntoView({{ block: 'center' }}); {plot(number)}.focus()")
    browser.press("0")
    wait_until(lambda: not browser.evaluate(LABELS.format(plot(number))), "the whole plot")
    whole = browser.evaluate(f"[...{plot(number)}.querySelectorAll('.axes text')].map((one) => one.textContent.trim())")
    expect(whole and not browser.evaluate(f"{plot(number)}.querySelector('.axes').hasAttribute('hidden')"), "no axes")
    first = told(browser, number)
    browser.press("ArrowLeft")
    wait_until(lambda: told(browser, number) != first, "the cursor to move")
    for times in range(1, 5):
        browser.press("+")
        size = 1.5**times
        before = numbers(browser, number, "x")
        is_zoomed = lambda: abs(
            (before[1] - before[0]) / (numbers(browser, number, "shown")[1] - numbers(browser, number, "shown")[0]) - size
        ) < 0.01
        wait_until(is_zoomed, f"zoom {size:.1f} of a plot of kind {kind}")
        check_labels(browser, number, kind)
    browser.press("Escape")
    wait_until(lambda: not browser.evaluate(LABELS.format(plot(number))), "Escape to show all")
