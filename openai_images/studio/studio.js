/** The studio's page: a form, the selected generation, and the history. Talks to its own server only. */
import { streamImages } from "/openai-images.js";
import { brushMask } from "/mask.js";

const $ = (id) => document.getElementById(id);
const IDEAS = ["A lighthouse at dusk, in watercolour", "An otter reading on a raft, soft light", "A city cut from paper, seen from above"];
const SIZES = [["1024x1024", "Square"], ["1536x1024", "Landscape"], ["1024x1536", "Portrait"], ["2048x2048", "Large square"], ["2048x1152", "Wide 16:9"], ["3840x2160", "4K"]];
const LABELS = { quality: "Quality", background: "Background", output_format: "Format", moderation: "Moderation",
  complexity: "Complexity", input_fidelity: "Input fidelity", style: "Style" };
const MAYBE_BILLED = "It was sent, so it may be billed although no image came: check before you send it again.";
const CANCEL_NOTE = "Cancel closes the call. The request was sent, so it may still be billed.";

const records = new Map(); // by id; what the history shows
const previews = new Map(); // of running generations of this page: id -> URLs by image index
let settings;
let selected = null;
let sources = []; // {file, url, mask, maskUrl}
let checked = { problem: null, code: {} };
let oldest = null;
let isAtEnd = false;
let loading = null;

function make(name, properties = {}, ...children) {
  const { dataset, attributes, ...rest } = properties;
  const element = Object.assign(document.createElement(name), rest);
  Object.assign(element.dataset, dataset);
  for (const [key, value] of Object.entries(attributes ?? {})) element.setAttribute(key, value);
  element.append(...children.filter((child) => child !== null && child !== ""));
  return element;
}

/** Throws an error with the `status` of the response, or without one if the studio cannot be reached. */
async function api(path, options) {
  const response = await fetch(path, options).catch(() => ({}));
  if (response.ok) return response.json();
  const { status } = response;
  const text = status === 401 ? "The studio was restarted: open the address that it printed."
    : status ? `The studio answered with the status ${status}.` : "The studio cannot be reached: perhaps it was stopped.";
  throw Object.assign(new Error(text), { status });
}

const money = (text) => {
  const amount = Number(text);
  return amount > 0 && amount < 0.0001 ? "under $0.0001" : `$${amount.toFixed(amount >= 1 ? 2 : 4)}`;
};
const plural = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

// The form

function field(id, label, control) {
  control.id = id;
  return make("label", {}, label, control);
}

function choice(values, labels = {}) {
  return make("select", {}, ...values.map((value) => make("option", { value, textContent: labels[value] ?? value })));
}

function showParameters() {
  const model = settings.models.find(({ name }) => name === $("model").value);
  const before = Object.fromEntries([...$("params").querySelectorAll("select, input")].map((each) => [each.id, each.value]));
  const sizes = model.sizes.length ? SIZES.filter(([size]) => model.sizes.includes(size)) : SIZES;
  const names = Object.fromEntries(sizes.map(([size, name]) => [size, `${name} · ${size.replace("x", " × ")}`]));
  const size = choice(["", ...sizes.map(([name]) => name), ...(model.sizes.length ? [] : ["custom"])], { "": "Automatic", custom: "Another size…", ...names });
  const custom = field("custom", "Width × height", make("input", { placeholder: "1280x720", pattern: "\\d+x\\d+" }));
  custom.hidden = true;
  const fields = [field("size", "Size", size), custom, field("n", "Images", choice(["1", "2", "3", "4", "6", "8", "10"]))];
  fields[0].className = custom.className = "full";
  for (const [name, values] of Object.entries(model.values)) {
    if (!LABELS[name] || (name === "input_fidelity" && (!model.edits || !sources.length))) continue;
    const others = values.filter((value) => value !== "auto");
    fields.push(field(name, LABELS[name], choice(["", ...others], { "": "Automatic" })));
  }
  fields.push(field("output_compression", "Compression", make("input", { type: "number", min: 0, max: 100, placeholder: "100" })));
  fields.push(field("partial_images", "Previews", choice(["0", "1", "2", "3"], { 0: "None" })));
  const isRare = (each) => ["moderation", "complexity", "input_fidelity", "partial_images", "style"].includes(each.lastChild.id);
  const wasOpen = $("params").querySelector("details")?.open ?? false;
  const more = make("details", { className: "full", open: wasOpen }, make("summary", { textContent: "More" }), make("div", { className: "fields" }, ...fields.filter(isRare)));
  $("params").replaceChildren(...fields.filter((each) => !isRare(each)), more);
  $("partial_images").value = "2";
  for (const [id, value] of Object.entries(before)) {
    const control = $(id);
    if (control && (control.tagName === "INPUT" || [...control.options].some((option) => option.value === value))) control.value = value;
  }
  adjustParameters();
}

