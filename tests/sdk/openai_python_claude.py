"""OpenAI's Python SDK, unchanged, calls Claude through Farebox: chat, stream, tools with thoughts. Says ok, or fails."""

import json
import os

import openai

client = openai.OpenAI(base_url=os.environ["FAREBOX_URL"] + "/v1", api_key=os.environ["FAREBOX_KEY"], max_retries=0)
messages = [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Say hello to me"}]
ask = {"model": "claude-opus-5-5", "messages": messages}

answer = client.chat.completions.create(**ask)
assert answer.choices[0].message.content == "Hello from the fake Claude.", answer
assert answer.choices[0].finish_reason == "stop" and answer.usage.completion_tokens == 6, answer
chunks = list(client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True}))
text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
assert text == "Hello from the fake Claude." and chunks[-1].usage.cost, chunks

parameters = {"type": "object", "properties": {}}
tools = [{"type": "function", "function": {"name": "weather", "parameters": parameters, "strict": True}}]
ask = {**ask, "tools": tools, "reasoning_effort": "high"}
with client.chat.completions.stream(**ask) as stream:
    called = stream.get_final_completion().choices[0]
assert called.finish_reason == "tool_calls", called
assert json.loads(called.message.tool_calls[0].function.arguments) == {"place": "Paris"}, called
assert called.message.reasoning_details[0]["signature"] == "sig-of-the-fake", called
said = {"role": "assistant", "tool_calls": [call.model_dump(include={"id", "type", "function"}) for call in called.message.tool_calls],
        "reasoning_details": called.message.reasoning_details}
result = {"role": "tool", "tool_call_id": called.message.tool_calls[0].id, "content": "rain"}
final = client.chat.completions.create(**{**ask, "messages": messages + [said, result]})
assert final.choices[0].message.content == "Hello from the fake Claude.", final

try:
    client.chat.completions.create(**ask, n=2)
    raise AssertionError("n has no words there")
except openai.BadRequestError as error:
    assert error.body["param"] == "n", error.body
print("ok")
