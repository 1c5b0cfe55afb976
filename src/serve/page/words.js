'use strict';
// Words and elements. Text of others goes through `shown` and is only ever set as text.

// Characters that nobody sees or that turn a line around: controls, zero widths, marks of writing direction.
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]/gu;

// Returns text of others with such characters written out.
function shown(text) {
  return String(text).replace(UNSEEN, (one) => `\\u{${one.codePointAt(0).toString(16)}}`);
}

function byId(id) {
  return document.getElementById(id);
}

// Makes an element; `parts` are elements or text.
function element(name, attributes, ...parts) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...parts);
  return made;
}

// Text of others as an element of its own, so that its direction turns nothing beside it.
function foreign(text, attributes) {
  return element('bdi', { title: shown(text), ...attributes }, shown(text));
}

const UNITS = [['s', 1e9], ['ms', 1e6], ['µs', 1e3], ['ns', 1]];

// Returns nanoseconds with three digits and a unit.
function duration(ns) {
  if (ns === null || ns === undefined) return '–';
  if (ns === 0) return '0';
  const [unit, size] = UNITS.find(([, one]) => Math.abs(ns) >= one * 0.9995) || UNITS[3];
  const value = ns / size;
  const digits = unit === 'ns' ? 0 : Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value) + 1e-9)));
  return `${value.toFixed(Math.min(digits, 2))} ${unit}`;
}

function share(part, whole) {
  if (part === null || part === undefined) return '–';
  if (!part) return '0';
  if (!whole) return String(part);
  const percent = (100 * part) / whole;
  return `${percent >= 10 ? percent.toFixed(0) : percent >= 0.1 ? percent.toFixed(1) : percent.toFixed(2)} %`;
}

const pad = (number, digits = 2) => String(number).padStart(digits, '0');

// Returns the time of day in the reader's zone.
function localTime(ns, withMillis) {
  const at = new Date(ns / 1e6);
  const time = `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;
  return withMillis ? `${time}.${pad(at.getMilliseconds(), 3)}` : time;
}

function utc(ns) {
  return `${new Date(ns / 1e6).toISOString().slice(0, 19).replace('T', ' ')} UTC`;
}

const ARROWS = { forward: '→', reverse: '←', rtt: '⇄' };
