// OpenAI's Node SDK, unchanged and with its own retries, against a Farebox whose provider refuses. Says ok, or fails.
import assert from "node:assert/strict";
import OpenAI from "openai";

const { FAREBOX_URL: url, FAREBOX_KEY: key, FAREBOX_POOR_KEY: poor } = process.env;
const messages = [{ role: "user", content: "Say hello to me" }];
let calls = 0;
const counting = (...request) => {
  calls += 1;
  return fetch(...request);
};
const ask = (user, { apiKey = key, maxRetries = 2, headers, ...more } = {}) => {
  calls = 0;
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries, fetch: counting });
  return client.chat.completions.create({ model: "gpt-4o-mini", messages, user, ...more }, { headers });
};
const throws = async (kind, user, words, tries, options = {}) => {
  const asked = async () => {
    const answer = await ask(user, options);
    if (options.stream) for await (const _ of answer);
  };
  await assert.rejects(asked, (error) => {
    assert.ok(error instanceof kind, `${error.constructor.name} ${error.message}`);
    assert.ok(error.message.includes(words), error.message);
    assert.equal(calls, tries);
    return true;
  });
};

assert.equal((await ask("busy once")).choices[0].message.content, "Hello");
assert.equal(calls, 2, "it waited as it was told, and was answered");
await throws(OpenAI.RateLimitError, "busy", "too many at once", 2, { maxRetries: 1 });
const headers = { "provider-key": "sk-own-0123456789" };
await throws(OpenAI.AuthenticationError, "refused", "no such key", 1, { headers });
await throws(OpenAI.InternalServerError, "refused", "this gateway's credentials", 1);
await throws(OpenAI.AuthenticationError, "wrong", "not known", 1, { apiKey: "fb_wrong" });
const long = [{ role: "user", content: "long ".repeat(500_000) }];
const broke = { apiKey: poor, model: "gpt-4.1", messages: long };
await throws(OpenAI.APIError, "broke", "402 Insufficient credits. Please add credits to continue.", 1, broke);
await throws(OpenAI.APIError, "breaks", "out of memory", 1, { stream: true });

let text = "";
for await (const piece of await ask("whole", { stream: true })) text += piece.choices[0]?.delta?.content ?? "";
assert.equal(text, "Hello");
assert.equal((await ask("streamed")).choices[0].message.content, "Hello");
console.log("ok");
