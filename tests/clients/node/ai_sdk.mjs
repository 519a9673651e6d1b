// Vercel's AI SDK, by both of its providers.
import assert from "node:assert/strict";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embed, generateText, streamText } from "ai";
import { ANSWER, KEY, QUESTION, V1, opens, report } from "./report.mjs";

const compatible = createOpenAICompatible({ name: "rag", baseURL: V1, apiKey: KEY });
const openai = createOpenAI({ baseURL: V1, apiKey: KEY });
const prompt = QUESTION;
const models = { compatible: compatible("locks"), chat: openai.chat("locks") };

async function generateByChat() {
  for (const model of Object.values(models)) {
    const { text, usage } = await generateText({ model, prompt, maxRetries: 0 });
    assert.ok(text.startsWith(ANSWER));
    assert.ok(usage.totalTokens >= 0);
  }
}

async function streamByChat() {
  for (const model of Object.values(models)) {
    const stream = streamText({ model, prompt, maxRetries: 0 });
    assert.ok((await stream.text).startsWith(ANSWER));
  }
}

async function sourcesOfChat() {
  const { sources } = await generateText({ model: models.chat, prompt, maxRetries: 0 });
  assert.ok(sources.length > 0);
  await opens(sources[0].url);
}

async function sourcesOfAChatStream() {
  const sources = await streamText({ model: models.chat, prompt, maxRetries: 0 }).sources;
  assert.ok(sources.length > 0);
  await opens(sources[0].url);
}

async function responsesWithSources() {
  const { text, sources } = await generateText({ model: openai("locks"), prompt, maxRetries: 0 });
  assert.ok(text.startsWith(ANSWER));
  assert.equal(sources[0].sourceType, "url");
  await opens(sources[0].url);
}

async function responsesStreamWithSources() {
  const stream = streamText({ model: openai("locks"), prompt, maxRetries: 0 });
  assert.ok((await stream.text).startsWith(ANSWER));
  await opens((await stream.sources)[0].url);
}

async function responsesOfAConversation() {
  const messages = [{ role: "user", content: prompt }];
  for (let turn = 0; turn < 3; turn += 1) {
    const { response, text } = await generateText({ model: openai("locks"), messages, maxRetries: 0 });
    assert.match(text, /stand on the shelf/);
    messages.push(...response.messages, { role: "user", content: prompt });
  }
}

async function embeddings() {
  const model = compatible.textEmbeddingModel("locks");
  const { embedding } = await embed({ model, value: "one", maxRetries: 0 });
  assert.ok(embedding.length > 100);
}

async function errors() {
  await assert.rejects(
    generateText({ model: openai("none"), prompt, maxRetries: 0 }),
    (error) => error.statusCode === 404 && /there are: /.test(error.message),
  );
}

await report(
  "Vercel AI SDK", "ai", generateByChat, streamByChat, sourcesOfChat, sourcesOfAChatStream,
  responsesWithSources, responsesStreamWithSources, responsesOfAConversation, embeddings, errors,
);
