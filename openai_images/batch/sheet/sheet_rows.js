// The rows of the sheet, and the filter and order of the shown ones, which the fragment of the URL has.
// One of the three files of the script; it has no layout.
"use strict";
const STATES = ["done", "failed", "blocked", "unknown", "away", "pending", "submitted"];
const NAMES = ["done", "failed", "blocked by moderation", "unknown", "not downloaded", "not yet", "at the provider"];
const OF_ALL = [
  "",
  "The same command with --retry-failed sends these again.",
  "The safety system blocked these.",
  "These were sent and may have been billed; their outcome is unknown. The same command with --retry-unknown sends them again.",
  "These are paid for and not downloaded yet. The same command downloads them.",
  "The same command sends these.",
  "These are in a batch at the provider. The same command collects them.",
];
const OF_ONE = [
  "",
  "",
  "The safety system blocked it.",
  "It was sent and may have been billed.",
  "It is paid for.",
  "It was not sent.",
  "It is in a batch at the provider.",
];
const [KEY, PROMPT, STATE, FILES, THUMBS, WIDTH, HEIGHT, REASON, COST, SECONDS, MODEL, QUALITY, FORMAT, TIME, GROUP, VALUES, SOURCES] = Array(17).keys();

const byId = (id) => document.getElementById(id);
const make = (name, className, text) => {
  const element = document.createElement(name);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
};
const address = (path) => path.split("/").map(encodeURIComponent).join("/");
const cut = (text, length) => (text.length > length ? text.slice(0, length) + "\u2026" : text);
const number = (value) => value.toLocaleString("en-US");
const plural = (count, noun) => `${number(count)} ${noun}${count === 1 ? "" : "s"}`;
const dollars = (value) => {
  const digits = value >= 1 ? 2 : 4;
  return "$" + value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
};

const rows = JSON.parse(byId("data").textContent);
const axes = byId("data").dataset.axes.split(" ").filter(Boolean);
const firstOf = new Map(); // of a group: it alone came with the prompt
for (const row of rows) {
  if (row[GROUP] && !firstOf.has(row[GROUP])) firstOf.set(row[GROUP], row);
  if (Array.isArray(row[PROMPT])) {
    row.missing = row[PROMPT][1];
    row[PROMPT] = `${row[PROMPT][0]}\u2026 (${number(row.missing)} more characters)`;
  }
  const first = firstOf.get(row[GROUP]) || row;
  row[PROMPT] = first[PROMPT] || "";
  row.missing = first.missing || 0;
}
const noun = firstOf.size ? "request" : "prompt";

// The filters: a name in the URL, a label, and the value of a row; "" if it has none

const local = (time) => (time ? new Date(time + "Z") : null);
const day = (time) => (time ? local(time).toLocaleDateString("sv") : "");

// The lower end of the range (1, 2 or 5 times a power of ten) of a value.
function lower(value) {
  const power = 10 ** Math.floor(Math.log10(value * (1 + 1e-9)));
  const lead = (value * (1 + 1e-9)) / power;
  return Number(((lead >= 5 ? 5 : lead >= 2 ? 2 : 1) * power).toPrecision(1));
}

const upper = (low) => Number((low * (/2/.test(low.toExponential()[0]) ? 2.5 : 2)).toPrecision(1));

function range(value, text) {
  if (value === undefined || value === null) return "";
  if (!value) return text(0);
  const low = lower(value);
  return `${text(low)} \u2013 ${text(upper(low))}`;
}

const known = (row, at) => (row[at] === undefined || row[at] === null ? "" : row[at]);
const costs = new Set(rows.map((row) => known(row, COST)).filter((cost) => cost !== ""));
const costOf = (row) => {
  const cost = known(row, COST);
  if (cost === "") return "";
  return costs.size <= 9 ? dollars(cost) : range(cost, (end) => "$" + end.toLocaleString("en-US", { maximumFractionDigits: 8 }));
};
const FACETS = [
  ["model", "Model", (row) => known(row, MODEL)],
  ["quality", "Quality", (row) => known(row, QUALITY)],
  ["format", "Format", (row) => known(row, FORMAT)],
  ["cost", "Cost", costOf, COST],
  ["time", "Time", (row) => range(row[SECONDS], (end) => number(end) + " s"), SECONDS],
  ["day", "Day", (row) => day(row[TIME]), TIME],
];
const ORDERS = {
  "": ["As in the input"],
  dearest: ["Most expensive first", COST, -1],
  cheapest: ["Cheapest first", COST, 1],
  slowest: ["Slowest first", SECONDS, -1],
  newest: ["Newest first", TIME, -1],
};
const facets = FACETS.map(([name, label, of, by]) => {
  const counts = new Map(), least = new Map();
  for (const row of rows) {
    const value = of(row);
    if (value === "") continue;
    counts.set(value, (counts.get(value) || 0) + 1);
    if (by && !(least.get(value) <= row[by])) least.set(value, row[by]);
  }
  const values = [...counts.keys()];
  if (by) values.sort((one, other) => (least.get(one) < least.get(other) ? -1 : 1));
  return { name, label, of, values, counts };
}).filter((facet) => facet.values.length > 1);

const isMatrix = [...firstOf.keys()].length > 0 && rows.filter((row) => row[GROUP]).length * 2 >= rows.length;
const texts = []; // what a search looks in, made when it is first needed
let shown = [], filter = {};

function wish() {
  const given = new URLSearchParams(location.hash.slice(1));
  const read = (name) => given.get(name) || "";
  const view = firstOf.size ? read("view") || (isMatrix ? "variants" : "grid") : "grid";
  const chosen = Object.fromEntries(facets.map(({ name, values }) => [name, values.includes(read(name)) ? read(name) : ""]));
  return { state: STATES.indexOf(given.get("state")), q: read("q"), view, order: ORDERS[read("order")] ? read("order") : "", ...chosen };
}

// The URL with these changes.
function fragment(changes) {
  const wanted = { ...filter, ...changes }, given = new URLSearchParams();
  if (wanted.view === (isMatrix ? "variants" : "grid")) wanted.view = "";
  for (const [name, value] of Object.entries(wanted)) {
    if (name === "state" ? value >= 0 : value) given.set(name, name === "state" ? STATES[value] : value);
  }
  return "#" + given;
}

function matches(index, words) {
  if (texts[index] === undefined) {
    const row = rows[index];
    texts[index] = [row[KEY], row[PROMPT], row[REASON] || ""].join("\n").toLowerCase();
  }
  return words.every((word) => texts[index].includes(word));
}

// The numbers of the selected rows, in order.
function select() {
  filter = wish();
  const words = filter.q.toLowerCase().split(/\s+/).filter(Boolean);
  const wanted = facets.filter(({ name }) => filter[name]);
  const found = [];
  for (let index = 0; index < rows.length; index++) {
    const row = rows[index];
    if (filter.state >= 0 && row[STATE] !== filter.state) continue;
    if (!wanted.every(({ name, of }) => of(row) === filter[name])) continue;
    if (!words.length || matches(index, words)) found.push(index);
  }
  const [, by, way] = ORDERS[filter.order];
  if (by) {
    const has = (index) => known(rows[index], by) !== "";
    const compare = (one, other) => (rows[one][by] < rows[other][by] ? -way : rows[one][by] > rows[other][by] ? way : 0);
    found.sort((one, other) => has(other) - has(one) || compare(one, other));
  }
  const isAll = filter.state < 0 && !words.length && !wanted.length;
  byId("told").textContent = isAll ? "" : `${number(found.length)} of ${plural(rows.length, noun)}. ${OF_ALL[filter.state] || ""}`.trim();
  return found;
}
