'use strict';
// The panels, and what the reader does.

const view = {
  selected: null, past: null, awaited: null, span: 0, askedAt: 0, cursor: null, filter: '', order: 'unusual', isFromTo: false, isPaused: false, isDirty: true,
  rows: [], hit: () => undefined, marks: {}, event: null, theme: null, state: 'connecting', eventsShown: [null],
};
const ROW_PX = 32;
// Of what the daemon keeps on its disk: the columns, and how often it is asked for again.
const KEPT_COLUMNS = 300;
const KEPT_AGAIN_MS = 60000;
const LEVELS = ['as usual', 'slight', 'clear', 'strong'];
const CELLS = [
  ['loss-lost', 'lost', (now) => share(now.lost, now.sent)],
  ['loss-forward', 'lost →', (now) => share(now.lost_forward, now.sent)],
  ['loss-reverse', 'lost ←', (now) => share(now.lost_reverse, now.sent)],
  ['delay-forward', 'p99 →', (now) => duration(now.forward_p99_ns)],
  ['delay-reverse', 'p99 ←', (now) => duration(now.reverse_p99_ns)],
  ['delay-rtt', 'rtt p99', (now) => duration(now.rtt_p99_ns)],
];
const PLOTS = [['forward', 'Forward → delay over the least of its interval'], ['reverse', 'Reverse ← delay over the least of its interval'], ['rtt', 'Round trip ⇄']];

function nameOf(row) {
  return row.pair.isOwn ? row.pair.target : `${row.pair.source} → ${row.pair.target}`;
}

function chosenRows() {
  const wanted = view.filter.toLowerCase();
  const all = byId('received').checked;
  const rows = [...model.rows.values()].filter((row) => (row.pair.isOwn || all)
    && (!wanted || `${nameOf(row)} ${row.pair.tags.join(' ')} ${row.flow}`.toLowerCase().includes(wanted)));
  const levels = new Map(rows.map((row) => [row, worst(row)]));
  const byName = (a, b) => (nameOf(a) < nameOf(b) ? -1 : nameOf(a) > nameOf(b) ? 1 : a.flow < b.flow ? -1 : 1);
  const lossShare = ({ now }) => (now.lost || 0) / Math.max(now.sent || 0, 1);
  const orders = {
    unusual: (a, b) => levels.get(b) - levels.get(a),
    name: () => 0,
    loss: (a, b) => lossShare(b) - lossShare(a),
    rtt: (a, b) => (b.now.rtt_p99_ns || 0) - (a.now.rtt_p99_ns || 0),
  };
  return { listed: [...rows].sort((a, b) => orders[view.order](a, b) || byName(a, b)), steady: rows.sort(byName) };
}

// Only the lines that are to be seen are elements.
function drawList() {
  const list = byId('list');
  const sizer = byId('sizer');
  sizer.style.height = `${view.rows.length * ROW_PX}px`;
  const first = Math.max(0, Math.floor(list.scrollTop / ROW_PX) - 2);
  const last = Math.min(view.rows.length, first + Math.ceil(list.clientHeight / ROW_PX) + 4);
  sizer.replaceChildren(...view.rows.slice(first, last).map((row, place) => {
    const who = element('span', { class: 'who' }, foreign(nameOf(row), { class: 'name' }));
    if (row.pair.tags.length) who.append(foreign(row.pair.tags.join(' '), { class: 'tags' }));
    const isLost = model.endNs - row.endNs > 3 * model.intervalNs;
    const cells = CELLS.map(([cell, , text]) => {
      const level = levelOf(row, cell);
      const attributes = { class: 'cell', 'data-what': cell, 'data-level': level === null || isLost ? 'none' : level, title: `last interval: ${text(row.now)}` };
      return element('span', attributes, isLost ? '–' : text(valuesOf(row, cell)));
    });
    const line = element('div', {
      class: 'row', role: 'option', id: `row-${row.key}`, 'data-key': row.key, 'data-name': nameOf(row), 'aria-selected': row.key === view.selected,
    }, who, element('span', { class: 'kind' }, row.flow), ...cells);
    line.style.top = `${(first + place) * ROW_PX}px`;
    return line;
  }));
}

