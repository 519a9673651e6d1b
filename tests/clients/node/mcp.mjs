// The Model Context Protocol's SDK for JavaScript, over streamable HTTP.
import assert from "node:assert/strict";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { ANSWER, BASE, KEY, QUESTION, report } from "./report.mjs";

const client = new Client({ name: "test", version: "1" });
await client.connect(
  new StreamableHTTPClientTransport(new URL(`${BASE}/mcp`), {
    requestInit: { headers: { Authorization: `Bearer ${KEY}` } },
  }),
);

async function tools() {
  const names = (await client.listTools()).tools.map((one) => one.name);
  assert.ok(names.includes("locks") && names.includes("search"));
  const answer = await client.callTool({ name: "locks", arguments: { query: QUESTION } });
  assert.ok(answer.content[0].text.startsWith(ANSWER));
  assert.ok(answer.structuredContent.sources.length > 0);
}

async function documents() {
  const { resources } = await client.listResources();
  const { contents } = await client.readResource({ uri: resources[0].uri });
  assert.ok(contents[0].text);
}

await report("MCP SDK (npm)", "@modelcontextprotocol/sdk", tools, documents);
await client.close();
