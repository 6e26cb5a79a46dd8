// The layout of cards: a grid, or a table for each prompt with its variants side by side. Both consist of sections of a
// known height, which are filled near the window and emptied far from it.

const ROWS = 6; // of a section of the grid
const sheet = byId("sheet"), size = byId("size");
let columns = 1, rowHeight = 1, gap = 0, rem = 16, width = 0, chosen = "", sections = [];
let lineOf = [], columnOf = []; // of each card that is shown

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);

function layOut(found) {
  rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
  [width, chosen, gap] = [sheet.clientWidth, size.value, parseFloat(css("--gap"))];
  sections = [];
  lineOf = [];
  columnOf = [];
  const top = { now: 0 };
  if (filter.view === "variants") layOutVariants(found, top);
  else layOutGrid(found, top);
  sheet.replaceChildren(...(sections.length ? sections.map((section) => section.element) : [make("p", "none", "Nothing here.")]));
  draw();
}

function addSection(top, tall, from, count, fill, className) {
  const element = make("section", className);
  element.style.height = tall + "px";
  element.style.setProperty("--tall", tall + "px");
  sections.push({ element, top: top.now, tall, from, count, fill });
  top.now += tall;
}

function draw() {
  const top = -sheet.getBoundingClientRect().top;
  for (const { element, top: from, tall, fill } of sections) {
    const near = from < top + 2 * innerHeight && from + tall > top - innerHeight;
    if (near && !element.firstChild) element.replaceChildren(...fill());
    else if (!near && element.firstChild && !element.contains(document.activeElement)) element.replaceChildren();
  }
}

// A grid

function layOutGrid(found, top) {
  shown = found;
  const least = Math.min(Number(size.value), (width - gap) / 2);
  columns = Math.max(1, Math.floor((width + gap) / (least + gap)));
  const side = (width - gap * (columns - 1)) / columns;
  rowHeight = Math.round(side + parseFloat(css("--words")) * rem);
  setSizes(side);
  sheet.style.setProperty("--columns", columns);
  for (let from = 0; from < shown.length; from += columns * ROWS) {
    const part = shown.slice(from, from + columns * ROWS);
    const fill = () => part.map((index, step) => card(index, from + step, false));
    addSection(top, Math.ceil(part.length / columns) * (rowHeight + gap), from, part.length, fill, "rows");
  }
  shown.forEach((_, at) => {
    lineOf[at] = Math.floor(at / columns);
    columnOf[at] = at % columns;
  });
}

function setSizes(side) {
  sheet.style.setProperty("--row", rowHeight + "px");
  sheet.style.setProperty("--side", side + "px");
  sheet.style.setProperty("--lines", Math.max(2, Math.floor((side - 50) / (0.82 * 1.4 * rem))));
}

// Variants of a prompt

const variants = rows.filter((row) => row[VALUES]);
const valuesOf = axes.map((_, axis) => [...new Set(variants.map((row) => row[VALUES][axis]))]);
let across = -1, down = []; // the axis of the columns, and those of the lines

// Models have long names: they label the rows if something else can label the columns.
function chooseAxes(found) {
  const counts = axes.map((_, axis) => new Set(found.map((index) => (rows[index][VALUES] || [])[axis])).size);
  const weight = (axis) => (counts[axis] > 1 ? 1000 : 0) + (axes[axis] === "model" ? 0 : 100) + (counts[axis] <= 6 ? counts[axis] : 0);
  across = axes.length ? [...axes.keys()].reduce((best, axis) => (weight(axis) > weight(best) ? axis : best)) : -1;
  down = [...axes.keys()].filter((axis) => axis !== across);
}

const PLAIN = ["model", "size", "quality", "background", "output_format"];

function labelOf(axis, value) {
  if (value === "") return axes[axis].replaceAll("_", " ") + " not set";
  return PLAIN.includes(axes[axis]) ? value : `${axes[axis].replaceAll("_", " ")} ${value}`;
}

// The rows of a table: a label, and for each column the number of an item or nothing.
function arrange(members) {
  const place = (index, axis) => valuesOf[axis].indexOf(rows[index][VALUES][axis]);
  const heads = valuesOf[across].filter((value) => members.some((index) => rows[index][VALUES][across] === value));
  const lines = [];
  const order = (one, other) => {
    for (const axis of down) if (place(one, axis) !== place(other, axis)) return place(one, axis) - place(other, axis);
    return place(one, across) - place(other, across);
  };
  for (const index of [...members].sort(order)) {
    const values = rows[index][VALUES];
    const label = down.map((axis) => labelOf(axis, values[axis])).join(" \u00b7 ");
    const column = heads.indexOf(values[across]);
    let line = lines.find((candidate) => candidate.label === label && candidate.cells[column] === undefined);
    if (!line) lines.push((line = { label, cells: Array(heads.length).fill(undefined) }));
    line.cells[column] = index;
  }
  return { heads: heads.map((value) => labelOf(across, value)), lines };
}