function adjustParameters() {
  $("custom").parentElement.hidden = $("size").value !== "custom";
  $("output_compression").parentElement.hidden = !["jpeg", "webp"].includes($("output_format")?.value);
  for (const control of [$("custom"), $("output_compression")]) control.disabled = control.parentElement.hidden; // an invalid hidden value would block the form
  for (const fields of [$("params"), $("params").querySelector("details .fields")]) {
    const halves = [...fields.children].filter((each) => each.matches("label:not(.full, [hidden])"));
    halves.forEach((each, at) => each.classList.toggle("alone", at === halves.length - 1 && at % 2 === 0));
  }
}

function order() {
  const params = { model: $("model").value };
  for (const control of $("params").querySelectorAll("select, input")) {
    if (control.parentElement.hidden || control.value === "" || control.value === "custom") continue;
    const name = control.id === "custom" ? "size" : control.id;
    params[name] = ["n", "partial_images", "output_compression"].includes(name) ? Number(control.value) : control.value.replace("×", "x").replaceAll(" ", "");
  }
  const names = sources.map(({ file }) => file.name);
  return { prompt: $("prompt").value, params, sources: names, mask: sources[0]?.mask ? "mask.png" : null };
}

let checking = 0;
async function check() {
  const turn = (checking += 1);
  adjustParameters();
  await new Promise((resolve) => setTimeout(resolve, 150));
  if (turn !== checking) return;
  try {
    const answer = await api("/api/check", { method: "POST", body: JSON.stringify(order()) });
    if (turn !== checking) return;
    checked = answer;
  } catch (error) {
    checked = { estimate: null, problem: error.message, code: {} };
  }
  const { estimate, problem, code } = checked;
  const isEmpty = !$("prompt").value.trim();
  const images = sources.length ? ` plus ${plural(sources.length, "input image")}` : "";
  $("estimate").textContent = isEmpty ? "The cost is shown before anything is sent." : estimate === null ? "The cost is unknown until it is done." : `Costs at most ${money(estimate)}${images}.`;
  $("problem").hidden = isEmpty || !problem;
  $("problem").textContent = problem ?? "";
  const language = $("language").value || "python";
  $("language").replaceChildren(...Object.keys(code).map((name) => make("option", { value: name, textContent: name[0].toUpperCase() + name.slice(1) })));
  $("language").value = language;
  showCode();
}

function showCode() {
  $("code").querySelector("pre").textContent = checked.code[$("language").value] ?? "";
}

// Images to edit

function addSources(files) {
  const leftOut = [];
  for (const file of files) {
    if (sources.length < 16 && /^image\/(png|jpeg|webp)$/.test(file.type)) sources.push({ file, url: URL.createObjectURL(file), mask: null });
    else leftOut.push(file.name);
  }
  const more = leftOut.length > 5 ? ` and ${leftOut.length - 5} more` : "";
  $("left-out").textContent = leftOut.length ? `Left out: ${leftOut.slice(0, 5).join(", ")}${more}. Up to 16 PNG, JPEG or WebP images are accepted.` : "";
  showSources();
}

