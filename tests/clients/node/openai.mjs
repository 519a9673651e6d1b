// OpenAI's own client for JavaScript.
import assert from "node:assert/strict";
import OpenAI from "openai";
import { ANSWER, KEY, QUESTION, V1, opens, report } from "./report.mjs";

const client = new OpenAI({ baseURL: V1, apiKey: KEY, maxRetries: 0 });
const messages = [{ role: "user", content: QUESTION }];

async function chat() {
  const done = await client.chat.completions.create({ model: "locks", messages });
  const { message } = done.choices[0];
  assert.ok(message.content.startsWith(ANSWER));
  await opens(message.annotations[0].url_citation.url);
}

async function chatStream() {
  const stream = client.chat.completions.stream({ model: "locks", messages });
  assert.ok((await stream.finalContent()).startsWith(ANSWER));
}

async function responses() {
  const first = await client.responses.create({ model: "locks", input: QUESTION });
  assert.ok(first.output_text.startsWith(ANSWER));
  await opens(first.output[0].content[0].annotations[0].url);
  const second = await client.responses.create({
    model: "locks", input: QUESTION, previous_response_id: first.id,
  });
  assert.equal(second.previous_response_id, first.id);
}

async function responsesStream() {
  const stream = client.responses.stream({ model: "locks", input: QUESTION });
  const kinds = [];
  for await (const event of stream) kinds.push(event.type);
  assert.equal(kinds.at(-1), "response.completed");
  assert.ok((await stream.finalResponse()).output_text.startsWith(ANSWER));
}

async function embeddings() {
  const made = await client.embeddings.create({ model: "locks", input: ["one", "two"] });
  assert.ok(made.data[1].embedding.length > 100);
}

async function errors() {
  await assert.rejects(
    client.responses.create({ model: "none", input: QUESTION }),
    (error) => error.status === 404 && error.code === "model_not_found",
  );
}

await report(
  "openai (npm)", "openai", chat, chatStream, responses, responsesStream, embeddings, errors,
);
