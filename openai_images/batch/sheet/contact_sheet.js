// Draws cards and the large image, and handles input. No text of a card is parsed as HTML.

const query = byId("query"), large = byId("large");

function choose() {
  const found = select();
  if (query.value !== filter.q) query.value = filter.q;
  for (const link of document.querySelectorAll(".states a, .views a")) {
    const change = link.dataset.view ? { view: link.dataset.view } : { state: STATES.indexOf(link.dataset.state) };
    const [[name, value]] = Object.entries(change);
    link.href = fragment(change);
    if (value === filter[name]) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
  for (const element of document.querySelectorAll("#facets select")) {
    element.value = filter[element.name];
    element.parentNode.classList.toggle("set", element.selectedIndex > 0);
  }
  if (large.open) large.close();
  layOut(found);
  if (above() > 0) scrollTo({ top: scrollY - above() });
}

function makeFacets() {
  for (const { name, label, values, counts } of facets) {
    byId("facets").append(selectOf(name, label, [["", "any"], ...values.map((value) => [value, `${value} (${number(counts.get(value))})`])]));
  }
  const orders = Object.entries(ORDERS).filter(([, [, by]]) => !by || rows.some((row) => known(row, by) !== ""));
  byId("facets").append(selectOf("order", "Order", orders.map(([value, [text]]) => [value, text])));
  byId("views").hidden = !firstOf.size;
}

function selectOf(name, label, options) {
  const element = make("label"), list = make("select");
  list.name = name;
  for (const [value, text] of options) {
    const option = make("option", "", text);
    option.value = value;
    list.append(option);
  }
  list.addEventListener("change", () => (location.hash = fragment({ [name]: list.value })));
  element.append(make("span", "", label), list);
  return element;
}

// A card

const varying = facets.map(({ name }) => name);
const seconds = (row) => (row[SECONDS] ? row[SECONDS] + " s" : "");

function card(index, at, isVariant) {
  const row = rows[index], files = row[FILES] || [], slot = make("div", "slot");
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
  link.append(frame);
  if (!isVariant) link.append(make("span", "room"), wordsOf(row));
  link.append(isVariant ? variantFacts(row) : cardFacts(row));
  slot.append(link);
  if (!isVariant && row[PROMPT]) slot.append(copyButton(row, "Copy"));
  return slot;
}

function wordsOf(row) {
  const words = make("span", "words"), prompt = make("span", "", cut(row[PROMPT], 700));
  prompt.dir = "auto";
  words.append(prompt);
  return words;
}

function cardFacts(row) {
  const facts = make("span", "facts"), count = (row[FILES] || []).length;
  facts.append(make("span", "key", row[KEY]));
  if (count > 1) facts.append(make("span", "", count + " images"));
  if (row[SOURCES]) facts.append(make("span", "", "edit"));
  if (known(row, COST) !== "") facts.append(make("span", "", dollars(row[COST])));
  const more = [["model", MODEL], ["quality", QUALITY], ["format", FORMAT]].filter(([name]) => varying.includes(name));
  facts.append(make("span", "more", [...more.map(([, at]) => row[at]), seconds(row)].filter(Boolean).join(" \u00b7 ")));
  return facts;
}

function variantFacts(row) {
  const facts = make("span", "facts"), count = (row[FILES] || []).length;
  facts.append(make("b", "", known(row, COST) === "" ? NAMES[row[STATE]] : dollars(row[COST])));
  if (count > 1) facts.append(make("span", "", count + " images"));
  facts.append(make("span", "took", seconds(row)), make("span", "more", row[KEY]));
  return facts;
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
    // As large as its cell allows, before it is loaded.
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

// Copying a prompt to the clipboard

function copyButton(row, text) {
  const button = make("button", "copy", text);
  button.type = "button";
  button.setAttribute("aria-label", `Copy the prompt of ${row[KEY]}`);
  button.addEventListener("click", () => copy(row, button));
  return button;
}

let copies = 0;

async function copy(row, button) {
  let told = "Copied";
  if (row.missing) told = "Too long for this page: it is in metadata.jsonl";
  else {
    try {
      await navigator.clipboard.writeText(row[PROMPT]);
    } catch {
      if (!copyByHand(row[PROMPT])) told = "The browser does not allow it";
    }
  }
  byId("copied").textContent = told;
  button.dataset.text ??= button.textContent;
  button.textContent = told;
  const count = ++copies;
  setTimeout(() => {
    button.textContent = button.dataset.text;
    if (count === copies) byId("copied").textContent = "";
  }, 1600);
}

// Pages that are not from a secure origin have no clipboard.
function copyByHand(text) {
  const field = make("textarea", "unseen"), focused = document.activeElement;
  field.value = text;
  (large.open ? large : document.body).append(field); // what is outside of an open dialog takes no focus
  field.select();
  const worked = document.execCommand("copy");
  field.remove();
  focused.focus({ preventScroll: true });
  return worked;
}

// The large image

let position = 0, place = 0;

function factsOf(row, files) {
  const facts = [["State", NAMES[row[STATE]]]];
  if (row[MODEL]) facts.push(["Model", row[MODEL]]);
  if (row[QUALITY]) facts.push(["Quality", row[QUALITY]]);
  if (row[SOURCES]) facts.push(["Edit of", plural(row[SOURCES], "image")]);
  axes.forEach((axis, at) => {
    const value = (row[VALUES] || [])[at];
    if (value && !["model", "quality"].includes(axis)) facts.push([axis.replaceAll("_", " "), value]);
  });
  if (row[WIDTH] && files.length) facts.push(["Size", `${row[WIDTH]} \u00d7 ${row[HEIGHT]}`]);
  if (row[FORMAT]) facts.push(["Format", row[FORMAT]]);
  if (known(row, COST) !== "") facts.push(["Cost", dollars(row[COST]) + (files.length > 1 ? " for all" : "")]);
  if (row[SECONDS]) facts.push(["Took", seconds(row)]);
  if (row[TIME]) facts.push(["At", local(row[TIME]).toLocaleString("sv")]);
  if (files.length && row[REASON]) facts.push(["Reason", row[REASON]]);
  return facts;
}

function show() {
  const row = rows[shown[position]], files = row[FILES] || [];
  byId("picture").replaceChildren(files.length ? picture(row, place, false) : why(row));
  byId("picture").className = large.className = STATES[row[STATE]];
  byId("name").textContent = row[KEY] + (files.length > 1 ? ` (${place + 1} of ${files.length})` : "");
  byId("prompt").textContent = row[PROMPT];
  byId("prompt").scrollTop = 0;
  const list = factsOf(row, files).flatMap(([name, text]) => [make("dt", "", name), make("dd", "", text)]);
  if (files.length) {
    const link = make("a", "", files[place]), file = make("dd");
    link.href = address(files[place]);
    file.append(link);
    list.push(make("dt", "", "File"), file);
  }
  byId("facts").replaceChildren(...list);
  byId("copy").replaceChildren(...(row[PROMPT] ? [copyButton(row, "Copy prompt")] : []));
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
  const wanted = Math.min(Math.max(at, 0), shown.length - 1), section = sectionOf(wanted);
  if (!section) return;
  if (!section.element.firstChild) {
    scrollTo({ top: scrollY + section.element.getBoundingClientRect().top - innerHeight / 3 });
    draw();
  }
  const link = section.element.querySelectorAll(".card")[wanted - section.from];
  if (!link) return;
  link.focus({ preventScroll: true });
  link.scrollIntoView({ block: "nearest", inline: "nearest" });
}

// Input

let waiting = 0;
addEventListener("scroll", () => { waiting ||= requestAnimationFrame(() => { waiting = 0; draw(); }); }, { passive: true });
addEventListener("resize", layOutAgain);
addEventListener("hashchange", choose);
size.addEventListener("input", layOutAgain);
query.addEventListener("input", () => {
  history.replaceState(null, "", fragment({ q: query.value }));
  choose();
});
for (const part of [sheet, byId("picture")]) {
  part.addEventListener("load", (event) => event.target.classList.add("here"), true);
  part.addEventListener("error", missing, true);
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
  const link = event.target.closest(".card"), at = link && Number(link.dataset.at);
  const to = { ArrowLeft: at - 1, ArrowRight: at + 1, ArrowUp: beside(at, -1), ArrowDown: beside(at, 1) }[event.key];
  if (!link || to === undefined) return;
  event.preventDefault();
  focus(to);
});
addEventListener("keydown", (event) => {
  const isPlain = !event.ctrlKey && !event.metaKey && !event.altKey && !["INPUT", "SELECT"].includes(event.target.tagName);
  if (large.open && event.key === "ArrowLeft") move(-1);
  else if (large.open && event.key === "ArrowRight") move(1);
  else if (event.key === "c" && isPlain) {
    const button = large.open ? byId("copy").firstChild : event.target.closest(".slot, .panel")?.querySelector(".copy");
    (button || event.target.closest("section")?.querySelector(".copy"))?.click();
  } else if (!large.open && event.key === "/" && isPlain) {
    event.preventDefault();
    query.focus();
  }
});
byId("back").addEventListener("click", () => move(-1));
byId("on").addEventListener("click", () => move(1));
byId("close").addEventListener("click", () => large.close());
byId("picture").addEventListener("click", () => large.close());
large.addEventListener("close", () => focus(position));

makeFacets();
byId("bar").hidden = byId("told").hidden = false;
choose();
