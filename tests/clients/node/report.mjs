// What a client's script tells: the client, its version, what was tried.
import { readFileSync } from "node:fs";
import assert from "node:assert/strict";

export const BASE = process.env.RAG_ADDRESS;
export const V1 = `${BASE}/v1`;
export const KEY = process.env.RAG_KEY;
export const QUESTION = "Who may open the north lock?";
export const ANSWER = `${QUESTION} stand on the shelf`;

/** Run the checks, each named by its function, and print what was tried. */
export async function report(client, name, ...checks) {
  for (const check of checks) await check();
  const about = JSON.parse(readFileSync(`${process.cwd()}/node_modules/${name}/package.json`));
  const tried = checks.map((check) => check.name.replace(/([A-Z])/g, " $1").toLowerCase());
  console.log(JSON.stringify({ client, version: about.version, tried }));
}

/** See that a link opens as a browser would follow it: without a key. */
export async function opens(url) {
  const answer = await fetch(url);
  assert.equal(answer.status, 200);
  assert.match(await answer.text(), /north lock/);
}
