'use strict';
// What is known: fed by /api/v1/live and /api/v1/past, changed nowhere else.

const PAST_MAX = 600;
const USUAL_LEAST = 10;
const HOLD_MS = 15000;
const EVENTS_MAX = 512;
const FLOOR_NS = 20000;
const DELAYS = ['rtt', 'forward', 'reverse'];
const LOSSES = { lost: 'lost', forward: 'lost_forward', reverse: 'lost_reverse' };

const model = {
  source: '', intervalNs: 0, edges: [], pairs: new Map(), rows: new Map(), flows: [], host: {}, deliveries: [],
  clocks: new Map(), events: [], paths: new Map(), endNs: 0, updates: 0,
};

function rowKey(pair, flow) {
  return `${pair}/${flow}`;
}

function addPair({ pair, source, target, tags }) {
  model.pairs.set(pair, { pair, source, target, tags, isOwn: source === model.source });
}

function rowOf(pair, flow) {
  const key = rowKey(pair, flow);
  let row = model.rows.get(key);
  if (!row && model.pairs.has(pair)) {
    row = {
      key, pair: model.pairs.get(pair), flow, now: {}, endNs: 0, turn: model.rows.size,
      past: { sent: [], lost: [], rtt: [], forward: [], reverse: [] }, usual: {}, levels: {},
    };
    model.rows.set(key, row);
  }
  return row;
}

// Appends to a list that has an end.
function keep(list, value) {
  list.push(value);
  if (list.length > PAST_MAX) list.splice(0, list.length - PAST_MAX);
}

// What is usual for a row: the p99 that 19 of 20 intervals stay under, and the share of probes that is lost.
function learn(row) {
  for (const what of DELAYS) {
    const known = row.past[what].filter((ns) => ns !== null).sort((a, b) => a - b);
    row.usual[what] = known.length < USUAL_LEAST ? null : known[Math.floor(0.95 * (known.length - 1))];
  }
  const sum = (list) => list.reduce((total, one) => total + (one || 0), 0);
  const sent = sum(row.past.sent);
  row.usual.loss = sent ? sum(row.past.lost) / sent : 0;
}

function delayLevel(row, what) {
  const p99 = row.now[`${what}_p99_ns`];
  const usual = row.usual[what];
  if (p99 === undefined || p99 === null) return null;
  if (usual === null || usual === undefined) return 0;
  const times = Math.max(p99, FLOOR_NS) / Math.max(usual, FLOOR_NS);
  return times > 5 ? 3 : times > 2.5 ? 2 : times > 1.5 ? 1 : 0;
}

function lossLevel(row, column) {
  const lost = row.now[column];
  const sent = row.now.sent;
  if (lost === undefined || lost === null || sent === undefined || sent === null) return null;
  if (!lost) return 0;
  const part = lost / Math.max(sent, lost);
  if (part <= 3 * (row.usual.loss || 0)) return 1;
  return part >= 0.05 ? 3 : 2;
}

// A level stays for a while, so that somebody sees it; a higher one takes its place at once.
function raise(row, cell, level, isEvent) {
  const held = row.levels[cell];
  const now = Date.now();
  // An event is known before the interval has ended that has its values.
  const values = isEvent ? null : row.now;
  if (level === null && (!held || held.until < now)) delete row.levels[cell];
  else if (level !== null && (!held || level >= held.level || held.until < now)) {
    row.levels[cell] = { level, until: level ? now + HOLD_MS : 0, values };
  } else if (level > 0 && held.values === null) held.values = row.now;
}

// The figures that a cell shows: of the interval that gave it its level, as long as it has it.
function valuesOf(row, cell) {
  const held = row.levels[cell];
  return (held && held.level && held.until >= Date.now() && held.values) || row.now;
}

function levelOf(row, cell) {
  const held = row.levels[cell];
  if (!held) return null;
  return held.level && held.until < Date.now() ? 0 : held.level;
}

function worst(row) {
  return Math.max(0, ...Object.keys(row.levels).map((cell) => levelOf(row, cell)));
}

function judge(row) {
  for (const what of DELAYS) raise(row, `delay-${what}`, delayLevel(row, what));
  for (const [what, column] of Object.entries(LOSSES)) raise(row, `loss-${what}`, lossLevel(row, column));
}

// Calls `each` with every row of columns as an object.
function eachRow(columns, each) {
  const names = Object.keys(columns).filter((name) => name !== 'pair' && name !== 'flow');
  columns.pair.forEach((pair, at) => {
    const values = {};
    for (const name of names) values[name] = columns[name][at];
    each(pair, columns.flow[at], values);
  });
}

function addClocks(clocks) {
  clocks.pair.forEach((pair, at) => {
    const value = (name) => (clocks[name] ? clocks[name][at] : null);
    model.clocks.set(pair, { offset: value('offset_ns'), error: value('error_ns'), skew: value('skew_ppb') });
  });
}

