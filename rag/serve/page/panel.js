// The panel beside the conversation: an answer's sources, and what its run did.
import { $, make, marked_passage, seconds } from "./dom.js";

let drawing = null;

export function open(tab) {
  $("panel").hidden = false;
  $("details").setAttribute("aria-expanded", "true");
  if (tab) select(tab);
}

export function close() {
  $("panel").hidden = true;
  $("details").setAttribute("aria-expanded", "false");
}

export function select(name) {
  for (const one of ["sources", "run"]) {
    const chosen = one === name;
    $(one).hidden = !chosen;
    $(`tab-${one}`).setAttribute("aria-selected", String(chosen));
    $(`tab-${one}`).tabIndex = chosen ? 0 : -1;
  }
}

export function sources(list, number = null) {
  const holder = $("sources");
  holder.replaceChildren();
  if (!list || !list.length) {
    holder.append(make("p", { class: "empty" }, "The sources of an answer are shown here."));
    return;
  }
  for (const one of list) {
    const chosen = number === null ? one.cited : one.number === number;
    const head = make("summary", {},
      make("span", { class: one.cited ? "number used" : "number" }, String(one.number)),
      make("span", { class: "place" }, one.title || one.place),
      one.support === null || one.support === undefined ? null
        : make("span", { class: "support" }, `${Math.round(one.support * 100)} % supported`));
    const body = make("details", { id: `source-${one.number}`, class: "source", open: chosen }, head,
      make("p", { class: "where" }, one.place), marked_passage(one.text, one.quote));
    holder.append(body);
  }
  if (number !== null) {
    const element = $(`source-${number}`);
    element?.querySelector("summary").focus();
    element?.querySelector("mark")?.scrollIntoView({ block: "nearest" });
  }
}

export function begin(svg) {
  drawing = make("div", { class: "drawing" });
  if (svg) {
    // Its colours are the page's; a style of its own would be refused anyway.
    drawing.append(DOMPurify.sanitize(svg.replace(/<style>.*?<\/style>/s, ""), {
      USE_PROFILES: { svg: true }, ADD_ATTR: ["data-node"], RETURN_DOM_FRAGMENT: true,
    }));
    const picture = drawing.querySelector("svg");
    picture?.querySelector("rect[fill=white]")?.remove();
    for (const arrow of drawing.querySelectorAll(".arrow")) arrow.setAttribute("marker-end", "url(#head)");
  }
  $("run").replaceChildren(drawing, make("div", { id: "numbers" }));
}

// A step's events name its node, as the drawing does.
export function light(node, state) {
  const box = [...(drawing?.querySelectorAll("[data-node]") ?? [])].find((one) => one.dataset.node === node);
  if (box) box.dataset.state = state;
}

function table(caption, rows) {
  return make("table", {}, make("caption", {}, caption), make("tbody", {}, ...rows.map(([name, value]) =>
    make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, value)))));
}

export function numbers(run) {
  const holder = $("numbers");
  if (!holder) return;
  holder.replaceChildren();
  const used = run.usage || {};
  const first = [["First token", seconds(run.first_token)], ["In all", seconds(run.seconds)]];
  if (run.waited > 0.01) first.push(["Waited", seconds(run.waited)]);
  if (used.llm_calls !== undefined) first.push(["Model calls", String(used.llm_calls)], ["Tokens", String(used.tokens)]);
  holder.append(table("Times", first));
  if (run.steps?.length)
    holder.append(table("Steps", run.steps.map((one) => [one.node, seconds(one.seconds)])));
  const reuse = run.reuse;
  if (reuse) {
    const hits = reuse.chunks.filter((one) => one.hit).length;
    holder.append(table("Stored states (KV cache)", [
      ["Mode", `${reuse.mode} (${reuse.kind})`],
      ["Chunks found", `${hits} of ${reuse.chunks.length}`],
      ["Tokens reused", String(reuse.reused)],
      ["Tokens computed again", String(reuse.recomputed)],
      ["Looking up", `${(reuse.milliseconds.lookup || 0).toFixed(1)} ms`],
      ["First token", `${(reuse.milliseconds.first_token || 0).toFixed(0)} ms`],
    ]));
  } else holder.append(make("p", { class: "empty" }, "No stored states took part in this run."));
}
