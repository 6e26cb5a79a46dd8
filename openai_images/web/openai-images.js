/**
 * The client of a relay, for browsers: `streamImages`, an async iterator of images, and the element `<image-stream>`.
 *
 * An ES module without dependencies. It reads the wire format of the images API: server-sent events with an image as
 * base64, or with its URL. `EventSource` cannot POST, so the stream is read with `fetch`.
 */

/** An error of the stream; its message is safe to show. `code` is the server's, `maybeBilled`: it may be billed. */
export class ImageStreamError extends Error {
  constructor(message, code, maybeBilled = false) {
    super(message);
    this.name = "ImageStreamError";
    this.code = code;
    this.maybeBilled = maybeBilled;
  }
}

/**
 * POST `body` (an object becomes JSON) to `url` and yield each image as it arrives:
 * `{isFinal, imageIndex, partialIndex, url, blob, event}`. `url` shows the image in an `<img>`; if the server
 * sent base64, it is the URL of `blob`, and `URL.revokeObjectURL` frees it. `event` is the server's, without the image.
 *
 * Leaving the loop or aborting `signal` ends the request. Throws an `ImageStreamError`, or the errors of `fetch`.
 */
export async function* streamImages(url, body, { signal, headers = {} } = {}) {
  const isForm = body instanceof FormData;
  const response = await fetch(url, {
    method: "POST",
    headers: { Accept: "text/event-stream", ...(isForm ? {} : { "Content-Type": "application/json" }), ...headers },
    body: isForm || typeof body === "string" ? body : JSON.stringify(body),
    signal,
  });
  if (!response.ok || !response.body) {
    throw new ImageStreamError(`The server answered with the status ${response.status}.`, "http_status");
  }
  let isComplete = false;
  for await (const event of readEvents(response.body)) {
    if (event.type === "error") {
      const { message, code, maybe_billed: maybeBilled } = event.error ?? {};
      throw new ImageStreamError(message ?? "The image could not be generated.", code, maybeBilled);
    }
    const image = toImage(event);
    if (image) {
      isComplete ||= image.isFinal;
      yield image;
    }
  }
  if (!isComplete) {
    throw new ImageStreamError("The connection ended before the image was complete.", "interrupted", true);
  }
}

/** Yield the JSON of each server-sent event. */
async function* readEvents(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let pieces = []; // of an incomplete event: joined once, because one image may come in hundreds
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const previous = pieces.at(-1) ?? "";
      if (!value.includes("\n") && !previous.endsWith("\n")) {
        pieces.push(value);
        continue;
      }
      const blocks = (pieces.join("") + value).split("\n\n");
      pieces = [blocks.pop()];
      for (const block of blocks) {
        const data = block
          .split("\n")
          .filter((line) => line.startsWith("data:"))
          .map((line) => line.slice(5))
          .join("\n");
        if (data.trim() && data.trim() !== "[DONE]") yield JSON.parse(data);
      }
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

function toImage({ b64_json: base64, url, ...event }) {
  if (!base64 && !url) return null;
  const blob = base64 ? new Blob([decodeBase64(base64)], { type: `image/${event.output_format ?? "png"}` }) : null;
  return {
    isFinal: /\.completed$/.test(event.type ?? ""),
    imageIndex: event.image_index ?? 0,
    partialIndex: event.partial_image_index ?? null,
    url: blob ? URL.createObjectURL(blob) : url,
    blob,
    event,
  };
}

function decodeBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let index = 0; index < binary.length; index += 1) bytes[index] = binary.charCodeAt(index);
  return bytes;
}

const STYLE = `
  :host { display: block; font: inherit; color: inherit; }
  .images { display: grid; gap: 0.75rem; grid-template-columns: repeat(auto-fit, minmax(min(16rem, 100%), 1fr)); }
  img { display: block; width: 100%; height: auto; border-radius: 0.5rem; background: color-mix(in srgb, currentColor 8%, transparent); }
  img.partial { filter: saturate(0.85); }
  .bar { block-size: 0.25rem; border-radius: 1rem; overflow: hidden; margin-block: 0.5rem;
         background: color-mix(in srgb, currentColor 14%, transparent); }
  .bar::after { content: ""; display: block; block-size: 100%; inline-size: 40%; border-radius: inherit;
                background: currentColor; animation: slide 1.6s ease-in-out infinite; }
  p { margin: 0.5rem 0; font-size: 0.875rem; opacity: 0.8; }
  p:empty { margin: 0; }
  p.error { opacity: 1; color: #b3261e; font-weight: 600; }
  [hidden] { display: none; }
  @keyframes slide { from { transform: translateX(-100%); } to { transform: translateX(250%); } }
  @media (prefers-reduced-motion: reduce) { .bar::after { animation: none; inline-size: 100%; opacity: 0.4; } }
  @media (prefers-color-scheme: dark) { p.error { color: #ff8a80; } }
`;

