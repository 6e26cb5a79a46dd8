/**
 * A mask brushed over an image: `brushMask(url)` resolves to a Blob (PNG of the image's own size), to null if nothing is
 * painted, or to undefined if it was cancelled; it rejects if the image cannot be decoded.
 */

const COLOR = "#ff5a36";
const $ = (id) => document.getElementById(id);
const dialog = $("mask");
const canvas = dialog.querySelector("canvas");
const image = dialog.querySelector("img");
const pen = canvas.getContext("2d");
let last = null; // the brush, in pixels of the image
let isPainted = false;

const radius = () => Math.max(2, (Math.max(canvas.width, canvas.height) * $("brush").value) / 200);

function stroke(to, from = to) {
  pen.globalCompositeOperation = $("erase").checked ? "destination-out" : "source-over";
  pen.strokeStyle = COLOR;
  pen.lineWidth = radius() * 2;
  pen.lineCap = "round";
  pen.beginPath();
  pen.moveTo(from.x, from.y);
  pen.lineTo(to.x, to.y + 0.01); // a line without a length is not drawn everywhere
  pen.stroke();
  last = to;
  isPainted = true;
}

function point(event) {
  const box = canvas.getBoundingClientRect();
  return {
    x: ((event.clientX - box.left) / box.width) * canvas.width,
    y: ((event.clientY - box.top) / box.height) * canvas.height,
  };
}

canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  stroke(point(event));
});
canvas.addEventListener("pointermove", (event) => {
  if (event.buttons) stroke(point(event), last ?? point(event));
});
canvas.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (!step && event.key !== " ") return;
  event.preventDefault();
  const from = last ?? { x: canvas.width / 2, y: canvas.height / 2 };
  if (!step) return stroke(from);
  const to = {
    x: Math.min(canvas.width, Math.max(0, from.x + step[0] * radius())),
    y: Math.min(canvas.height, Math.max(0, from.y + step[1] * radius())),
  };
  if (event.shiftKey) last = to; // moves without painting
  else stroke(to, from);
});

function clear() {
  pen.clearRect(0, 0, canvas.width, canvas.height);
  last = null;
  isPainted = false;
}

/** Black where the image is kept, transparent where it was painted. */
function toBlob() {
  const out = new OffscreenCanvas(canvas.width, canvas.height);
  const context = out.getContext("2d");
  context.fillRect(0, 0, out.width, out.height);
  context.globalCompositeOperation = "destination-out";
  context.drawImage(canvas, 0, 0);
  return out.convertToBlob({ type: "image/png" });
}

export async function brushMask(url) {
  image.src = url;
  await image.decode();
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  clear();
  dialog.showModal();
  canvas.focus();
  return new Promise((resolve) => {
    const end = async (isUsed) => {
      $("mask-done").onclick = $("mask-cancel").onclick = dialog.onclose = null;
      dialog.close();
      resolve(isUsed ? (isPainted ? await toBlob() : null) : undefined);
    };
    $("mask-done").onclick = () => end(true);
    $("mask-cancel").onclick = () => end(false);
    dialog.onclose = () => end(false);
    $("mask-clear").onclick = clear;
  });
}
