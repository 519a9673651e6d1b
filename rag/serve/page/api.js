// The server's endpoints. The page lies at BASE/chat/.
import { events } from "./events.js";
import { t } from "./i18n.js";

const BASE = new URL("../", location.href);
const KEY = "rag-key";

export class Failure extends Error {
  constructor(problem, status = 0) {
    super(problem.what || t("wrong"));
    this.fix = problem.fix || "";
    this.code = problem.code || "";
    this.status = status;
  }
}

export const key = {
  get: () => sessionStorage.getItem(KEY) || "",
  set: (value) => (value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY)),
};

export function headers(more = {}) {
  return key.get() ? { ...more, Authorization: `Bearer ${key.get()}` } : more;
}

export const url = (path) => new URL(path, BASE);

async function failed(response) {
  const problem = await response.json().catch(() => ({}));
  return new Failure({ what: response.statusText, ...problem }, response.status);
}

async function reach(path, options) {
  try {
    return await fetch(url(path), options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure({ what: t("unreachable"), fix: t("unreachable_fix"), code: "unreachable" });
  }
}

export async function call(path, options = {}) {
  const response = await reach(path, { ...options, headers: headers(options.headers) });
  if (!response.ok) throw await failed(response);
  return response.status === 204 ? null : response;
}

export const json = async (path, options) => (await call(path, options)).json();

export const send = (method, path, body) => call(path, {
  method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
});

// A question whose run goes on without us: its id, and its events.
export async function start(body) {
  const response = await send("POST", "runs", { ...body, stream: true });
  return [response.headers.get("X-Run-Id"), events(response)];
}

// The events of a run behind the one of a number.
export async function* follow(run, after = 0) {
  const response = await call(`runs/${run}/events?after=${after}`);
  if (response) yield* events(response);
}

export const stop = (run) => call(`runs/${run}/cancel`, { method: "POST" });

// XMLHttpRequest, since fetch does not tell how much of an upload is sent.
export function upload(files, pipeline, progressed) {
  return new Promise((resolve, reject) => {
    const form = new FormData();
    for (const file of files) form.append("files", file);
    const request = new XMLHttpRequest();
    const where = url("documents");
    if (pipeline) where.searchParams.set("pipeline", pipeline);
    request.open("POST", where);
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => event.lengthComputable && progressed(event.loaded / event.total);
    request.onerror = () => reject(new Failure({ what: t("broken_off") }));
    request.onload = () => {
      let answer = {};
      try { answer = JSON.parse(request.responseText); } catch { /* no JSON: the status says it */ }
      if (request.status < 300) resolve(answer);
      else reject(new Failure({ what: request.statusText, ...answer }, request.status));
    };
    request.send(form);
  });
}
