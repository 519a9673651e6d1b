// A PDF page by page, with passages marked in its text. pdf.js is loaded with this module.
import { make } from "./dom.js";
import { t } from "./i18n.js";
import * as pdfjs from "./vendor/pdf/pdf.mjs";

pdfjs.GlobalWorkerOptions.workerSrc = new URL("./vendor/pdf/pdf.worker.mjs", import.meta.url).href;

const WIDEST = 1000; // pixels of a page

// Shows the page of a document in a holder; returns what frees it.
export async function show(holder, data, first, passages) {
  const loading = pdfjs.getDocument({ data, enableXfa: false, isEvalSupported: false, useWasm: false, useSystemFonts: true, verbosity: 0 });
  const file = await loading.promise;
  let number = Math.min(Math.max(first, 1), file.numPages);
  let turning = Promise.resolve();
  const where = make("span", { role: "status" });
  const turn = (by) => () => { turning = turning.then(() => go(number + by)); };
  const back = make("button", { class: "quiet", type: "button", onclick: turn(-1), "aria-label": t("previous") }, "‹");
  const forth = make("button", { class: "quiet", type: "button", onclick: turn(1), "aria-label": t("following") }, "›");
  const sheet = make("div", { class: "sheet" });
  holder.replaceChildren(make("div", { class: "pages" }, back, where, forth), sheet);

  async function go(wanted) {
    if (wanted < 1 || wanted > file.numPages) return;
    number = wanted;
    where.textContent = t("page", { number, count: file.numPages });
    back.disabled = number === 1;
    forth.disabled = number === file.numPages;
    await draw(await file.getPage(number), sheet, number === first ? passages : []);
  }
  await go(number);
  return () => loading.destroy();
}

async function draw(page, sheet, passages) {
  const width = Math.min(sheet.clientWidth || WIDEST, WIDEST);
  const scale = width / page.getViewport({ scale: 1 }).width;
  const viewport = page.getViewport({ scale });
  const density = Math.min(devicePixelRatio || 1, 2);
  const canvas = make("canvas", { "aria-hidden": "true" });
  canvas.width = Math.floor(viewport.width * density);
  canvas.height = Math.floor(viewport.height * density);
  canvas.style.width = `${viewport.width}px`;
  canvas.style.height = `${viewport.height}px`;
  const layer = make("div", { class: "text-layer" });
  layer.style.setProperty("--total-scale-factor", String(scale));
  sheet.style.height = `${viewport.height}px`;
  sheet.replaceChildren(canvas, layer);
  await page.render({ canvas, viewport, transform: density === 1 ? null : [density, 0, 0, density, 0, 0] }).promise;
  const text = new pdfjs.TextLayer({ textContentSource: await page.getTextContent(), container: layer, viewport });
  await text.render();
  mark(text.textDivs, passages);
}

// Marks the passages in pieces of text, whatever space is in them; lines alone where all is not found.
function mark(pieces, passages) {
  const letters = []; // [piece, place in it] of each letter that is no space
  let whole = "";
  for (const [at, piece] of pieces.entries())
    for (const [place, letter] of [...piece.textContent].entries())
      if (/\S/.test(letter)) { letters.push([at, place]); whole += letter.length === 1 ? letter : "?"; }
  const marked = new Set();
  for (const passage of passages) {
    if (!passage) continue;
    const found = positions(whole, passage) || passage.split("\n").map((line) => (line.length > 20 ? positions(whole, line) : null)).find(Boolean);
    if (!found) continue;
    for (let at = found[0]; at < found[1]; at++) marked.add(at);
    break; // the sentence that counts; else the whole passage
  }
  const places = new Map();
  for (const at of marked) places.set(letters[at][0], [...(places.get(letters[at][0]) || []), letters[at][1]]);
  for (const [at, inside] of places) {
    const letters_of = [...pieces[at].textContent];
    const [from, to] = [inside[0], inside.at(-1) + 1];
    pieces[at].replaceChildren(letters_of.slice(0, from).join(""), make("mark", {}, letters_of.slice(from, to).join("")), letters_of.slice(to).join(""));
  }
}

function positions(whole, passage) {
  const wanted = [...passage].filter((letter) => /\S/.test(letter)).map((letter) => (letter.length === 1 ? letter : "?")).join("");
  const at = wanted ? whole.indexOf(wanted) : -1;
  return at < 0 ? null : [at, at + wanted.length];
}
