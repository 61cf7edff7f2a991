// Anthropic's Node SDK, unchanged, with Claude and GPT: messages, streams, tools, counts, errors. Says ok, or fails.
import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";

const { FAREBOX_URL: baseURL, FAREBOX_KEY: key, FAREBOX_POOR_KEY: poor } = process.env;
const client = (apiKey = key) => new Anthropic({ baseURL, apiKey, maxRetries: 0 });
const messages = [{ role: "user", content: "Say hello to me" }];
const properties = { place: { type: "string" } };
const tools = [{ name: "weather", description: "The sky", input_schema: { type: "object", properties, required: ["place"] } }];
const schema = { type: "object", properties, required: ["place"], additionalProperties: false };

for (const [model, hello, after] of [
  ["claude-opus-5-5", "Hello from the fake Claude.", "Hello from the fake Claude."],
  ["gpt-4o-mini", "Hello from the fake provider.", "It is sunny."],
]) {
  const ask = { model, max_tokens: 100, messages };
  const answer = await client().messages.create(ask);
  assert.equal(answer.content[0].text, hello);
  assert.equal(answer.stop_reason, "end_turn");
  assert.equal(answer.usage.output_tokens, 6);
  assert.ok(Number(answer.usage.cost) > 0);

  let text = "";
  const stream = client().messages.stream(ask).on("text", (piece) => (text += piece));
  const final = await stream.finalMessage();
  assert.equal(text, hello);
  assert.equal(final.content[0].text, hello);
  assert.equal(final.usage.output_tokens, 6);
  const kinds = [];
  for await (const event of await client().messages.create({ ...ask, stream: true })) kinds.push(event.type);
  assert.deepEqual([kinds[0], kinds.at(-1)], ["message_start", "message_stop"]);

  const called = await client().messages.stream({ ...ask, tools }).finalMessage();
  assert.equal(called.stop_reason, "tool_use");
  const call = called.content.at(-1);
  assert.deepEqual([call.type, call.name, call.input], ["tool_use", "weather", { place: "Paris" }]);
  const result = { type: "tool_result", tool_use_id: call.id, content: "sunny" };
  const turns = [...messages, { role: "assistant", content: called.content }, { role: "user", content: [result] }];
  assert.equal((await client().messages.create({ ...ask, tools, messages: turns })).content[0].text, after);

  const shaped = await client().messages.create({ ...ask, output_config: { format: { type: "json_schema", schema } } });
  assert.deepEqual(JSON.parse(shaped.content[0].text), { place: "Paris" });
  assert.ok((await client().messages.countTokens({ model, messages })).input_tokens >= 7);
}

const rejects = async (kind, type, words, more, apiKey = key) => {
  const ask = { model: "claude-opus-5-5", max_tokens: 100, messages, ...more };
  await assert.rejects(client(apiKey).messages.create(ask), (error) => {
    assert.ok(error instanceof kind, `${error.constructor.name} ${error.message}`);
    assert.equal(error.error.error.type, type);
    assert.ok(error.message.includes(words), error.message);
    return true;
  });
};
await rejects(Anthropic.BadRequestError, "invalid_request_error", "max_tokens", { max_tokens: -1 });
await rejects(Anthropic.NotFoundError, "not_found_error", "claude-opus-5-6", { model: "claude-opus-5-6" });
await rejects(Anthropic.AuthenticationError, "authentication_error", "not known", {}, "fb_wrong");
await rejects(Anthropic.PaymentRequiredError, "billing_error", "Insufficient credits", {}, poor);
console.log("ok");
