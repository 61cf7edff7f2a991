"""Cohere's Python SDK, unchanged, with an open model: chat, stream, errors. Says ok, or fails."""

import json
import os

import cohere

model = os.environ["FAREBOX_MORE"]
client = cohere.ClientV2(api_key=os.environ["FAREBOX_KEY"], base_url=os.environ["FAREBOX_URL"], max_retries=0)
ask = {"model": model, "messages": [{"role": "user", "content": "Name three colors."}], "max_tokens": 6, "temperature": 0}
answer = client.chat(**ask)
assert answer.message.content[0].text and answer.finish_reason == "MAX_TOKENS", answer
assert answer.usage.billed_units.output_tokens == 6 and answer.farebox["billed_seconds"] > 0, answer
events = list(client.chat_stream(**ask))
text = "".join(event.delta.message.content.text for event in events if event.type == "content-delta")
assert text == answer.message.content[0].text, events
assert events[-1].type == "message-end" and events[-1].delta.usage.billed_units.output_tokens == 6, events
assert model in [listed.name for listed in client.models.list(endpoint="chat").models]
weather = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
tools = [{"type": "function", "function": {"name": "get_weather", "description": "The weather of a city", "parameters": weather}}]
ask = {**ask, "messages": [{"role": "user", "content": "What is the weather in Paris?"}], "max_tokens": 200}
called = client.chat(**ask, tools=tools, tool_choice="REQUIRED")
assert called.message.tool_calls[0].function.name == "get_weather", called
assert "city" in json.loads(called.message.tool_calls[0].function.arguments), called
answer = client.chat(**ask, response_format={"type": "json_object", "schema": {**weather, "additionalProperties": False}})
assert list(json.loads(answer.message.content[0].text)) == ["city"], answer
print("ok")