function drawOverview() {
  const { listed, steady } = chosenRows();
  view.rows = listed;
  const counts = [0, 0, 0, 0];
  listed.forEach((row) => { counts[worst(row)] += 1; });
  byId('tally').textContent = `${listed.length}: ${LEVELS.map((name, level) => `${counts[level]} ${name}`).reverse().join(' · ')}`;
  const drawn = view.isFromTo ? drawFromTo : drawTiles;
  view.hit = drawn(byId('matrix'), steady, view.selected);
  byId('matrix').setAttribute('aria-label', `${listed.length} rows, of which ${counts[2] + counts[3]} are out of the ordinary`);
  drawList();
  if (view.selected === null && listed.length) select(listed[0].key);
}

function figure(name, value, note) {
  return element('div', {}, element('dt', {}, name), element('dd', {}, value, ' ', element('small', {}, note || '')));
}

function drawFacts(row) {
  const { pair, now } = row;
  byId('detail-title').replaceChildren(foreign(pair.source), ' → ', foreign(pair.target), ` · ${row.flow}`);
  const facts = [];
  if (pair.tags.length) facts.push(foreign(pair.tags.join(' ')), ' · ');
  const clock = model.clocks.get(pair.pair);
  if (clock && clock.offset !== null) facts.push(`peer's clock ${clock.offset < 0 ? '' : '+'}${duration(clock.offset)} ± ${duration(clock.error)} · `);
  if (now.stamp) facts.push(`stamps: ${now.stamp} · `);
  const flows = model.flows.filter((flow) => flow.target === pair.target && flow.flow === row.flow
    && flow.tags.every((tag, at) => tag === pair.tags[at]));
  facts.push(flows.slice(0, 8).map((flow) => `${flow.local || '?'} → ${flow.remote || '?'} ${flow.wire}${flow.authenticated ? ' authenticated' : ''}${flow.down ? ' DOWN' : ''}`).join(' · '));
  if (flows.length > 8) facts.push(` · and ${flows.length - 8} more`);
  byId('facts').replaceChildren(...facts);
  const of = (what) => [duration(now[`${what}_p50_ns`]), `p99 ${duration(now[`${what}_p99_ns`])} · max ${duration(now[`${what}_max_ns`])}`];
  const others = ['late', 'duplicate', 'reordered', 'corrupt', 'unsent'].filter((name) => now[name]).map((name) => `${now[name]} ${name}`);
  const [forward, reverse] = ['forward', 'reverse'].map((what) => oneWay(row, what));
  byId('figures').replaceChildren(
    figure('Lost of sent', `${now.lost ?? '–'} / ${now.sent ?? '–'}`, [`→ ${now.lost_forward ?? '–'} · ← ${now.lost_reverse ?? '–'}`, ...others].join(' · ')),
    figure('Round trip, p50', ...of('rtt')),
    figure('Forward → one way, p50', ...forward),
    figure('Reverse ← one way, p50', ...reverse),
    figure('Forward → over least, p50', ...of('forward')),
    figure('Reverse ← over least, p50', ...of('reverse')),
  );
}

// Returns what a direction takes: what two clocks say of it, less what they are apart where that is known, with the bound
// on that. Each half of a round trip has the whole error, with opposite signs.
function oneWay({ now, pair }, what) {
  const least = now[`${what}_least_ns`];
  if (least === null || least === undefined) return ['–', 'it takes the native wire'];
  const clock = model.clocks.get(pair.pair);
  const isKnown = clock && clock.offset !== null && clock.error !== null;
  const apart = isKnown ? (what === 'forward' ? -clock.offset : clock.offset) : 0;
  const at = (figure) => duration(least + apart + now[`${what}_${figure}_ns`]);
  const bound = isKnown ? `± ${duration(clock.error)}` : 'with the difference of the clocks in it';
  return [at('p50'), `${bound} · p99 ${at('p99')} · max ${at('max')}`];
}

function burstsOf(key, direction) {
  return model.events.filter(({ event, rows }) => rows.includes(key) && ['burst', 'outage'].includes(event.event)
    && (direction === 'rtt' || !event.direction || event.direction === direction));
}

function drawPlots() {
  const row = model.rows.get(view.selected);
  if (!row || !view.past) return;
  for (const [what] of PLOTS) {
    const canvas = byId(`plot-${what}`);
    view.marks[what] = drawHeat(canvas, view.past, what, burstsOf(row.key, what), view.cursor);
    canvas.dataset.bursts = view.marks[what].length;
    const lost = (view.past[what === 'rtt' ? 'lost' : `lost_${what}`] || []).reduce((sum, one) => sum + (one || 0), 0);
    canvas.dataset.lost = lost;
    const peak = Math.max(0, ...(view.past[`${what}_max_ns`] || []).map((one) => one || 0));
    canvas.dataset.peak = peak;
    canvas.setAttribute('aria-label', `${what}: greatest ${duration(peak)}, ${lost} lost, ${view.marks[what].length} bursts in the time shown`);
  }
  drawReadout(row);
}

