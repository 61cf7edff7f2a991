"""Cohere's Python SDK, unchanged, with an open model: chat, stream, errors. Says ok, or fails."""

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
try:
    client.chat(**ask, tools=[{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}])
    raise AssertionError("an open model was given tools")
except cohere.BadRequestError as error:
    assert "tools" in error.body["message"], error
print("ok")
