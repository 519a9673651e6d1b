// Uploads: sent with progress, then watched until they can be asked about.
import * as api from "./api.js";
import { $, make } from "./dom.js";

let timer = null;
let failed = () => {};

export function start(pipeline, report) {
  failed = report;
  $("files").addEventListener("change", async (event) => {
    await send([...event.target.files], pipeline());
    event.target.value = "";
  });
  const drop = $("drop");
  for (const name of ["dragover", "dragenter"])
    drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    send([...event.dataTransfer.files], pipeline());
  });
  refresh();
}

async function send(files, pipeline) {
  if (!files.length) return;
  const bar = make("progress", { max: 1, value: 0, "aria-label": "Sending" });
  const row = make("li", {}, make("span", { class: "name" }, `Sending ${files.length === 1 ? files[0].name : `${files.length} files`}`), bar);
  $("documents").prepend(row);
  try {
    await api.upload(files, pipeline, (share) => { bar.value = share; });
  } catch (error) {
    failed(error);
  } finally {
    row.remove();
    refresh();
  }
}

export async function refresh() {
  clearTimeout(timer);
  let list = [];
  try {
    list = await api.json("documents");
  } catch (error) {
    if (error.status !== 401) failed(error);
    return;
  }
  $("documents").replaceChildren(...list.map(row));
  if (list.some((one) => one.status === "queued" || one.status === "ingesting")) timer = setTimeout(refresh, 600);
}

function row(one) {
  const states = { queued: "waiting", ingesting: "being read", ready: `${one.chunks} chunks`, failed: one.detail, deleting: "being deleted" };
  const bar = one.status === "ingesting"
    ? make("progress", { max: 1, value: one.progress, "aria-label": `${one.name}: share that is read` }) : null;
  return make("li", { class: one.status },
    make("span", { class: "name", title: one.name }, one.name),
    make("button", {
      class: "remove", type: "button", "aria-label": `Remove ${one.name}`,
      onclick: async () => {
        try {
          await api.call(`documents/${one.id}`, { method: "DELETE" });
        } catch (error) {
          failed(error);
        }
        refresh();
      },
    }, "×"),
    make("small", {}, states[one.status]), bar);
}