function drawReadout() {
  const { past } = view;
  const at = view.cursor === null ? past.end_ns.length - 1 : view.cursor;
  const end = past.end_ns[at];
  if (end === undefined) return;
  const value = (name) => (past[name] ? past[name][at] : null);
  const parts = [`${localTime(end)} (${utc(end)})`];
  for (const [what] of PLOTS) {
    if (value(`${what}_p99_ns`) !== null && value(`${what}_p99_ns`) !== undefined) {
      parts.push(`${ARROWS[what]} p50 ${duration(value(`${what}_p50_ns`))}, p99 ${duration(value(`${what}_p99_ns`))}, max ${duration(value(`${what}_max_ns`))}`);
    }
  }
  parts.push(`lost ${value('lost') ?? '–'} of ${value('sent') ?? '–'} (→ ${value('lost_forward') ?? '–'}, ← ${value('lost_reverse') ?? '–'})`);
  byId('readout').textContent = `${view.cursor === null ? 'Last interval' : 'At the cursor'}: ${parts.join(' · ')}`;
}

// Paths of the flows side by side: a line a TTL. A hop that differs from the first flow's is marked.
function drawPaths(row) {
  const place = byId('paths');
  const found = [...model.paths.values()].filter((event) => isOf(event, row))
    .sort((a, b) => (a.flow_number || 0) - (b.flow_number || 0)).slice(0, 16);
  if (!found.length) return place.replaceChildren();
  const ttls = [...new Set(found.flatMap(({ hops }) => hops.map((hop) => hop.ttl)))].sort((a, b) => a - b);
  const head = found.map((event) => element('th', {}, `${event.flow_number ? `flow ${event.flow_number}, ` : ''}port ${event.source_port ?? '?'}`,
    element('br'), element('small', {}, `${localTime(event.start)} ${event.why}${event.reached ? '' : ', not reached'}`)));
  const lines = ttls.map((ttl) => {
    const hops = found.map(({ hops: all }) => all.find((hop) => hop.ttl === ttl));
    const cells = hops.map((hop) => {
      const isOther = hop && hops[0] && hop.address !== hops[0].address;
      const labels = hop ? hop.labels.map(({ label }) => ` MPLS ${label}`).join('') : '';
      return element('td', { class: isOther ? 'differs' : null }, hop ? `${hop.address || '*'} ${hop.rtt === null ? '' : duration(hop.rtt)}${labels}` : '');
    });
    return element('tr', {}, element('th', {}, String(ttl)), ...cells);
  });
  return place.replaceChildren(element('h2', {}, 'Paths of the flows'),
    element('table', {}, element('thead', {}, element('tr', {}, element('th', {}, 'TTL'), ...head)), element('tbody', {}, ...lines)));
}

function drawDetail() {
  const row = model.rows.get(view.selected);
  if (!row) return;
  drawFacts(row);
  drawPlots();
  drawPaths(row);
}

function eventLine({ event, level, at }, place) {
  const tags = event.tags || [];
  const target = (tags.find((tag) => tag.startsWith('target:')) || 'target:this host').slice(7);
  const what = [event.event.replaceAll('_', ' '), event.flow, ARROWS[event.direction]].filter(Boolean).join(' ');
  const size = event.event === 'burst' ? ` ${duration(event.peak)} for ${duration(event.duration)}`
    : event.duration ? ` for ${duration(event.duration)}` : '';
  const suspect = event.suspect ? ` · ${event.suspect}` : '';
  return element('li', {}, element('button', { type: 'button', 'data-place': place, 'data-level': level, 'data-event': event.event, 'data-direction': event.direction },
    element('time', {}, localTime(at, true)), ` ${what}${size}${suspect} `, foreign(target)));
}

