// What a reader may do with the plots of a report: point, zoom, move, by mouse and by keyboard.
//
// The plots are there without this script. It asks nothing of anybody: the page's policy lets it run and load nothing.
// It writes text only as text. Each plot says in its attributes where its axes are (data-plot, in units of its view
// box), what they mean (data-x, data-y: the values at both ends; data-kind), and of plots over time when 0 is
// (data-origin, ms since 1970) and how long a unit is (data-unit, ms). What is beside the axes is a group, and what is
// between them another one, in finer units (data-fine to one of the view box). A zoom places the second anew, so dots
// and lines keep their size, and draws the axes of the range that is then shown.
"use strict";

(() => {
  const ZOOM_MAX = 200;
  // What a hand moves while it means a click, in units of a view box.
  const DRAG_LEAST = 10;
  const UNITS = [["s", 1e9], ["ms", 1e6], ["µs", 1e3], ["ns", 1]];

  const duration = (ns) => {
    const [unit, size] = UNITS.find(([, size]) => Math.abs(ns) >= size) || UNITS[3];
    return `${Number((ns / size).toPrecision(3))} ${unit}`;
  };

  // Round steps: 1, 2 or 5 of a power of ten, so that there are about so many between two values.
  const stepOf = (from, to, many) => {
    const least = (to - from) / many;
    const power = 10 ** Math.floor(Math.log10(least));
    return [1, 2, 5, 10].map((one) => one * power).find((one) => one >= least * 0.999) || 10 * power;
  };
  const digitsOf = (step) => Math.min(9, Math.max(0, -Math.floor(Math.log10(step) + 1e-9)));
  const ticks = (from, to, many) => {
    const step = stepOf(from, to, many);
    const first = Math.ceil(from / step - 1e-9);
    const count = Math.max(0, Math.floor(to / step + 1e-9) - first + 1);
    return { step, values: [...Array(Math.min(count, 40)).keys()].map((at) => (first + at) * step) };
  };
  // As many digits as tell one step from the next.
  const durations = (from, to, many) => {
    const { step, values } = ticks(from, to, many);
    const largest = Math.max(Math.abs(from), Math.abs(to));
    const [unit, size] = UNITS.find(([, one]) => largest >= one) || UNITS[3];
    return values.map((value) => [value, value === 0 ? "0" : `${(value / size).toFixed(digitsOf(step / size))} ${unit}`]);
  };
  const percent = (decades) => {
    const part = 100 * (1 - 10 ** -decades);
    return `${Number(part.toFixed(Math.max(0, Math.ceil(decades) - 1) + 1))} %`;
  };

  // Places and labels of an axis between two of its values.
  const AXES = {
    x: {
      time: (from, to) => {
        const { step, values } = ticks(from, to, 11);
        return values.map((value) => [value, value.toFixed(digitsOf(step))]);
      },
      percentiles: (from, to) => {
        const decades = [...Array(21).keys()].filter((one) => one >= from && one <= to);
        // 90 %, 95 %, 98 %, 99 % and so on.
        const parts = [0, Math.log10(2), Math.log10(5)];
        const between = [...Array(21).keys()].flatMap((one) => parts.map((part) => one + part)).filter((one) => one >= from && one <= to);
        const chosen = decades.length > 3 ? decades : between.length > 2 ? between : ticks(from, to, 6).values;
        return chosen.map((value) => [value, percent(value)]);
      },
    },
    y: {
      time: (from, to) => durations(Math.max(from, 0), to, 9).filter(([value]) => value >= from),
      percentiles: (from, to) => durations(from, to, 9),
      // Rows are tenths of a power of ten.
      heat: (from, to) => {
        const round = [...Array(12).keys()].flatMap((power) => [1, 2, 5].map((one) => one * 10 ** power));
        const place = (ns) => 10 * Math.log10(ns);
        const shown = round.filter((ns) => place(ns) >= from && place(ns) <= to);
        if (shown.length >= 3) {
          return shown.map((ns) => [place(ns), duration(ns)]);
        }
        return durations(10 ** (from / 10), 10 ** (to / 10), 6).filter(([ns]) => ns > 0).map(([ns, label]) => [place(ns), label]);
      },
    },
  };
  AXES.x.heat = AXES.x.time;

  // Times: in the reader's zone, and in UTC behind it where that is another one. Digits below the millisecond are those of the report.
  const clock = new Intl.DateTimeFormat(undefined, {
    year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit",
    fractionalSecondDigits: 3, hourCycle: "h23", timeZoneName: "short",
  });
  const zones = (date, utc) => (date.getTimezoneOffset() === 0 ? utc : `${clock.format(date)} (${utc})`);
  for (const time of document.querySelectorAll("time[datetime]")) {
    const date = new Date(time.dateTime.replace(/(\.\d{3})\d*/, "$1"));
    if (!Number.isNaN(date.getTime())) {
      time.textContent = zones(date, time.dateTime);
    }
  }

  const numbers = (text) => text.split(" ").map(Number);

  const y = (kind, value) => (kind === "heat" ? duration(10 ** (value / 10)) : duration(value));
  const x = (svg, value) => {
    if (svg.dataset.kind === "percentiles") {
      return percent(value);
    }
    const origin = Number(svg.dataset.origin);
    const date = new Date(origin + value * Number(svg.dataset.unit));
    return zones(date, date.toISOString());
  };

  for (const svg of document.querySelectorAll("svg[data-plot]")) {
    const [left, right, top, bottom] = numbers(svg.dataset.plot);
    const [xFrom, xTo] = numbers(svg.dataset.x);
    const [yFrom, yTo] = numbers(svg.dataset.y);
    const fine = Number(svg.dataset.fine);
    const whole = [left, top, right - left, bottom - top];
    let view = [...whole];
    let cursor = [(left + right) / 2, (top + bottom) / 2];
    const output = document.createElement("output");
    output.textContent = "Point, drag or use the keys: arrows, + and -, 0 for all.";
    svg.after(output);
    svg.tabIndex = 0;

    const SVG = "http://www.w3.org/2000/svg";
    const make = (name, attributes, parent = svg) => {
      const made = parent.appendChild(document.createElementNS(SVG, name));
      for (const [key, value] of Object.entries(attributes)) {
        made.setAttribute(key, value);
      }
      return made;
    };
    const inside = svg.querySelector(".inside");
    const axes = svg.querySelector(".axes");
    const zoomed = make("g", { class: "zoomed" });
    svg.insertBefore(zoomed, axes);
    // What is outside of the range that is shown is not to be seen beside the axes.
    const frame = make("svg", { x: left, y: top, width: whole[2], height: whole[3], viewBox: whole.join(" ") });
    svg.insertBefore(frame, inside);
    frame.append(inside);
    const cross = make("path", { class: "cross" });
    const chosen = make("rect", { class: "chosen" });

    // From a place of the picture before any zoom to where it is now, and back.
    const moved = (at, axis) => whole[axis] + ((at - view[axis]) / view[axis + 2]) * whole[axis + 2];
    const back = (at, axis) => view[axis] + ((at - whole[axis]) / whole[axis + 2]) * view[axis + 2];
    const put = (at, axis) => fine * moved(at / fine, axis);
    // The places that each element was drawn with, and how it gets others.
    const MOVES = {
      circle: (element, [cx, cy]) => [["cx", put(cx, 0)], ["cy", put(cy, 1)]],
      rect: (element, [ax, ay, width, height]) => {
        const [x1, y1, x2, y2] = [put(ax, 0), put(ay, 1), put(ax + width, 0), put(ay + height, 1)];
        return [["x", x1], ["y", y1], ["width", x2 - x1], ["height", y2 - y1]];
      },
      // An arm of a cross keeps its length.
      line: (element, [x1, y1, x2, y2]) => {
        const [dx, dy] = [put((x1 + x2) / 2, 0) - (x1 + x2) / 2, put((y1 + y2) / 2, 1) - (y1 + y2) / 2];
        return [["x1", x1 + dx], ["y1", y1 + dy], ["x2", x2 + dx], ["y2", y2 + dy]];
      },
      polyline: (element, points) => [["points", points.map((at, place) => put(at, place % 2)).join(" ")]],
    };
    const NAMES = { circle: ["cx", "cy"], rect: ["x", "y", "width", "height"], line: ["x1", "y1", "x2", "y2"], polyline: ["points"] };
    let drawn = null;
    const place = () => {
      drawn = drawn || [...inside.children].filter((one) => MOVES[one.localName]).map((one) => [
        one, NAMES[one.localName].flatMap((name) => one.getAttribute(name).trim().split(/[\s,]+/).map(Number)),
      ]);
      for (const [element, places] of drawn) {
        for (const [name, value] of MOVES[element.localName](element, places)) {
          element.setAttribute(name, value);
        }
      }
    };

    const valueX = (at) => xFrom + ((at - left) / (right - left)) * (xTo - xFrom);
    const valueY = (at) => yFrom + ((bottom - at) / (bottom - top)) * (yTo - yFrom);
    // Draws the axes of the range that is shown.
    const drawAxes = () => {
      const isWhole = view.every((one, at) => one === whole[at]);
      axes.toggleAttribute("hidden", !isWhole);
      zoomed.replaceChildren();
      svg.dataset.shown = [valueX(view[0]), valueX(view[0] + view[2]), valueY(view[1] + view[3]), valueY(view[1])].join(" ");
      if (isWhole) {
        return;
      }
      const [x1, x2, y1, y2] = numbers(svg.dataset.shown);
      for (const [value, label] of AXES.x[svg.dataset.kind](x1, x2)) {
        const at = left + ((value - x1) / (x2 - x1)) * (right - left);
        make("path", { d: `M${at} ${top}V${bottom}`, class: "grid" }, zoomed);
        make("text", { x: at, y: bottom + 18, "text-anchor": "middle", "font-size": 14 }, zoomed).textContent = label;
      }
      for (const [value, label] of AXES.y[svg.dataset.kind](y1, y2)) {
        const at = bottom - ((value - y1) / (y2 - y1)) * (bottom - top);
        make("path", { d: `M${left} ${at}H${right}`, class: "grid" }, zoomed);
        make("text", { x: left - 8, y: at + 5, "text-anchor": "end", "font-size": 14 }, zoomed).textContent = label;
      }
      make("path", { d: `M${left} ${top}V${bottom}H${right}`, class: "edge" }, zoomed);
    };
    let isWaiting = false;
    const show = () => {
      for (const axis of [0, 1]) {
        view[axis + 2] = Math.min(view[axis + 2], whole[axis + 2]);
        const last = whole[axis] + whole[axis + 2] - view[axis + 2];
        view[axis] = Math.min(Math.max(view[axis], whole[axis]), last);
      }
      // A held key or a wheel asks more often than there are frames.
      if (!isWaiting) {
        isWaiting = true;
        requestAnimationFrame(() => {
          isWaiting = false;
          place();
          drawAxes();
          point(cursor);
        });
      }
    };
    // The cursor is a place of the picture before any zoom.
    const point = ([px, py]) => {
      cursor = [Math.min(Math.max(px, left), right), Math.min(Math.max(py, top), bottom)];
      const [cx, cy] = cursor.map(moved);
      const isShown = cx >= left && cx <= right && cy >= top && cy <= bottom;
      cross.setAttribute("d", isShown ? `M${cx} ${top}V${bottom}M${left} ${cy}H${right}` : "");
      output.textContent = `${x(svg, valueX(cursor[0]))}, ${y(svg.dataset.kind, valueY(cursor[1]))}`;
      // What is drawn there says more than the axes do.
      let nearest = null;
      for (const spot of svg.querySelectorAll(".spot")) {
        const far = Math.hypot(spot.cx.baseVal.value / fine - cx, spot.cy.baseVal.value / fine - cy);
        if (far < 14 && (nearest === null || far < nearest[0])) {
          nearest = [far, spot];
        }
      }
      if (nearest !== null) {
        output.textContent += ` · ${nearest[1].textContent}`;
      }
    };
    const zoom = (factor, at) => {
      for (const axis of [0, 1]) {
        const size = Math.max(view[axis + 2] / factor, whole[axis + 2] / ZOOM_MAX);
        view[axis] = at[axis] - ((at[axis] - view[axis]) * size) / view[axis + 2];
        view[axis + 2] = size;
      }
      show();
    };
    // Where in the picture as it is now, and where before any zoom.
    const seen = (event) => {
      const box = svg.getBoundingClientRect();
      const [, , width, height] = numbers(svg.getAttribute("viewBox"));
      return [((event.clientX - box.left) / box.width) * width, ((event.clientY - box.top) / box.height) * height];
    };
    const pointed = (event) => seen(event).map(back);

    let begin = null;
    svg.addEventListener("pointerdown", (event) => {
      begin = seen(event);
      svg.setPointerCapture(event.pointerId);
    });
    svg.addEventListener("pointermove", (event) => {
      point(pointed(event));
      if (begin !== null) {
        const at = seen(event);
        chosen.setAttribute("x", Math.min(begin[0], at[0]));
        chosen.setAttribute("y", Math.min(begin[1], at[1]));
        chosen.setAttribute("width", Math.abs(at[0] - begin[0]));
        chosen.setAttribute("height", Math.abs(at[1] - begin[1]));
      }
    });
    svg.addEventListener("pointerup", (event) => {
      const end = seen(event);
      const sizes = [0, 1].map((axis) => Math.abs(end[axis] - begin?.[axis]));
      if (begin !== null && Math.max(...sizes) > DRAG_LEAST) {
        const [from, to] = [begin, end].map((at) => at.map(back));
        for (const axis of [0, 1]) {
          // A narrow one chooses a time, or a range of delays, alone.
          if (sizes[axis] > DRAG_LEAST) {
            view[axis] = Math.min(from[axis], to[axis]);
            view[axis + 2] = Math.max(Math.abs(to[axis] - from[axis]), whole[axis + 2] / ZOOM_MAX);
          }
        }
        show();
      }
      begin = null;
      chosen.setAttribute("width", 0);
    });
    svg.addEventListener("pointercancel", () => {
      begin = null;
      chosen.setAttribute("width", 0);
    });
    // The page itself scrolls unless a key says that the plot is meant.
    svg.addEventListener("wheel", (event) => {
      if (event.ctrlKey || event.shiftKey) {
        event.preventDefault();
        zoom(event.deltaY + event.deltaX < 0 ? 1.3 : 1 / 1.3, pointed(event));
      }
    }, { passive: false });
    const all = () => {
      view = [...whole];
      show();
    };
    svg.addEventListener("dblclick", all);
    svg.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey) {
        return;
      }
      const part = event.shiftKey ? 10 : 100;
      const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
      const move = moves[event.key];
      if (move) {
        cursor = cursor.map((at, axis) => at + (move[axis] * view[axis + 2]) / part);
        point(cursor);
        // The view follows the cursor.
        for (const axis of [0, 1]) {
          if (cursor[axis] < view[axis] || cursor[axis] > view[axis] + view[axis + 2]) {
            view[axis] = cursor[axis] - view[axis + 2] / 2;
          }
        }
        show();
      } else if (event.key === "+" || event.key === "=") {
        zoom(1.5, cursor);
      } else if (event.key === "-") {
        zoom(1 / 1.5, cursor);
      } else if (event.key === "0" || event.key === "Escape") {
        all();
      } else {
        return;
      }
      event.preventDefault();
    });
    drawAxes();
  }
})();
