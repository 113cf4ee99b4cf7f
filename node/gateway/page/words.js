"use strict";

// What is shown of numbers, times and texts of others.

const SVG = "http://www.w3.org/2000/svg";

/** Characters that are invisible or turn the direction of what follows: shown by their code. */
const UNSEEN = /[\p{C}\p{Zl}\p{Zp}]/gu;

function plain(text) {
  return String(text ?? "").replace(UNSEEN, (found) => `\\u${found.codePointAt(0).toString(16).padStart(4, "0")}`);
}

function age(seconds) {
  if (seconds === null || seconds === undefined) return "never";
  if (seconds < 1) return "now";
  if (seconds < 120) return `${Math.floor(seconds)} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

function trip(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const ms = seconds * 1000;
  return `${ms < 1 ? ms.toFixed(2) : ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
}

function rate(bytes) {
  if (bytes === null || bytes === undefined) return "–";
  const units = ["B/s", "kB/s", "MB/s", "GB/s"];
  let at = 0;
  while (bytes >= 1000 && at < units.length - 1) {
    bytes /= 1000;
    at += 1;
  }
  return `${at && bytes < 10 ? bytes.toFixed(1) : Math.round(bytes)} ${units[at]}`;
}

function clock(seconds) {
  return new Date(seconds * 1000).toLocaleTimeString([], { hour12: false });
}

/** The time, with the date where that is not the day of ``now``. */
function when(seconds, now) {
  const [at, today] = [seconds, now].map((each) => new Date(each * 1000).toLocaleDateString("sv-SE"));
  return at === today ? clock(seconds) : `${at} ${clock(seconds)}`;
}

function few(names) {
  const shown = names.slice(0, 4).map(plain).join(", ");
  return names.length > 4 ? `${shown} and ${names.length - 4} more` : shown;
}

function count(number, one, many) {
  return `${number} ${number === 1 ? one : many}`;
}

/** An HTML element; what is text is only ever set as text. */
function make(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function draw(tag, properties = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(properties)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function by(id) {
  return document.getElementById(id);
}

/** Sets a text where it differs, so that nothing moves that stays. */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function mark(state, x = null, y = null, size = 16) {
  const place = x === null ? {} : { x: x - size / 2, y: y - size / 2, width: size, height: size };
  return draw("use", { href: `#mark-${state}`, ...place });
}

/** A mark with its word, for tables. */
function badge(state, word) {
  const svg = draw("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, mark(state));
  return make("span", { class: "state", "data-state": state }, svg, word);
}