function drawEvents() {
  const only = byId('only').checked;
  const all = model.events.map((one, place) => [one, place]).filter(([one]) => !only || one.rows.includes(view.selected));
  // A list that is the same stays: whoever walks through it by keys is not thrown out.
  const last = model.events[model.events.length - 1];
  const shownNow = [all.length, last, only && view.selected];
  if (view.eventsShown.every((one, at) => one === shownNow[at])) return;
  view.eventsShown = shownNow;
  const lines = all.slice(-200).reverse().map(([one, place]) => eventLine(one, place));
  byId('events').replaceChildren(...(lines.length ? lines : [element('li', {}, 'none yet')]));
}

// Writes what an event says, key by key; objects in it are lists of their own.
function entries(object) {
  return Object.entries(object).flatMap(([key, value]) => {
    const isTime = (key === 'start' || key === 'at' || key === 'incident') && typeof value === 'number';
    const isLength = ['duration', 'peak', 'mean', 'base', 'kept_waiting', 'steal', 'receive_gap', 'send_gap', 'step', 'rtt'].includes(key);
    let text;
    if (value === null) text = 'not known';
    else if (isTime) text = `${localTime(value, true)} (${utc(value)})`;
    else if (isLength && typeof value === 'number') text = duration(value);
    else if (typeof value === 'object' && !Array.isArray(value)) text = element('dl', {}, ...entries(value));
    else text = foreign(key === 'tags' ? value.join(' ') : Array.isArray(value) ? JSON.stringify(value) : String(value));
    return [element('dt', {}, shown(key.replaceAll('_', ' '))), element('dd', { 'data-key': key }, text)];
  });
}

function openEvent(one) {
  view.event = one;
  const place = byId('event');
  const { event, rows } = one;
  const close = element('button', { type: 'button' }, 'Close');
  close.addEventListener('click', closeEvent);
  const buttons = [close];
  if (rows.length) {
    const go = element('button', { type: 'button' }, 'Show its target');
    go.addEventListener('click', () => select(rows[0]));
    buttons.unshift(go);
  }
  const note = element('p', { id: 'dump' });
  const title = element('span', {}, `${event.event.replaceAll('_', ' ')} ${ARROWS[event.direction] || ''}`);
  place.replaceChildren(element('h3', {}, title, ...buttons), note, element('dl', {}, ...entries(event)));
  place.hidden = false;
  if (['burst', 'outage'].includes(event.event)) findDump(one, note);
}

// True if both say the same: a dump has its event as it was told.
function isSame(one, other) {
  const known = ({ event, start, flow, flow_number: number, direction, tags }) => JSON.stringify([event, start, flow, number, direction, tags]);
  return other !== null && known(one) === known(other);
}

// Links the report of an event's dump. It is written once every probe has its outcome.
async function findDump(one, note) {
  for (let tries = 0; view.event === one && tries < 8; tries += 1) {
    let dumps;
    try {
      ({ dumps } = await askJson('api/v1/dumps'));
    } catch {
      return;
    }
    if (dumps === null) {
      note.textContent = 'With dump_dir in [burst] its probes would be kept, and drawn here.';
      return;
    }
    const found = dumps.find((dump) => isSame(one.event, dump.event));
    if (found) {
      note.replaceChildren(reportLink(found.name));
      return;
    }
    note.textContent = 'There is no dump of its probes, or not yet.';
    await new Promise((go) => { setTimeout(go, 1000); });
  }
}

function reportLink(name) {
  const link = element('a', { href: `api/v1/report?dump=${encodeURIComponent(name)}`, target: '_blank', rel: 'noopener' }, 'Report of its probes');
  // A browser sends no token with a link. So the report is fetched, and saved.
  if (token !== null) {
    link.addEventListener('click', async (event) => {
      event.preventDefault();
      const answer = await ask(link.getAttribute('href'));
      if (!answer.ok) {
        link.textContent = `No report: ${answer.status}`;
        return;
      }
      const saved = element('a', { href: URL.createObjectURL(await answer.blob()), download: `${name}.html` });
      saved.click();
      setTimeout(() => URL.revokeObjectURL(saved.href), 10000);
    });
  }
  return link;
}

function closeEvent() {
  byId('event').hidden = true;
  view.event = null;
}

const HOST = [
  ['monitor.lateness', 'Probes late, p99', 1e6], ['monitor.receive_gap', 'Packets waited, p99', 1e6], ['monitor.send_gap', 'Sending took, p99', 1e6],
  ['monitor.slots_missed', 'Slots missed', 0], ['monitor.receive_dropped', 'Dropped on receive', 0], ['monitor.samples_dropped', 'Records dropped', 0],
  ['monitor.stamps_missing.transmit', 'Transmit stamps missing', 0], ['monitor.stamps_missing.receive', 'Receive stamps missing', 0],
];