function layOutVariants(found, top) {
  const groups = new Map();
  chooseAxes(found);
  for (const index of found) {
    const key = rows[index][GROUP] || -1 - index;
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(index);
  }
  const tables = [...groups.values()].map((members) => (rows[members[0]][VALUES] ? { members, ...arrange(members) } : { members }));
  const narrow = width < 40 * rem, panel = width < 56 * rem ? 0 : 17 * rem;
  const head = narrow ? 1.5 * rem : 2 * rem;
  sheet.className = `${panel ? "wide" : "tall"}${narrow ? " narrow" : ""}`;
  sheet.style.setProperty("--head", head + "px");
  const most = Math.max(1, ...tables.map((table) => (table.heads || []).length));
  const label = !narrow && tables.some((table) => table.lines && table.lines[0].label) ? 9 * rem : 0;
  const room = width - panel - label;
  const side = Math.max(92, Math.min(Math.floor(room / most) - gap, Math.round(size.value * 1.2)));
  columns = Math.max(1, Math.floor(room / (side + gap)));
  rowHeight = Math.round(side + 3.2 * rem);
  setSizes(side);
  shown = [];
  for (const table of tables) {
    const from = shown.length;
    table.lines ||= inLines(table.members);
    placeLines(table.lines);
    const bands = narrow ? table.lines.filter((line, at) => startsLabel(table.lines, at)).length : 0;
    const tall = (table.heads ? head : 0) + table.lines.length * (rowHeight + gap) + bands * 1.8 * rem;
    const whole = (panel ? Math.max(tall, 10 * rem) : tall + 5.7 * rem) + 2 * gap;
    const fill = () => [panelOf(table), tableOf(table, from, label, narrow)];
    addSection(top, Math.round(whole), from, shown.length - from, fill, "block");
  }
}

const startsLabel = (lines, at) => Boolean(lines[at].label) && (at === 0 || lines[at - 1].label !== lines[at].label);

function inLines(members) {
  const lines = [];
  for (let from = 0; from < members.length; from += columns) lines.push({ label: "", cells: members.slice(from, from + columns) });
  return lines;
}

function placeLines(lines) {
  for (const line of lines) {
    const next = (lineOf.at(-1) ?? -1) + 1;
    line.cells.forEach((index, column) => {
      if (index === undefined) return;
      lineOf[shown.length] = next;
      columnOf[shown.length] = column;
      shown.push(index);
    });
  }
}

function panelOf({ members }) {
  const row = rows[members[0]], panel = make("div", "panel"), prompt = make("p", "prompt", row[PROMPT] || row[KEY]);
  prompt.dir = "auto";
  prompt.tabIndex = 0;
  const pictures = members.reduce((sum, index) => sum + (rows[index][FILES] || []).length, 0);
  const paid = members.map((index) => known(rows[index], COST)).filter((cost) => cost !== "");
  const sum = paid.length ? `, ${dollars(paid.reduce((total, cost) => total + cost, 0))}` : "";
  panel.append(prompt, make("p", "sum", plural(pictures, "image") + sum));
  if (row[PROMPT]) panel.append(copyButton(row, "Copy prompt"));
  return panel;
}

function tableOf({ heads, lines }, from, label, narrow) {
  const scroll = make("div", "scroll"), table = make("table");
  if (heads) {
    const head = make("tr");
    if (label) head.append(cellOf("td", "corner", label));
    head.append(...heads.map((text) => headOf(text, "col")));
    const group = make("thead");
    group.append(head);
    table.append(group);
  }
  const body = make("tbody");
  let at = from;
  lines.forEach((line, number) => {
    const element = make("tr");
    if (narrow && startsLabel(lines, number)) {
      const band = make("tr", "band"), head = headOf(line.label, "rowgroup");
      head.colSpan = line.cells.length;
      band.append(head);
      body.append(band);
    }
    if (label) element.append(startsLabel(lines, number) ? headOf(line.label, "row", label) : cellOf("td", "", label));
    for (const index of line.cells) {
      const cell = make("td", "variant");
      if (index !== undefined) cell.append(card(index, at++, true));
      else cell.append(make("span", "hole"));
      element.append(cell);
    }
    body.append(element);
  });
  table.append(body);
  scroll.append(table);
  return scroll;
}

function cellOf(name, className, wide) {
  const cell = make(name, className);
  if (wide) cell.style.width = wide + "px";
  return cell;
}

function headOf(text, scope, wide) {
  const head = cellOf("th", "", wide), inner = make("span", "", text);
  head.scope = scope;
  head.title = text;
  inner.dir = "auto";
  head.append(inner);
  return head;
}

// The position of a card

const sectionOf = (at) => sections.find((section) => at < section.from + section.count);

// Pixels of cards outside of the window.
function above() {
  return byId("bar").offsetHeight - sheet.getBoundingClientRect().top;
}

function layOutAgain() {
  if (sheet.clientWidth === width && size.value === chosen) return draw(); // a phone's address bar came or went
  const hidden = above(), section = sections.findLast((candidate) => candidate.top <= hidden);
  const inside = section && filter.view === "grid" ? Math.floor((hidden - section.top) / (rowHeight + gap)) * columns : 0;
  layOut(select());
  if (hidden > 0 && section) scrollToCard(Math.min(section.from + inside, shown.length - 1));
}

function scrollToCard(at) {
  const section = sectionOf(at);
  if (!section) return;
  const inside = filter.view === "grid" ? Math.floor((at - section.from) / columns) * (rowHeight + gap) : 0;
  scrollTo({ top: scrollY - above() + section.top + inside });
}

// The card above or below another one, as close to its column as possible.
function beside(at, by) {
  let other = at + by;
  while (lineOf[other] === lineOf[at]) other += by;
  if (lineOf[other] === undefined) return at;
  const line = lineOf[other];
  let best = other;
  for (; lineOf[other] === line; other += by) {
    if (Math.abs(columnOf[other] - columnOf[at]) < Math.abs(columnOf[best] - columnOf[at])) best = other;
  }
  return best;
}