function addRows(columns, endNs) {
  const told = new Set();
  eachRow(columns, (pair, flow, values) => {
    const row = rowOf(pair, flow);
    if (!row) return;
    row.now = values;
    row.endNs = endNs;
    told.add(row.key);
    judge(row);
    const value = (name) => (values[name] === undefined ? null : values[name]);
    keep(row.past.sent, value('sent'));
    keep(row.past.lost, value('lost'));
    for (const what of DELAYS) keep(row.past[what], value(`${what}_p99_ns`));
    // The rows take turns: a tenth of them learns in each interval.
    if ((row.turn + model.updates) % 10 === 0 || row.past.sent.length <= 2 * USUAL_LEAST) learn(row);
  });
  return told;
}

// True if an event is of a row. Its first two tags are ours; a target's own ones may look like them.
function isOf(event, { pair, flow }) {
  const tags = event.tags || [];
  return tags[0] === `source:${pair.source}` && tags[1] === `target:${pair.target}` && (!event.flow || flow === event.flow)
    && tags.length === pair.tags.length + 2 && pair.tags.every((tag, at) => tag === tags[at + 2]);
}

function rowsOfEvent(event) {
  return [...model.rows.values()].filter((row) => isOf(event, row));
}

const EVENT_LEVELS = { outage_begin: 3, outage: 3, burst: 2, path_divergence: 2, route_change: 1, path_change: 1, remarked: 1, hops_change: 1, clock_step: 1, wire: 1, reopened: 1 };

function addEvent(event, isNew) {
  const level = EVENT_LEVELS[event.event] || 0;
  const rows = rowsOfEvent(event);
  model.events.push({ event, level, rows: rows.map((row) => row.key), at: event.start || event.at || 0 });
  if (model.events.length > EVENTS_MAX) model.events.shift();
  if (event.event === 'path' || event.event === 'path_change') addPath(event);
  if (!isNew) return;
  for (const row of rows) {
    if (event.event === 'burst' && event.direction) raise(row, `delay-${event.direction}`, level, true);
    else if (event.event.startsWith('outage')) raise(row, event.direction ? `loss-${event.direction}` : 'loss-lost', level, true);
  }
}

function addPath(event) {
  model.paths.set(JSON.stringify([event.tags, event.flow_number || 0]), event);
}

function takeSnapshot(snapshot) {
  model.source = snapshot.source;
  model.intervalNs = snapshot.interval_ns;
  model.edges = snapshot.heat_edges_ns;
  for (const part of [model.pairs, model.rows, model.clocks, model.paths]) part.clear();
  snapshot.pairs.forEach(addPair);
  model.flows = snapshot.flows;
  model.deliveries = snapshot.deliveries;
  model.host = snapshot.host;
  model.endNs = snapshot.end_ns || 0;
  eachRow(snapshot.rows, (pair, flow, values) => {
    const row = rowOf(pair, flow);
    if (row) Object.assign(row, { now: values, endNs: model.endNs });
  });
  addClocks(snapshot.clocks);
  model.events = [];
  snapshot.paths.forEach(addPath);
  snapshot.events.forEach((event) => addEvent(event, false));
}

function takeUpdate(update) {
  model.updates += 1;
  update.new.forEach(addPair);
  model.endNs = update.end_ns;
  model.host = update.host;
  addClocks(update.clocks);
  const told = addRows(update.rows, update.end_ns);
  for (const pair of update.gone) {
    model.pairs.delete(pair);
    model.clocks.delete(pair);
    for (const [key, row] of model.rows) if (row.pair.pair === pair) model.rows.delete(key);
  }
  return told;
}

// Takes what is kept of all pairs, so that it is known at once what is usual.
function takePast(past) {
  for (const one of past.series) {
    const row = rowOf(one.pair, one.flow);
    if (!row) continue;
    const list = (name) => one[name] || past.end_ns.map(() => null);
    row.past = { sent: list('sent'), lost: list('lost'), rtt: list('rtt_p99_ns'), forward: list('forward_p99_ns'), reverse: list('reverse_p99_ns') };
    learn(row);
    judge(row);
  }
}

// The connection. The token goes with each request and stays here.
let token = null;

function ask(path) {
  const headers = token === null ? {} : { Authorization: `Bearer ${token}` };
  return fetch(path, { headers, cache: 'no-store', credentials: 'same-origin' });
}

async function askJson(path) {
  const answer = await ask(path);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

// Reads server-sent events until they end, and hands each to `on(kind, data)`.
async function readEvents(body, on) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    const parts = rest.split('\n\n');
    rest = parts.pop();
    for (const part of parts) {
      let kind = 'message';
      let data = '';
      for (const line of part.split('\n')) {
        if (line.startsWith('event: ')) kind = line.slice(7);
        else if (line.startsWith('data: ')) data += line.slice(6);
      }
      if (data) on(kind, JSON.parse(data));
    }
  }
}