function drawHost() {
  const lines = [];
  const add = (name, text, level) => lines.push(element('dt', {}, name), element('dd', { 'data-level': level || 0 }, text));
  for (const [name, title, limit] of HOST) {
    const value = model.host[name];
    if (value === undefined) continue;
    const isDelay = typeof value === 'object';
    const number = isDelay ? value.p99_ns : value;
    add(title, isDelay ? `${duration(number)}, max ${duration(value.max_ns)}` : String(number), number > limit ? 2 : 0);
  }
  const cpu = model.host['monitor.cpu'];
  if (cpu !== undefined) add('Processor', `${((100 * cpu) / model.intervalNs).toFixed(1)} % of one`);
  const resident = model.host['monitor.resident'];
  if (resident !== undefined) add('Memory', `${(resident / 1048576).toFixed(0)} MiB`);
  const synchronised = model.host['monitor.clock.synchronised'];
  if (synchronised !== undefined) add('Clock', synchronised ? `synchronised ± ${duration(model.host['monitor.clock.error'])}` : 'not synchronised', synchronised ? 0 : 2);
  for (const [name, stats] of Object.entries(model.host.backends || {})) {
    const dropped = (stats['monitor.backend.dropped'] || 0) + (stats['monitor.backend.samples_dropped'] || 0);
    const known = model.deliveries.find(({ backend }) => backend === name);
    const state = known && known.ok === false ? 'failed' : dropped ? `${dropped} dropped` : 'ok';
    add(foreign(name), `${state}, queue ${((stats['monitor.backend.queued_bytes'] || 0) / 1024).toFixed(0)} KiB`, state === 'ok' ? 0 : 2);
  }
  byId('host').replaceChildren(...lines);
}

function drawState() {
  byId('status').textContent = view.isPaused ? 'paused' : view.state;
  byId('status').dataset.state = view.state;
  byId('clock').textContent = model.endNs ? `${localTime(model.endNs)} · ${utc(model.endNs)}` : '';
}

// Draws at most once a frame, and nothing of a page that nobody sees.
function draw() {
  if (!view.isDirty || document.hidden) return;
  view.isDirty = false;
  drawState();
  byId('source').textContent = shown(model.source);
  drawOverview();
  drawDetail();
  drawEvents();
  drawHost();
}

function redraw() {
  view.isDirty = true;
  requestAnimationFrame(draw);
}

async function select(key) {
  if (!model.rows.has(key)) return;
  const isOther = view.selected !== key;
  view.selected = key;
  view.cursor = null;
  if (isOther) view.past = null;
  const { pair, flow } = model.rows.get(key);
  redraw();
  try {
    const { span } = view;
    view.askedAt = Date.now();
    const awaited = [];
    view.awaited = awaited;
    const kept = span ? `&last=${span}&columns=${KEPT_COLUMNS}` : '';
    const past = await askJson(`api/v1/past?pair=${pair.pair}&flow=${flow}${kept}`);
    // Another one may have been asked for meanwhile, which is newer.
    if (view.awaited === awaited && view.selected === key && view.span === span) {
      view.past = past;
      // Intervals that were told after the answer was made, and before it came.
      const known = past.end_ns.length ? past.end_ns[past.end_ns.length - 1] : 0;
      for (const one of awaited) if (one.endNs > known) append(past, one);
      view.awaited = null;
    }
  } catch {
    // The pair may have gone, or the connection: the next update tells.
  }
  byId('list').setAttribute('aria-activedescendant', `row-${key}`);
  redraw();
}

// Shows another time of the selected row: live, or what the daemon keeps on its disk.
function setSpan(seconds) {
  view.span = seconds;
  view.past = null;
  byId('span').value = String(seconds);
  select(view.selected);
}

function nextSpan() {
  const { options, selectedIndex } = byId('span');
  if (!byId('span-label').hidden) setSpan(Number(options[(selectedIndex + 1) % options.length].value));
}