function showSources() {
  $("sources").hidden = !sources.length;
  $("sources").replaceChildren(...sources.map((source, index) => {
    const thumb = make("span", { className: "thumb" }, make("img", { src: source.url, alt: source.file.name }));
    if (source.maskUrl) thumb.append(make("img", { src: source.maskUrl, className: "mask", alt: "its mask" }));
    const brush = make("button", { type: "button", textContent: source.mask ? "Change mask" : "Brush a mask" });
    brush.onclick = async () => {
      const mask = await brushMask(source.url).catch(() => void ($("left-out").textContent = `${source.file.name} cannot be shown.`));
      if (mask === undefined) return;
      Object.assign(source, { mask, maskUrl: mask && URL.createObjectURL(mask) });
      showSources();
    };
    const remove = make("button", { type: "button", textContent: "Remove", attributes: { "aria-label": `Remove ${source.file.name}` } });
    remove.onclick = () => {
      sources.splice(index, 1);
      showSources();
    };
    return make("li", {}, thumb, index === 0 ? brush : "", remove);
  }));
  $("generate").textContent = sources.length ? "Edit" : "Generate";
  showParameters();
  check();
}

async function editAgain(record, name) {
  const response = await fetch(`/files/${name}`).catch(() => ({}));
  if (!response.ok) return void ($("left-out").textContent = `${name} cannot be loaded.`);
  const blob = await response.blob();
  sources = [];
  addSources([new File([blob], name, { type: blob.type })]);
  $("prompt").value = "";
  $("prompt").focus();
  check();
}

// A generation

