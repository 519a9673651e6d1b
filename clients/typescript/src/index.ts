// A client of a modular-rag server: every endpoint typed, and answers as they come.
import createFetchClient, { type Client as Endpoints } from "openapi-fetch";
import type { components, paths } from "./schema.js";

export type { components, paths } from "./schema.js";
export type Question = Partial<components["schemas"]["AskBody"]> & { query: string };
export type Answer = components["schemas"]["Answer"];
export type Problem = components["schemas"]["ProblemBody"];

/** What happens to a question. `number` counts the events of a run that outlives its connection. */
export type RunEvent = { number: number } & (
  | { name: "run"; data: { run: string; pipeline: string; conversation: string | null } }
  | { name: "queued"; data: { before: number } }
  | { name: "rewritten"; data: { query: string } }
  | { name: "token"; data: { node: string; place: string; text: string; answer: boolean } }
  | { name: "node_started"; data: { node: string; place: string } }
  | { name: "node_finished"; data: { node: string; place: string; seconds: number; writes: Record<string, string> } }
  | { name: "warned"; data: { node: string; place: string; message: string } }
  | { name: "done"; data: Answer }
  | { name: "error"; data: Problem }
);

/** The server's answer was a problem. */
export class ProblemError extends Error {
  constructor(
    readonly status: number,
    readonly problem: Partial<Problem>,
  ) {
    super(problem.what ?? `the server answered ${status}`);
  }
}

export interface Options {
  /** Where the endpoints are: `https://app.example/rag`. */
  baseUrl: string;
  /** An API key. */
  key?: string;
  fetch?: typeof fetch;
}

export interface Client {
  /** All endpoints, by method and path; see openapi-fetch. */
  endpoints: Endpoints<paths>;
  /** Asks, and gives the events as they come; an aborted signal cancels the run. */
  stream(question: Question, signal?: AbortSignal): AsyncGenerator<RunEvent>;
  /** Asks in the background: the run goes on whoever listens. The first event names it. */
  start(question: Question, signal?: AbortSignal): AsyncGenerator<RunEvent>;
  /** The events of a background run behind the one of a number. */
  follow(run: string, after?: number, signal?: AbortSignal): AsyncGenerator<RunEvent>;
}

export function createClient({ baseUrl, key, fetch: send = globalThis.fetch }: Options): Client {
  const base = baseUrl.replace(/\/+$/, "");
  const headers: Record<string, string> = key ? { Authorization: `Bearer ${key}` } : {};

  async function* events(path: string, question: Question | null, signal?: AbortSignal): AsyncGenerator<RunEvent> {
    const response = await send(`${base}${path}`, {
      method: question ? "POST" : "GET",
      headers: { ...headers, Accept: "text/event-stream", ...(question ? { "Content-Type": "application/json" } : {}) },
      body: question ? JSON.stringify({ ...question, stream: true }) : null,
      signal: signal ?? null,
    });
    if (!response.ok) throw new ProblemError(response.status, await response.json().catch(() => ({})));
    if (response.status !== 204 && response.body) yield* read(response.body);
  }

  return {
    endpoints: createFetchClient<paths>({ baseUrl: base, headers, fetch: send }),
    stream: (question, signal) => events("/ask", question, signal),
    start: (question, signal) => events("/runs", question, signal),
    follow: (run, after = 0, signal) => events(`/runs/${run}/events?after=${after}`, null, signal),
  };
}

async function* read(body: ReadableStream<Uint8Array>): AsyncGenerator<RunEvent> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const blocks = (rest + decoder.decode(value, { stream: true })).split("\n\n");
      rest = blocks.pop() ?? "";
      for (const block of blocks) {
        const fields = new Map<string, string>();
        for (const line of block.split("\n")) {
          const at = line.indexOf(": ");
          if (at > 0) fields.set(line.slice(0, at), line.slice(at + 2));
        }
        const [name, data] = [fields.get("event"), fields.get("data")];
        if (name && data) yield { name, data: JSON.parse(data), number: Number(fields.get("id") ?? 0) } as RunEvent;
      }
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}