// Appends the selected row's interval to its past. What is kept on the disk is asked for again now and then.
function extendPast(told) {
  if (view.span) {
    if (Date.now() - view.askedAt > KEPT_AGAIN_MS) select(view.selected);
    return;
  }
  const row = model.rows.get(view.selected);
  const one = { endNs: model.endNs, now: row && told.has(row.key) ? row.now : {} };
  if (view.awaited && view.awaited.length < PAST_MAX) view.awaited.push(one);
  if (view.past) append(view.past, one);
}

// Appends an interval to a past.
function append(past, { endNs, now }) {
  const before = past.end_ns.length;
  if (past.end_ns[before - 1] === endNs) return;
  past.end_ns.push(endNs);
  const names = new Set([...Object.keys(past), ...Object.keys(now)]);
  for (const name of names) {
    if (['pair', 'flow', 'end_ns'].includes(name)) continue;
    past[name] = past[name] || new Array(before).fill(null);
    past[name].push(now[name] === undefined ? null : now[name]);
  }
  if (past.end_ns.length > PAST_MAX) {
    for (const list of Object.values(past)) if (Array.isArray(list)) list.shift();
    if (view.cursor !== null) view.cursor = Math.max(0, view.cursor - 1);
  }
}

function take(kind, data) {
  if (kind === 'snapshot') {
    const before = model.rows.get(view.selected);
    takeSnapshot(data);
    byId('span-label').hidden = !data.history;
    if (!data.history) byId('span').value = String(view.span = 0);
    view.state = 'live';
    const again = before && [...model.rows.values()].find((row) => nameOf(row) === nameOf(before) && row.flow === before.flow);
    view.selected = null;
    askJson('api/v1/past').then(takePast).then(redraw, () => {});
    if (again) select(again.key);
    byId('scale').replaceChildren(...scaleLegend());
  } else if (kind === 'update') extendPast(takeUpdate(data));
  else if (kind === 'event') addEvent(data, true);
  if (!view.isPaused) redraw();
}

async function connect() {
  for (let wait = 1000; ; wait = Math.min(wait * 2, 10000)) {
    try {
      const answer = await ask('api/v1/live');
      if (answer.status === 401) {
        await askToken();
        continue;
      }
      if (!answer.ok) throw new Error(String(answer.status));
      wait = 1000;
      await readEvents(answer.body, take);
    } catch {
      // It is tried again.
    }
    view.state = 'lost';
    redraw();
    await new Promise((go) => { setTimeout(go, wait); });
  }
}

function askToken() {
  const dialog = byId('token-dialog');
  return new Promise((go) => {
    dialog.addEventListener('close', () => {
      // A header has no other characters; such a token is refused like any wrong one.
      token = byId('token').value.replace(/[^\x20-\x7e]/g, '');
      byId('token').value = '';
      go();
    }, { once: true });
    dialog.showModal();
  });
}

function setTheme(theme) {
  view.theme = theme;
  document.documentElement.dataset.theme = theme;
  byId('scale').replaceChildren(...scaleLegend());
  redraw();
}

function swatch(fill, text, level) {
  const box = element('i', { 'data-level': level });
  box.style.background = fill;
  return element('span', {}, box, text);
}

function scaleLegend() {
  const canvas = element('canvas', { width: 140, height: 10, 'aria-hidden': 'true' });
  const context = canvas.getContext('2d');
  for (let x = 0; x < 140; x += 1) {
    context.fillStyle = heatColour(x / 139);
    context.fillRect(x, 0, 1, 10);
  }
  return [element('span', {}, 'few ', canvas, ' many probes of the interval'), swatch(LOST, 'lost, outage'), swatch(BURST, 'burst'), element('span', {}, '— p99')];
}

