// The server's endpoints. The page lies at BASE/chat/.
const BASE = new URL("../", location.href);
const KEY = "rag-key";

export class Failure extends Error {
  constructor(problem, status = 0) {
    super(problem.what || "Something went wrong.");
    this.fix = problem.fix || "";
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
  return new Failure({ what: problem.what || response.statusText, fix: problem.fix }, response.status);
}

async function reach(path, options) {
  try {
    return await fetch(url(path), options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure({ what: "The server cannot be reached.", fix: "Check that it runs." });
  }
}

export async function call(path, options = {}) {
  const response = await reach(path, { ...options, headers: headers(options.headers) });
  if (!response.ok) throw await failed(response);
  return response.status === 204 ? null : response;
}

export const json = async (path, options) => (await call(path, options)).json();

// The events of a question as [name, data].
export async function* ask(body, signal) {
  const response = await call("ask", {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "text/event-stream" },
    body: JSON.stringify(body),
    signal,
  });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const fields = Object.fromEntries(
        block.split("\n").filter((line) => !line.startsWith(":")).map((line) => {
          const at = line.indexOf(": ");
          return [line.slice(0, at), line.slice(at + 2)];
        }),
      );
      if (fields.data) yield [fields.event, JSON.parse(fields.data)];
    }
  }
}

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
    request.onerror = () => reject(new Failure({ what: "The upload was broken off." }));
    request.onload = () => {
      let answer = {};
      try { answer = JSON.parse(request.responseText); } catch { /* no JSON: the status says it */ }
      if (request.status < 300) resolve(answer);
      else reject(new Failure({ what: answer.what || request.statusText, fix: answer.fix }, request.status));
    };
    request.send(form);
  });
}