/**
 * `<image-stream alt="…">`: shows the images of one stream at a time, its progress and its error.
 *
 * `start(url, body, options)` starts a request (and stops the previous one), `stop()` ends it. Dispatches `image` (its
 * `detail` is what `streamImages` yields), `complete` and `failure` (`detail` is the error).
 */
export class ImageStreamElement extends HTMLElement {
  #abort = null;
  #urls = new Map(); // URLs of the shown blobs, by image index
  #images;
  #bar;
  #status;
  #error;

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    const sheet = new CSSStyleSheet(); // allowed by a strict Content-Security-Policy
    sheet.replaceSync(STYLE);
    root.adoptedStyleSheets = [sheet];
    const add = (name, properties, attributes = {}) => {
      const element = Object.assign(document.createElement(name), properties);
      for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
      return root.appendChild(element);
    };
    this.#images = add("div", { className: "images" });
    this.#bar = add("div", { className: "bar", hidden: true }, { "aria-hidden": "true" });
    this.#status = add("p", { className: "status" }, { role: "status" });
    this.#error = add("p", { className: "error", hidden: true }, { role: "alert" });
  }

  disconnectedCallback() {
    this.stop();
    this.#free();
  }

  /** Whether a request is in flight. */
  get running() {
    return this.#abort !== null;
  }

  /** Show the stream of a POST; resolves when it has ended, whether complete, failed or stopped. */
  async start(url, body, options = {}) {
    this.stop();
    this.#free();
    this.#images.replaceChildren();
    this.#error.hidden = true;
    this.#bar.hidden = false;
    this.#status.textContent = "Waiting for the image…";
    const abort = (this.#abort = new AbortController());
    try {
      for await (const image of streamImages(url, body, { ...options, signal: abort.signal })) {
        if (this.#abort !== abort) return;
        this.#show(image);
        this.#dispatch("image", image);
      }
      this.#end(abort, "The image is complete.");
      this.#dispatch("complete");
    } catch (error) {
      if (this.#abort !== abort) return; // stopped, or another one was started
      this.#end(abort, "");
      this.#error.textContent = error instanceof ImageStreamError ? error.message : "The server cannot be reached.";
      this.#error.hidden = false;
      this.#dispatch("failure", error);
    }
  }

  /** End the request; the images that are shown stay. */
  stop() {
    const abort = this.#abort;
    if (abort === null) return;
    this.#end(abort, "Stopped.");
    abort.abort();
  }

  #end(abort, text) {
    if (this.#abort !== abort) return;
    this.#abort = null;
    this.#bar.hidden = true;
    this.#status.textContent = text;
  }

  #show(image) {
    let shown = this.#images.querySelector(`[data-index="${image.imageIndex}"]`);
    if (!shown) {
      shown = document.createElement("img");
      shown.dataset.index = image.imageIndex;
      this.#images.append(shown);
    }
    const name = this.getAttribute("alt") ?? "Generated image";
    shown.src = image.url;
    shown.className = image.isFinal ? "" : "partial";
    shown.alt = image.isFinal ? name : `${name} (preview)`;
    if (!image.isFinal) this.#status.textContent = `Preview ${(image.partialIndex ?? 0) + 1}…`;
    const previous = this.#urls.get(image.imageIndex);
    if (previous) URL.revokeObjectURL(previous);
    this.#urls.set(image.imageIndex, image.blob ? image.url : undefined);
  }

  #free() {
    for (const url of this.#urls.values()) if (url) URL.revokeObjectURL(url);
    this.#urls.clear();
  }

  #dispatch(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

if (!customElements.get("image-stream")) customElements.define("image-stream", ImageStreamElement);
