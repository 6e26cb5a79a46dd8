// Draws the sheet. Only what is near the window is in the page: sections of a few rows, all equally tall, are filled
// when they come close and emptied when they are far. No text from a card is ever read as HTML.
"use strict";
(() => {
  const STATES = ["done", "failed", "blocked", "unknown", "away", "pending"];
  const NAMES = ["done", "failed", "blocked by moderation", "unknown", "behind a URL", "not yet"];
  const OF_ALL = [
    "",
    "The same command with --retry-failed sends these again.",
    "The safety system refused these.",
    "These were sent, and nobody knows whether they ran: they may be on the bill. The same command with --retry-unknown sends them again.",
    "These are paid for, and their pictures are where the journal says. The same command brings them.",
    "The same command goes on with these.",
  ];
  const OF_ONE = ["", "", "The safety system refused it.", "It was sent, and may be on the bill.", "It is paid for.", "It was not sent."];
  const [KEY, PROMPT, STATE, FILES, THUMBS, WIDTH, HEIGHT, REASON, COST, SECONDS] = Array(10).keys();
  const ROWS = 6; // of a section
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

  const rows = JSON.parse(byId("data").textContent);
  const sheet = byId("sheet"), query = byId("query"), size = byId("size"), large = byId("large");
  const texts = []; // what a search looks in, made when it is first needed
  let shown = [], filter = {}, columns = 1, rowHeight = 1, gap = 0, width = 0, chosen = "", sections = [];

  // What is shown

  function wish() {
    const given = new URLSearchParams(location.hash.slice(1));
    return { state: STATES.indexOf(given.get("state")), words: given.get("q") || "" };
  }

  function fragment(state, words) {
    const given = new URLSearchParams();
    if (state >= 0) given.set("state", STATES[state]);
    if (words) given.set("q", words);
    return "#" + given;
  }

  function matches(index, words) {
    if (texts[index] === undefined) {
      const row = rows[index];
      texts[index] = [row[KEY], row[PROMPT], row[REASON] || ""].join("\n").toLowerCase();
    }
    return words.every((word) => texts[index].includes(word));
  }

  function choose() {
    filter = wish();
    const words = filter.words.toLowerCase().split(/\s+/).filter(Boolean);
    shown = [];
    for (let index = 0; index < rows.length; index++) {
      if (filter.state >= 0 && rows[index][STATE] !== filter.state) continue;
      if (!words.length || matches(index, words)) shown.push(index);
    }
    if (query.value !== filter.words) query.value = filter.words;
    for (const link of document.querySelectorAll(".states a")) {
      const state = STATES.indexOf(link.dataset.state);
      link.href = fragment(state, filter.words);
      if (state === filter.state) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
    const told = `${number(shown.length)} of ${number(rows.length)} prompts. ${OF_ALL[filter.state] || ""}`;
    byId("told").textContent = filter.state < 0 && !words.length ? "" : told.trim();
    if (large.open) large.close();
    layOut();
    if (above() > 0) scrollTo({ top: scrollY - above() });
  }

  // Where it is shown

  function layOut() {
    const style = getComputedStyle(document.documentElement);
    const rem = parseFloat(style.fontSize);
    width = sheet.clientWidth;
    chosen = size.value;
    gap = parseFloat(style.getPropertyValue("--gap"));
    const least = Math.min(Number(size.value), (width - gap) / 2);
    columns = Math.max(1, Math.floor((width + gap) / (least + gap)));
    const side = (width - gap * (columns - 1)) / columns;
    rowHeight = Math.round(side + parseFloat(style.getPropertyValue("--words")) * rem);
    const lines = Math.max(2, Math.floor((side - 50) / (0.82 * 1.4 * rem)));
    sheet.style.setProperty("--columns", columns);
    sheet.style.setProperty("--row", rowHeight + "px");
    sheet.style.setProperty("--lines", lines);
    sections = [];
    for (let from = 0; from < shown.length; from += columns * ROWS) {
      const section = make("section");
      const count = Math.ceil((Math.min(from + columns * ROWS, shown.length) - from) / columns);
      section.style.height = count * (rowHeight + gap) + "px";
      section.style.setProperty("--tall", section.style.height);
      sections.push(section);
    }
    sheet.replaceChildren(...(sections.length ? sections : [make("p", "none", "Nothing here.")]));
    draw();
  }

  function above() {
    return byId("bar").offsetHeight - sheet.getBoundingClientRect().top; // pixels of cards that are out of sight
  }

  function layOutAgain() {
    if (sheet.clientWidth === width && size.value === chosen) return draw(); // a phone's address bar came or went
    const first = above() > 0 ? Math.floor(above() / (rowHeight + gap)) * columns : -1;
    layOut();
    if (first >= 0) scrollTo({ top: scrollY - above() + Math.floor(first / columns) * (rowHeight + gap) });
  }

  function draw() {
    const tall = ROWS * (rowHeight + gap);
    const top = -sheet.getBoundingClientRect().top;
    const first = Math.floor((top - innerHeight) / tall), last = Math.floor((top + 2 * innerHeight) / tall);
    sections.forEach((section, at) => {
      const near = at >= first && at <= last;
      if (near && !section.firstChild) {
        const from = at * columns * ROWS;
        const cards = shown.slice(from, from + columns * ROWS).map((index, step) => card(index, from + step));
        section.replaceChildren(...cards);
      } else if (!near && section.firstChild && !section.contains(document.activeElement)) {
        section.replaceChildren();
      }
    });
  }

  // A card

  function card(index, at) {
    const row = rows[index], files = row[FILES] || [];
    const link = make(files.length ? "a" : "button", "card " + STATES[row[STATE]]);
    if (files.length) link.href = address(files[0]);
    link.dataset.at = at;
    const frame = make("span", "frame");
    frame.style.setProperty("--across", Math.ceil(Math.sqrt(files.length || 1)));
    files.forEach((file, place) => {
      const cell = make("span", "cell");
      cell.append(picture(row, place, true));
      frame.append(cell);
    });
    if (!files.length) frame.append(why(row));
    const words = make("span", "words"), facts = make("span", "facts");
    const prompt = make("span", "", cut(row[PROMPT], 700));
    prompt.dir = "auto";
    words.append(prompt);
    facts.append(make("span", "", row[KEY]));
    if (files.length > 1) facts.append(make("span", "", files.length + " pictures"));
    if (row[COST]) facts.append(make("span", "", row[COST]));
    link.append(frame, make("span", "room"), words, facts);
    return link;
  }

  function why(row) {
    const box = make("span", "why"), reason = make("span", "", row[REASON] || OF_ONE[row[STATE]]);
    reason.dir = "auto";
    box.append(make("b", "", NAMES[row[STATE]]), reason);
    return box;
  }

  function picture(row, place, small) {
    const image = make("img"), original = address(row[FILES][place]);
    const [width, height] = [row[WIDTH], row[HEIGHT]];
    if (small) {
      image.loading = "lazy";
      image.decoding = "async";
    }
    if (width && height && small) {
      image.width = width;
      image.height = height;
      // As large as its cell allows, before it has come.
      image.style.width = `min(100cqw, 100cqh * ${width / height})`;
      image.style.height = "auto";
      image.style.aspectRatio = `${width} / ${height}`;
    }
    image.alt = "";
    image.dataset.original = original;
    image.src = small && (row[THUMBS] || 0) & (1 << place) ? "thumbs/" + original + ".webp" : original;
    return image;
  }

  function missing(event) {
    const image = event.target;
    if (image.tagName !== "IMG") return;
    if (image.getAttribute("src") !== image.dataset.original) image.src = image.dataset.original;
    else image.replaceWith(make("span", "gone", "The file cannot be shown."));
  }

  // Large

  let position = 0, place = 0;

  function show() {
    const row = rows[shown[position]], files = row[FILES] || [];
    byId("picture").replaceChildren(files.length ? picture(row, place, false) : why(row));
    byId("picture").className = large.className = STATES[row[STATE]];
    byId("name").textContent = row[KEY] + (files.length > 1 ? ` (${place + 1} of ${files.length})` : "");
    byId("prompt").textContent = row[PROMPT];
    byId("prompt").scrollTop = 0;
    const facts = [["State", NAMES[row[STATE]]]];
    if (row[WIDTH] && files.length) facts.push(["Size", `${row[WIDTH]} \u00d7 ${row[HEIGHT]}`]);
    if (row[COST]) facts.push(["Cost", row[COST] + (files.length > 1 ? " for all" : "")]);
    if (row[SECONDS]) facts.push(["Took", row[SECONDS] + " s"]);
    if (files.length && row[REASON]) facts.push(["Reason", row[REASON]]);
    const list = facts.flatMap(([name, text]) => [make("dt", "", name), make("dd", "", text)]);
    if (files.length) {
      const link = make("a", "", files[place]), file = make("dd");
      link.href = address(files[place]);
      file.append(link);
      list.push(make("dt", "", "File"), file);
    }
    byId("facts").replaceChildren(...list);
    byId("back").disabled = position === 0 && place === 0;
    byId("on").disabled = position === shown.length - 1 && place >= files.length - 1;
    if (!large.open) large.showModal();
  }

  function move(by) {
    const count = (at) => Math.max(1, (rows[shown[at]][FILES] || []).length);
    if (place + by >= 0 && place + by < count(position)) place += by;
    else if (position + by >= 0 && position + by < shown.length) {
      position += by;
      place = by > 0 ? 0 : count(position) - 1;
    } else return;
    show();
  }

  function focus(at) {
    const wanted = Math.min(Math.max(at, 0), shown.length - 1), section = sections[Math.floor(wanted / (columns * ROWS))];
    if (!section) return;
    if (!section.firstChild) {
      scrollTo({ top: scrollY + section.getBoundingClientRect().top - innerHeight / 3 });
      draw();
    }
    const link = section.children[wanted % (columns * ROWS)];
    link.focus({ preventScroll: true });
    link.scrollIntoView({ block: "nearest" });
  }

  // What people do

  let waiting = 0;
  addEventListener("scroll", () => { waiting ||= requestAnimationFrame(() => { waiting = 0; draw(); }); }, { passive: true });
  addEventListener("resize", layOutAgain);
  addEventListener("hashchange", choose);
  size.addEventListener("input", layOutAgain);
  query.addEventListener("input", () => {
    history.replaceState(null, "", fragment(filter.state, query.value));
    choose();
  });
  for (const place of [sheet, byId("picture")]) {
    place.addEventListener("load", (event) => event.target.classList.add("here"), true);
    place.addEventListener("error", missing, true);
  }
  sheet.addEventListener("click", (event) => {
    const link = event.target.closest(".card");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    position = Number(link.dataset.at);
    const cell = event.target.closest(".cell");
    place = cell && link.href ? [...cell.parentNode.children].indexOf(cell) : 0;
    show();
  });
  sheet.addEventListener("keydown", (event) => {
    const link = event.target.closest(".card");
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    if (!link || !by) return;
    event.preventDefault();
    focus(Number(link.dataset.at) + by);
  });
  addEventListener("keydown", (event) => {
    if (large.open && event.key === "ArrowLeft") move(-1);
    else if (large.open && event.key === "ArrowRight") move(1);
    else if (!large.open && event.key === "/" && document.activeElement !== query) {
      event.preventDefault();
      query.focus();
    }
  });
  byId("back").addEventListener("click", () => move(-1));
  byId("on").addEventListener("click", () => move(1));
  byId("close").addEventListener("click", () => large.close());
  byId("picture").addEventListener("click", () => large.close());
  large.addEventListener("close", () => focus(position));

  byId("bar").hidden = byId("told").hidden = false;
  choose();
})();