function move(by) {
  const at = view.rows.findIndex((row) => row.key === view.selected);
  const row = view.rows[Math.max(0, Math.min(view.rows.length - 1, at + by))];
  if (!row) return;
  select(row.key);
  const list = byId('list');
  const top = view.rows.indexOf(row) * ROW_PX;
  if (top < list.scrollTop) list.scrollTop = top;
  else if (top + ROW_PX > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW_PX - list.clientHeight;
}

function moveCursor(by) {
  if (!view.past) return;
  const last = view.past.end_ns.length - 1;
  view.cursor = Math.max(0, Math.min(last, (view.cursor === null ? last : view.cursor) + by));
  drawPlots();
}

function press(event) {
  if (event.key === 'Escape') {
    closeEvent();
    view.cursor = null;
    redraw();
    return;
  }
  if (event.target.matches('input, select') || event.ctrlKey || event.metaKey || event.altKey) return;
  const page = Math.floor(byId('list').clientHeight / ROW_PX);
  const keys = {
    ArrowDown: () => move(1), ArrowUp: () => move(-1), PageDown: () => move(page), PageUp: () => move(-page),
    ArrowLeft: () => moveCursor(-1), ArrowRight: () => moveCursor(1), '/': () => byId('filter').focus(),
    p: () => byId('pause').click(), h: nextSpan, t: () => byId('theme').click(), '?': () => byId('help').click(),
  };
  if (!keys[event.key] || document.querySelector('dialog[open]')) return;
  event.preventDefault();
  keys[event.key]();
}

function start() {
  byId('head').replaceChildren(element('span', {}, 'target'), element('span', {}, 'flow'), ...CELLS.map(([, title]) => element('span', {}, title)));
  byId('legend').replaceChildren(...LEVELS.map((name, level) => swatch(`var(--level${level})`, name, level)), swatch('var(--none)', 'not known'), element('span', {}, '◤ forward, ◢ reverse'));
  for (const [what, title] of PLOTS) {
    const canvas = element('canvas', { id: `plot-${what}`, role: 'img' });
    const at = (event) => layout(canvas.clientWidth, view.past).at(event.offsetX);
    canvas.addEventListener('mousemove', (event) => {
      if (!view.past) return;
      view.cursor = Math.max(0, Math.min(view.past.end_ns.length - 1, at(event)));
      drawPlots();
    });
    canvas.addEventListener('mouseleave', () => { view.cursor = null; if (view.past) drawPlots(); });
    canvas.addEventListener('click', (event) => {
      const mark = (view.marks[what] || []).find(({ from, to }) => event.offsetX >= from && event.offsetX <= to);
      if (mark) openEvent(mark.one);
    });
    byId('plots').append(element('figure', {}, element('figcaption', {}, title), canvas));
  }
  byId('filter').addEventListener('input', (event) => { view.filter = event.target.value; redraw(); });
  byId('span').addEventListener('change', (event) => setSpan(Number(event.target.value)));
  byId('order').addEventListener('change', (event) => { view.order = event.target.value; redraw(); });
  for (const id of ['received', 'only']) byId(id).addEventListener('change', redraw);
  byId('list').addEventListener('scroll', drawList);
  byId('list').addEventListener('click', (event) => { const line = event.target.closest('.row'); if (line) select(line.dataset.key); });
  byId('matrix').addEventListener('click', (event) => { const row = view.hit(event.offsetX, event.offsetY); if (row) select(row.key); });
  byId('matrix').addEventListener('mousemove', (event) => {
    const row = view.hit(event.offsetX, event.offsetY);
    byId('matrix').title = row ? `${shown(nameOf(row))} ${row.flow}` : '';
  });
  byId('events').addEventListener('click', (event) => { const line = event.target.closest('button'); if (line) openEvent(model.events[line.dataset.place]); });
  byId('pause').addEventListener('click', () => {
    view.isPaused = !view.isPaused;
    byId('pause').setAttribute('aria-pressed', view.isPaused);
    redraw();
  });
  byId('theme').addEventListener('click', () => setTheme(isLight() ? 'dark' : 'light'));
  byId('help').addEventListener('click', () => byId('help-dialog').showModal());
  for (const [id, isFromTo] of [['view-tiles', false], ['view-fromto', true]]) {
    byId(id).addEventListener('click', () => {
      view.isFromTo = isFromTo;
      byId('view-tiles').setAttribute('aria-pressed', !isFromTo);
      byId('view-fromto').setAttribute('aria-pressed', isFromTo);
      redraw();
    });
  }
  document.addEventListener('keydown', press);
  document.addEventListener('visibilitychange', redraw);
  window.addEventListener('resize', redraw);
  const light = window.matchMedia('(prefers-color-scheme: light)');
  light.addEventListener('change', () => setTheme(light.matches ? 'light' : 'dark'));
  setTheme(light.matches ? 'light' : 'dark');
  // Colours fade and a silent connection is seen even if nothing comes.
  setInterval(() => {
    if (view.state !== 'lost' && model.endNs) {
      view.state = Date.now() - model.endNs / 1e6 > 4000 + (3 * model.intervalNs) / 1e6 ? 'stale' : 'live';
    }
    if (!view.isPaused) redraw();
  }, 5000);
  connect();
}

start();
