'use strict';
// Canvases: the matrix of all rows, and the heatmaps of one.

// Points of cividis: from dark blue to yellow, of even steps for all kinds of colour vision.
const SCALE = [[0, 32, 76], [0, 67, 106], [87, 93, 109], [124, 123, 120], [166, 157, 117], [211, 193, 100], [255, 233, 69]];
const LOST = '#ff6a13';
const BURST = '#56b4e9';

function colour(style) {
  return getComputedStyle(document.documentElement).getPropertyValue(style).trim();
}

function isLight() {
  return document.documentElement.dataset.theme === 'light';
}

// Returns the colour of a share between 0 and 1. On a light ground much is dark.
function heatColour(part) {
  const at = Math.min(Math.max(isLight() ? 1 - part : part, 0), 1) * (SCALE.length - 1);
  const low = Math.min(Math.floor(at), SCALE.length - 2);
  const mixed = SCALE[low].map((one, place) => Math.round(one + (SCALE[low + 1][place] - one) * (at - low)));
  return `rgb(${mixed.join(',')})`;
}

// Fits a canvas to the screen's own points, and returns its context and size.
function begin(canvas, width, height) {
  const dots = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * dots) || canvas.height !== Math.round(height * dots)) {
    canvas.width = Math.round(width * dots);
    canvas.height = Math.round(height * dots);
    canvas.style.height = `${height}px`;
  }
  const context = canvas.getContext('2d');
  context.setTransform(dots, 0, 0, dots, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

function levelColours() {
  return { none: colour('--none'), 0: colour('--level0'), 1: colour('--level1'), 2: colour('--level2'), 3: colour('--level3') };
}

// The worst level of a direction; `null`: nothing is known of it.
function directionLevel(row, direction) {
  const cells = [`delay-${direction}`, `loss-${direction}`, 'delay-rtt', 'loss-lost'];
  const known = cells.slice(0, 2).map((cell) => levelOf(row, cell)).filter((level) => level !== null);
  // Where directions are not told, the round trip stands for both.
  const any = known.length ? known : cells.slice(2).map((cell) => levelOf(row, cell)).filter((level) => level !== null);
  return any.length ? Math.max(...any) : null;
}

// Draws a tile a row, its upper left half forward and its lower right half reverse. Returns where each tile is.
function drawTiles(canvas, rows, selected) {
  const width = canvas.clientWidth || 400;
  const size = Math.max(8, Math.min(26, Math.floor(Math.sqrt((width * 190) / Math.max(rows.length, 1)))));
  const across = Math.max(1, Math.floor(width / size));
  const height = Math.max(size, Math.ceil(rows.length / across) * size);
  const context = begin(canvas, width, height);
  const colours = levelColours();
  const gap = size > 10 ? 2 : 1;
  rows.forEach((row, at) => {
    const [x, y] = [(at % across) * size, Math.floor(at / across) * size];
    const side = size - gap;
    const half = (level, points) => {
      context.fillStyle = colours[level === null ? 'none' : level];
      context.beginPath();
      points.forEach(([dx, dy], place) => context[place ? 'lineTo' : 'moveTo'](x + dx * side, y + dy * side));
      context.fill();
    };
    half(directionLevel(row, 'forward'), [[0, 0], [1, 0], [0, 1]]);
    half(directionLevel(row, 'reverse'), [[1, 0], [1, 1], [0, 1]]);
    if (row.key === selected) {
      context.strokeStyle = colour('--text');
      context.lineWidth = 2;
      context.strokeRect(x + 1, y + 1, side - 2, side - 2);
    }
  });
  return (x, y) => rows[Math.floor(y / size) * across + Math.floor(x / size)];
}

// Draws who sends to whom: a line for each source, a column for each target.
function drawFromTo(canvas, rows, selected) {
  const names = (of) => [...new Set(rows.map((row) => row.pair[of]))].sort();
  const [sources, targets] = [names('source'), names('target')];
  const width = canvas.clientWidth || 400;
  const left = 110;
  const top = 78;
  const size = Math.max(4, Math.min(26, Math.floor((width - left) / Math.max(targets.length, 1))));
  const tall = Math.max(4, Math.min(26, Math.floor(320 / Math.max(sources.length, 1))));
  const context = begin(canvas, width, top + sources.length * tall + 4);
  const colours = levelColours();
  const cells = new Map();
  for (const row of rows) {
    const key = `${sources.indexOf(row.pair.source)}/${targets.indexOf(row.pair.target)}`;
    if (!cells.has(key) || worst(row) > worst(cells.get(key))) cells.set(key, row);
  }
  context.font = '11px system-ui, sans-serif';
  context.fillStyle = colour('--soft');
  const label = (text) => (shown(text).length > 16 ? `${shown(text).slice(0, 15)}…` : shown(text));
  if (tall >= 10) sources.forEach((name, at) => context.fillText(label(name), 0, top + at * tall + tall - 4, left - 6));
  if (size >= 10) {
    targets.forEach((name, at) => {
      context.save();
      context.translate(left + at * size + size / 2 + 3, top - 4);
      context.rotate(-Math.PI / 3);
      context.fillText(label(name), 0, 0, 86);
      context.restore();
    });
  }
  sources.forEach((_, down) => targets.forEach((__, across) => {
    const row = cells.get(`${down}/${across}`);
    const known = row && Object.keys(row.levels).length > 0;
    context.fillStyle = row ? colours[known ? worst(row) : 'none'] : 'transparent';
    context.fillRect(left + across * size, top + down * tall, size - 1, tall - 1);
    if (row && row.key === selected) {
      context.strokeStyle = colour('--text');
      context.strokeRect(left + across * size + 0.5, top + down * tall + 0.5, size - 2, tall - 2);
    }
  }));
  return (x, y) => cells.get(`${Math.floor((y - top) / tall)}/${Math.floor((x - left) / size)}`);
}

const STRIP = 9;
const LEFT = 62;

// Where the columns of a plot are.
function layout(width, past) {
  const room = width - LEFT - 6;
  const columns = Math.max(1, Math.min(past.end_ns.length, Math.floor(room / 3)));
  const first = past.end_ns.length - columns;
  const wide = Math.min(14, room / Math.max(columns, Math.min(60, PAST_MAX)));
  const x = (at) => width - 6 - (past.end_ns.length - at) * wide;
  return { first, columns, wide, x, at: (pixel) => past.end_ns.length - Math.ceil((width - 6 - pixel) / wide) };
}

// Returns the bins that a plot has: those with values, and one more at each end.
function binsOf(past, name, first) {
  let [low, high] = [Infinity, -Infinity];
  (past[name] || []).slice(first).forEach((heat) => {
    for (let place = 0; heat && place < heat.length; place += 2) {
      low = Math.min(low, heat[place]);
      high = Math.max(high, heat[place]);
    }
  });
  if (low > high) return null;
  return [Math.max(0, Math.min(low, high - 6) - 1), Math.min(model.edges.length - 1, high + 1)];
}

// Draws one heatmap: losses above, bursts below. `cursor` is the column that the reader looks at.
function drawHeat(canvas, past, what, bursts, cursor) {
  const width = canvas.clientWidth || 600;
  // The three of them fill a tall screen.
  const tallest = Math.max(165, Math.min(360, (window.innerHeight - 460) / 2.8));
  const height = Math.round(what === 'rtt' ? 0.8 * tallest : tallest);
  const context = begin(canvas, width, height);
  const [text, soft, line, ground] = ['--text', '--soft', '--line', '--ground'].map(colour);
  const { first, wide, x, columns } = layout(width, past);
  const [top, bottom] = [STRIP + 3, height - STRIP - 17];
  context.fillStyle = ground;
  context.fillRect(LEFT, top, width - LEFT - 6, bottom - top);
  context.font = '11px system-ui, sans-serif';
  const bins = binsOf(past, `${what}_heat`, first);
  if (!bins) {
    context.fillStyle = soft;
    context.fillText('nothing is known of this direction: it takes the native wire, and replies', LEFT + 10, (top + bottom) / 2);
  } else {
    const [low, high] = bins;
    const tall = (bottom - top) / (high - low + 1);
    const y = (bin) => bottom - (bin - low + 1) * tall;
    const place = (ns) => {
      const above = model.edges.findIndex((edge) => edge > ns);
      const bin = above < 0 ? model.edges.length - 1 : above - 1;
      const [from, to] = [model.edges[bin], model.edges[bin + 1] || model.edges[bin] * 1.414];
      return y(bin) + tall * (1 - (ns - from) / (to - from));
    };
    for (let at = first; at < past.end_ns.length; at += 1) {
      const heat = past[`${what}_heat`][at];
      if (!heat) continue;
      let total = 0;
      for (let part = 1; part < heat.length; part += 2) total += heat[part];
      for (let part = 0; part < heat.length; part += 2) {
        // By the logarithm: a single probe of many is seen, too.
        context.fillStyle = heatColour(0.18 + (0.82 * Math.log1p(heat[part + 1])) / Math.log1p(total));
        context.fillRect(x(at), y(heat[part]), Math.max(1, wide - 0.6), Math.max(1, tall - 0.6));
      }
    }
    context.fillStyle = soft;
    context.textAlign = 'right';
    for (let bin = low; bin <= high; bin += 1) {
      if (model.edges[bin] >= 1000 && y(bin) + tall < bottom - 4 && (bin - low) % Math.max(1, Math.ceil(16 / tall)) === 0) {
        context.fillText(duration(model.edges[bin]), LEFT - 6, y(bin) + tall + 3);
        context.fillRect(LEFT - 4, y(bin) + tall, 4, 1);
      }
    }
    context.textAlign = 'left';
    const p99 = past[`${what}_p99_ns`] || [];
    context.strokeStyle = text;
    context.lineWidth = 1;
    context.beginPath();
    let pen = false;
    for (let at = first; at < past.end_ns.length; at += 1) {
      if (p99[at] === null || p99[at] === undefined) pen = false;
      else {
        context[pen ? 'lineTo' : 'moveTo'](x(at) + wide / 2, Math.max(top, Math.min(bottom, place(p99[at]))));
        pen = true;
      }
    }
    context.stroke();
  }
  const lost = past[what === 'rtt' ? 'lost' : `lost_${what}`] || [];
  context.fillStyle = soft;
  context.textAlign = 'right';
  context.fillText('lost', LEFT - 6, STRIP);
  context.fillText('bursts', LEFT - 6, bottom + STRIP + 1);
  context.textAlign = 'left';
  context.strokeStyle = line;
  context.strokeRect(LEFT + 0.5, 0.5, width - LEFT - 7, STRIP);
  for (let at = first; at < past.end_ns.length; at += 1) {
    if (!lost[at]) continue;
    const part = lost[at] / Math.max((past.sent || [])[at] || 0, lost[at]);
    context.fillStyle = LOST;
    const deep = Math.max(4, Math.min(1, 0.4 + 3 * part) * STRIP);
    context.fillRect(x(at), 1 + STRIP - deep, Math.max(2, wide - 0.6), deep);
  }
  const marks = drawBursts(context, past, bursts, { first, wide, x, bottom, width });
  drawTimes(context, past, { first, wide, x, bottom, height, width, soft, line });
  if (cursor !== null && cursor >= first && cursor < past.end_ns.length) {
    context.strokeStyle = text;
    context.strokeRect(x(cursor) - 0.5, 0.5, wide + 1, bottom + STRIP);
  }
  canvas.dataset.columns = columns;
  return marks;
}

// Returns the column that an instant falls into.
function columnOf(past, ns) {
  let at = past.end_ns.findIndex((end) => end >= ns);
  if (at < 0) at = past.end_ns.length;
  return at;
}

function drawBursts(context, past, bursts, { first, wide, x, bottom, width }) {
  const marks = [];
  for (const one of bursts) {
    const at = columnOf(past, one.at);
    if (at < first || (at === 0 && one.at < past.end_ns[0] - 2 * model.intervalNs)) continue;
    const left = Math.min(x(at) + wide / 2, width - 10);
    const long = Math.max(0, ((one.event.duration || 0) / model.intervalNs) * wide);
    context.fillStyle = one.event.event === 'burst' ? BURST : LOST;
    context.beginPath();
    context.moveTo(left - 5, bottom + STRIP + 2);
    context.lineTo(left + 5, bottom + STRIP + 2);
    context.lineTo(left, bottom + 2);
    context.fill();
    if (long > 5) context.fillRect(left, bottom + STRIP - 1, long, 3);
    marks.push({ from: left - 6, to: left + Math.max(6, long), one });
  }
  return marks;
}

function drawTimes(context, past, { first, wide, x, bottom, height, width, soft, line }) {
  context.fillStyle = soft;
  const everyNs = [5, 10, 30, 60, 120, 300, 600].map((s) => s * 1e9).find((ns) => (ns / model.intervalNs) * wide > 76) || 9e11;
  let right = LEFT;
  for (let at = Math.max(first, 1); at < past.end_ns.length; at += 1) {
    const [before, end] = [past.end_ns[at - 1], past.end_ns[at]];
    if (Math.floor(before / everyNs) === Math.floor(end / everyNs) || x(at) < right || x(at) > width - 54) continue;
    context.fillText(localTime(Math.floor(end / everyNs) * everyNs), x(at), height - 2);
    context.fillStyle = line;
    context.fillRect(x(at), bottom, 1, STRIP + 4);
    context.fillStyle = soft;
    right = x(at) + 70;
  }
}
