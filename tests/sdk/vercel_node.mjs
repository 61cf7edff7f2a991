// Vercel's AI SDK, unchanged, with GPT and Claude: text, streams, a tool in two steps, objects, errors. Says ok, or fails.
import assert from "node:assert/strict";
import { APICallError, Output, generateObject, generateText, stepCountIs, streamText, tool } from "ai";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { z } from "zod";

// It warns of each model that it does not know.
globalThis.AI_SDK_LOG_WARNINGS = false;
const { FAREBOX_URL: url, FAREBOX_KEY, FAREBOX_POOR_KEY } = process.env;
const ways = (apiKey) => {
  const settings = { baseURL: `${url}/v1`, apiKey };
  const openai = createOpenAI(settings);
  const compatible = { ...settings, name: "farebox", includeUsage: true, supportsStructuredOutputs: true };
  return { openai, anthropic: createAnthropic(settings), compatible: createOpenAICompatible(compatible) };
};
const { openai, anthropic, compatible } = ways(FAREBOX_KEY);
const place = z.object({ place: z.string() });
const weather = tool({
  description: "The weather somewhere",
  inputSchema: place,
  execute: async ({ place }) => `sunny in ${place}`,
});
const gpt = ["Hello from the fake provider.", "It is sunny in Paris."];
const claude = ["Hello from the fake Claude.", "Hello from the fake Claude."];

// Else the library sends what was answered by its id alone.
const notKept = { providerOptions: { openai: { store: false } } };

// The one event that the library has no type for is an error to it, and no more.
const errors = [];
const onError = ({ error }) => String(error).includes("event_of_tomorrow") || errors.push(error);

for (const [model, [hello, after], more] of [
  [openai("gpt-4o-mini"), gpt],
  [openai("gpt-5-mini"), gpt],
  [openai("gpt-5-mini"), gpt, notKept],
  [openai("claude-opus-5-5"), claude],
  [openai.chat("gpt-4o-mini"), gpt],
  [openai.chat("claude-opus-5-5"), claude],
  [anthropic("claude-opus-5-5"), claude],
  [anthropic("claude-opus-5-5"), claude, { providerOptions: { anthropic: { thinking: { type: "adaptive" } } } }],
  [anthropic("gpt-4o-mini"), gpt],
  [compatible("gpt-4o-mini"), gpt],
  [compatible("claude-opus-5-5"), claude],
]) {
  const ask = { ...more, model, system: "Be brief", prompt: "Say hello to me", maxRetries: 0 };
  const answer = await generateText(ask);
  assert.equal(answer.text, hello);
  assert.equal(answer.usage.outputTokens, 6);

  const stream = streamText({ ...ask, onError });
  const pieces = [];
  for await (const piece of stream.textStream) pieces.push(piece);
  assert.ok(pieces.length > 3 && pieces.join("") === hello, pieces.join("|"));
  assert.equal((await stream.usage).outputTokens, 6);

  const looping = { ...ask, tools: { weather }, stopWhen: stepCountIs(2) };
  const streamed = streamText({ ...looping, onError });
  for (const told of [await generateText(looping), streamed]) {
    const steps = await told.steps;
    assert.deepEqual(steps.map((step) => step.toolCalls.map((call) => call.input)), [[{ place: "Paris" }], []]);
    assert.equal(steps[0].toolResults[0].output, "sunny in Paris");
    assert.equal(await told.text, after);
  }

  const { object } = await generateObject({ ...ask, schema: place });
  assert.deepEqual(object, { place: "Paris" });
  const { output } = await generateText({ ...ask, output: Output.object({ schema: place }) });
  assert.deepEqual(output, { place: "Paris" });

  // A conversation goes on with what was answered.
  const messages = [{ role: "user", content: "Say hello" }, ...answer.response.messages, { role: "user", content: "Again" }];
  assert.equal((await generateText({ ...more, model, messages, maxRetries: 0 })).text, hello);
}
assert.deepEqual(errors, []);

const rejects = async (model, status, words, asked = { prompt: "Hello" }) => {
  await assert.rejects(generateText({ model, maxRetries: 0, ...asked }), (error) => {
    assert.ok(APICallError.isInstance(error), String(error));
    assert.equal(error.statusCode, status);
    assert.ok(error.message.includes(words), error.message);
    return true;
  });
};
const broke = ways(FAREBOX_POOR_KEY);
const claudes = "claude-opus-5-5";
for (const model of [broke.openai("gpt-4o-mini"), broke.openai.chat("gpt-4o-mini"), broke.anthropic(claudes), broke.compatible(claudes)])
  await rejects(model, 402, "Insufficient credits");
await rejects(openai("gpt-4o-mimi"), 404, "gpt-4o-mimi");
await rejects(anthropic("claude-opus-5-6"), 404, "claude-opus-5-6");
await rejects(ways("fb_wrong").compatible("gpt-4o-mini"), 401, "not known");
console.log("ok");
