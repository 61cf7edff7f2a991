// OpenAI's Node SDK, unchanged, against Farebox: chat, stream, errors as the right classes. Says ok, or fails.
import assert from "node:assert/strict";
import OpenAI from "openai";
import { ChatCompletionStream } from "openai/lib/ChatCompletionStream";

const { FAREBOX_URL: url, FAREBOX_KEY: key, FAREBOX_POOR_KEY: poor } = process.env;
const client = (apiKey) => new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 });
const messages = [{ role: "user", content: "Say hello to me" }];
const create = (more = {}, apiKey = key) =>
  client(apiKey).chat.completions.create({ model: "gpt-4o-mini", messages, ...more });

const answer = await create();
assert.equal(answer.choices[0].message.content, "Hello from the fake provider.");
assert.equal(answer.usage.cost, "0.000004743");

let text = "";
let last;
for await (const chunk of await create({ stream: true, stream_options: { include_usage: true } })) {
  text += chunk.choices[0]?.delta?.content ?? "";
  last = chunk;
}
assert.equal(text, "Hello from the fake provider.");
assert.equal(last.usage.cost, "0.000004743");

// A server of pages hands the stream on to a browser, which puts it together again: all chunks are one answer.
for (const more of [{}, { stream_options: { include_usage: true } }]) {
  const relayed = (await create({ stream: true, ...more })).toReadableStream();
  const together = ChatCompletionStream.fromReadableStream(relayed);
  const whole = await together.finalChatCompletion();
  assert.equal(whole.choices[0].message.content, "Hello from the fake provider.");
  assert.equal(together.allChatCompletions().length, 1);
  assert.equal(whole.usage.cost, "0.000004743");
}

await assert.rejects(create({ model: "gpt-4o-mimi" }), (error) => error instanceof OpenAI.NotFoundError);
await assert.rejects(
  create({ temperature: 9 }),
  (error) => error instanceof OpenAI.BadRequestError && error.param === "temperature",
);
await assert.rejects(create({}, "fb_wrong"), (error) => error instanceof OpenAI.AuthenticationError);
const long = [{ role: "user", content: "long ".repeat(500_000) }];
await assert.rejects(create({ model: "gpt-4.1", messages: long }, poor), (error) => error.status === 402);
console.log("ok");