function newId() {
  const digits = new Date().toISOString().replace(/\D/g, "");
  const random = [...crypto.getRandomValues(new Uint8Array(4))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return `${digits.slice(0, 8)}-${digits.slice(8, 14)}-${random}`;
}

const AGAIN_MS = 500;
let newest = null; // the newest submit whose generation has not ended

/** A submit soon after another one is a double click, or a key that is held: it is ignored. */
async function submit(event) {
  event.preventDefault();
  if (newest && event.timeStamp - newest.at < AGAIN_MS) return void (newest.at = event.timeStamp);
  const own = (newest = { at: event.timeStamp });
  await generate();
  if (newest === own) newest = null;
}

async function generate() {
  if (!$("prompt").value.trim()) {
    $("problem").hidden = false;
    $("problem").textContent = "Write a prompt.";
    $("prompt").focus();
    return;
  }
  check();
  const wanted = order();
  const id = newId();
  const form = new FormData();
  form.append("id", id);
  form.append("order", JSON.stringify(wanted));
  for (const { file } of sources) form.append("image", file, file.name);
  if (sources[0]?.mask) form.append("mask", sources[0].mask, "mask.png");
  const record = { id, at: Date.now() / 1000, prompt: wanted.prompt, params: wanted.params, images: [], status: "running", local: settings.local };
  records.set(id, record);
  previews.set(id, []);
  prepend(card(record));
  count(1);
  select(id);
  reveal();
  watch(record);
  let failure = null;
  try {
    for await (const image of streamImages("/api/generate", form)) {
      await load(image.url);
      previews.get(id)[image.imageIndex] = { url: image.url, isFinal: image.isFinal, partialIndex: image.partialIndex };
      update(id);
    }
  } catch (error) {
    failure = error;
  }
  await settle(record, failure);
}

/** Show how a generation has ended; the studio may still be at it although the connection broke. */
async function settle(record, failure) {
  const { id } = record;
  try {
    const done = await api(`/api/history/${id}`).catch((error) => {
      if (error.status !== 404) throw error;
      return forget(record, failure);
    });
    if (done.status === "running") return void follow(id);
    await Promise.all(done.images.map(({ file }) => load(`/files/${file}`)));
    records.set(id, done);
  } catch (error) {
    records.set(id, { ...record, status: "failed", message: error.message, maybe_billed: failure?.code !== "http_status" });
  }
  previews.delete(id);
  update(id);
}

/** Keep a generation that the studio does not know from being sent later, and return its record. */
async function forget(record, failure) {
  const late = await api(`/api/cancel/${record.id}`, { method: "POST" });
  const message = failure?.code ? failure.message : "The connection to the studio broke. Nothing was sent.";
  return late.id ? late : { ...record, status: "failed", message, maybe_billed: false };
}

/** Fetch and decode an image before it is shown, so that the previous one stays until then. */
function load(src) {
  return make("img", { src }).decode().catch(() => {});
}

/** Until an image comes, ask the studio why requests wait. */
function watch(record) {
  setTimeout(async () => {
    if (records.get(record.id) !== record || previews.get(record.id)?.length) return;
    const { wait_reason: reason } = await api(`/api/history/${record.id}`).catch(() => ({}));
    if (reason !== record.wait_reason) {
      record.wait_reason = reason;
      update(record.id);
    }
    watch(record);
  }, 3000);
}

/** Poll a generation that another page, or this page before a reload, has started. */
function follow(id) {
  setTimeout(async () => {
    const record = await api(`/api/history/${id}`).catch(({ message }) => ({ ...records.get(id), message }));
    records.set(id, record);
    if (record.status === "running") follow(id);
    else previews.delete(id);
    update(id);
  }, 1500);
}

async function cancel(id) {
  await api(`/api/cancel/${id}`, { method: "POST" }).catch(({ message }) => records.set(id, { ...records.get(id), message }));
  update(id);
}

function update(id) {
  const old = $("history").querySelector(`[data-id="${id}"]`);
  const isFocused = old?.contains(document.activeElement);
  const fresh = card(records.get(id));
  old?.replaceWith(fresh);
  if (isFocused) fresh.firstChild.focus();
  if (selected === id) showStage();
}

/** Scroll to the selected generation; on a phone it is below the form. */
function reveal() {
  const isStill = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const block = matchMedia("(max-width: 860px)").matches ? "start" : "nearest";
  $("stage").scrollIntoView({ block, behavior: isStill ? "auto" : "smooth" });
}

function select(id) {
  const last = $("history").querySelector("[aria-current=true]");
  last?.removeAttribute("aria-current");
  selected = id;
  $("history").querySelector(`[data-id="${id}"] button`)?.setAttribute("aria-current", "true");
  showStage();
}

const statusText = (record) => ({ done: "", running: "Generating…", failed: "Failed", cancelled: "Cancelled", unknown: "Unknown" })[record.status] ?? record.status;

const progressText = (record) => (record.wait_reason && !previews.get(record.id)?.length ? `Waiting: ${record.wait_reason}.` : statusText(record));

function tiles(record) {
  const live = previews.get(record.id) ?? [];
  const wanted = record.status === "running" ? Math.max(record.params.n ?? 1, live.length) : 0;
  const [width, height] = (record.params.size ?? "1024x1024").split("x").map(Number);
  const shown = [];
  for (let index = 0; index < Math.max(wanted, record.images.length); index += 1) {
    const preview = live[index];
    const image = record.images[index];
    const url = preview?.url ?? (image && `/files/${image.file}`);
    const tag = preview?.isFinal || image ? "" : preview ? `Preview ${(preview.partialIndex ?? 0) + 1}` : "Waiting…";
    const figure = make("figure", { className: tag ? "waiting" : "" });
    figure.style.setProperty("--ratio", (image?.width ?? (width || 1)) / (image?.height ?? (height || 1)));
    if (url) figure.append(make("img", { src: url, alt: `${record.prompt.slice(0, 200)}${tag ? " (preview)" : ""}`, draggable: true }));
    if (tag) figure.append(make("span", { className: "tag", textContent: tag }));
    shown.push(figure);
  }
  return shown;
}

function facts(record) {
  const paid = record.cost != null ? [make("b", { textContent: money(record.cost) }), record.local ? " (not billed)" : ""] : record.status === "done" ? ["cost unknown"] : [];
  const size = record.images[0]?.width ? `${record.images[0].width} × ${record.images[0].height}` : record.params.size;
  const parts = [paid, [record.params.model], [size ?? ""], [record.quality ?? record.params.quality ?? ""], [record.seconds ? `${record.seconds} s` : ""], [new Date(record.at * 1000).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" })]];
  return make("p", { className: "facts" }, ...parts.filter((part) => part.length && part[0] !== "").map((part) => make("span", {}, ...part.filter((each) => each !== ""))));
}

function actions(record) {
  const row = make("p", { className: "actions" });
  const add = (text, onclick) => row.append(make("button", { type: "button", textContent: text, onclick }));
  if (record.status === "running") {
    add("Cancel", () => cancel(record.id));
    row.append(make("span", { className: "soft", textContent: record.local ? "Cancel closes the call." : CANCEL_NOTE }));
    return row;
  }
  if (record.images.length) add("Edit this", () => editAgain(record, record.images[0].file));
  add("Use again", () => useAgain(record));
  for (const [index, { file }] of record.images.entries()) {
    row.append(make("a", { href: `/files/${file}`, download: file, textContent: record.images.length > 1 ? `Save ${index + 1}` : "Save" }));
  }
  for (const file of [...(record.sources ?? []), record.mask]) {
    if (file) row.append(make("a", { href: `/files/${file}`, target: "_blank", textContent: file === record.mask ? "Mask" : "Source" }));
  }
  return row;
}

function useAgain(record) {
  $("prompt").value = record.prompt;
  if (settings.models.some(({ name }) => name === record.params.model)) $("model").value = record.params.model;
  showParameters();
  for (const control of $("params").querySelectorAll("select")) control.value = String(record.params[control.id] ?? "");
  if ($("size").selectedIndex < 0) {
    $("size").value = "custom";
    $("custom").value = record.params.size;
  }
  if (!$("n").value) $("n").value = "1";
  $("prompt").focus();
  check();
}

function trouble(record) {
  if (record.status === "unknown") return `The studio was stopped before this ended. Images that arrived are here; the rest is unknown. ${MAYBE_BILLED}`;
  if (record.status === "cancelled" && !record.maybe_billed) return "Cancelled in time. It is not billed.";
  if (record.status === "cancelled") return record.local ? "Cancelled." : "Cancelled. It was sent, so it may still be billed.";
  if (!record.message) return "";
  const message = `${record.message[0].toUpperCase()}${record.message.slice(1).replace(/\.$/, "")}.`;
  return record.maybe_billed && !record.local ? `${message} ${MAYBE_BILLED}` : message;
}

function showStage() {
  const record = records.get(selected);
  if (!record) {
    const ideas = IDEAS.map((idea) => make("button", { type: "button", textContent: idea, onclick: () => {
      $("prompt").value = idea;
      $("prompt").focus();
      check();
    } }));
    $("stage").replaceChildren(make("div", { className: "empty" }, make("h2", { textContent: "Nothing generated yet" }),
      make("p", { textContent: "Write a prompt, or begin with one of these. Drop an image in to edit it." }), make("div", { className: "ideas" }, ...ideas)));
    return;
  }
  const text = trouble(record);
  const status = make("p", { className: "soft", textContent: progressText(record), attributes: { role: "status" } });
  const shown = tiles(record);
  const parts = [shown.length ? make("div", { className: `images ${shown.length === 4 ? "four" : ""}` }, ...shown) : "",
    text ? make("p", { className: "error", textContent: text, attributes: { role: "alert" } }) : "",
    make("p", { className: "prompt", textContent: record.prompt, dir: "auto" }), facts(record), record.status === "running" ? status : "", actions(record)];
  // The Cancel button keeps the focus while previews arrive.
  const focused = $("stage").contains(document.activeElement) ? document.activeElement.textContent : null;
  $("stage").replaceChildren(...parts.filter((part) => part !== ""));
  if (focused) [...$("stage").querySelectorAll("button, a")].find((each) => each.textContent === focused)?.focus();
}

// The history

function card(record) {
  const live = previews.get(record.id)?.find((preview) => preview)?.url;
  const file = record.images[0]?.file;
  const shot = make("span", { className: `shot ${record.status}`, textContent: live || file ? "" : statusText(record) });
  if (live || file) shot.append(make("img", { src: live ?? `/thumbnails/${file}`, alt: "", loading: "lazy", decoding: "async" }));
  if (record.images.length > 1) shot.append(make("span", { textContent: `${record.images.length} images` }));
  const price = record.cost != null ? money(record.cost) : statusText(record);
  const time = new Date(record.at * 1000).toLocaleDateString(undefined, { day: "numeric", month: "short" });
  const button = make("button", { type: "button", onclick: () => {
    select(record.id);
    reveal();
  } }, shot, make("span", { className: "line", textContent: record.prompt, dir: "auto" }), make("span", { className: "line", textContent: [price, time].filter(Boolean).join(" · ") }));
  if (record.id === selected) button.setAttribute("aria-current", "true");
  return make("li", { dataset: { id: record.id } }, button);
}

const GROUP = 60;

/** Add older cards to the last group of the history, and to new ones. */
function append(cards) {
  while (cards.length) {
    const last = $("history").lastElementChild;
    const room = last ? GROUP - last.childElementCount : 0;
    if (room <= 0) $("history").append(document.createElement("ol"));
    else last.append(...cards.splice(0, room));
  }
}

/** Add the newest card; each full group gives its oldest one to the next. */
function prepend(newest) {
  let moved = newest;
  for (const group of $("history").children) {
    group.prepend(moved);
    if (group.childElementCount <= GROUP) return;
    moved = group.lastElementChild;
  }
  append([moved]);
}

let total = 0;
function count(more = 0) {
  total += more;
  $("count").textContent = plural(total, "generation");
  $("past").hidden = !total;
}

function loadMore() {
  loading ??= (async () => {
    const answer = await api(`/api/history${oldest ? `?before=${oldest}` : ""}`);
    const cards = [];
    for (const record of answer.records) {
      oldest = record.id;
      if (records.has(record.id)) continue;
      records.set(record.id, record);
      cards.push(card(record));
      if (record.status === "running") follow(record.id);
    }
    append(cards);
    isAtEnd = !answer.records.length;
    total = answer.total;
    count();
    return answer.records;
  })().finally(() => (loading = null));
  return loading;
}

new IntersectionObserver(async (entries, observer) => {
  if (!entries.at(-1).isIntersecting || isAtEnd || !oldest) return;
  await loadMore();
  observer.unobserve($("more")); // observe again: it may still be near the viewport
  observer.observe($("more"));
}, { rootMargin: "800px" }).observe($("more"));

async function start() {
  settings = await api("/api/settings");
  $("where").textContent = `${settings.folder} · ${settings.local ? "local placeholder images" : settings.server}`;
  $("stand-in").hidden = !settings.local;
  $("model").replaceChildren(...settings.models.map(({ name, ends }) => make("option", { value: name, textContent: ends ? `${name} (until ${ends})` : name })));
  $("model").value = settings.model;
  showParameters();
  const [newest] = await loadMore();
  selected = newest?.id ?? null;
  if (selected) select(selected);
  else showStage();
  check();
  document.documentElement.dataset.ready = "true";
}

$("form").addEventListener("submit", submit);
$("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("form").requestSubmit();
});
$("prompt").addEventListener("input", check);
$("params").addEventListener("input", check);
$("model").addEventListener("change", () => {
  showParameters();
  check();
});
$("language").addEventListener("change", showCode);
$("copy").addEventListener("click", async () => {
  await navigator.clipboard.writeText($("code").querySelector("pre").textContent);
  $("copy").textContent = "Copied";
  setTimeout(() => ($("copy").textContent = "Copy"), 1500);
});
$("pick").addEventListener("change", () => {
  addSources($("pick").files);
  $("pick").value = "";
});
for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    if (!event.dataTransfer.types.includes("Files")) return; // text for the prompt, for example
    event.preventDefault();
    $("drop").classList.toggle("over", name === "dragover" || name === "dragenter");
    if (name === "drop") addSources(event.dataTransfer.files);
  });
}

start().catch((error) => {
  $("problem").hidden = false;
  $("problem").textContent = error.message;
});
