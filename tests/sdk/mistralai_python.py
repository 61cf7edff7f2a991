"""Mistral's Python SDK, unchanged, with Mistral and GPT: chat, stream, tools, typed answers, vectors, errors. Says ok, or fails."""

import json
import os

from mistralai.client import Mistral
from mistralai.client.errors import SDKError
from pydantic import BaseModel

url, key, poor = os.environ["FAREBOX_URL"], os.environ["FAREBOX_KEY"], os.environ["FAREBOX_POOR_KEY"]
client = Mistral(api_key=key, server_url=url)
said = [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Say hello to me"}]
parameters = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}
tools = [{"type": "function", "function": {"name": "weather", "description": "The weather", "parameters": parameters}}]
hello = "Hello from the fake provider."


class Sky(BaseModel):
    sky: str


for model, vectors, sky in [
    ("mistral/mistral-medium-3-5", "mistral/mistral-embed", "blue"),
    ("mistral-medium-3-5", "mistral-embed", "blue"),
    ("gpt-4o-mini", "text-embedding-3-small", "Paris"),
]:
    answer = client.chat.complete(model=model, messages=said)
    assert answer.choices[0].message.content == hello and answer.choices[0].finish_reason == "stop", answer
    assert answer.usage.completion_tokens > 0, answer.usage
    again = said + [answer.choices[0].message, {"role": "user", "content": "And again"}]
    assert client.chat.complete(model=model, messages=again, max_tokens=50).choices[0].message.content == hello

    with client.chat.stream(model=model, messages=said) as stream:
        chunks = [event.data for event in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == hello, chunks
    assert chunks[-1].usage.completion_tokens == answer.usage.completion_tokens, chunks[-1]

    called = client.chat.complete(model=model, messages=said, tools=tools, tool_choice="auto").choices[0].message
    [call] = called.tool_calls
    assert call.function.name == "weather" and json.loads(call.function.arguments)["place"] == "Paris", call
    result = {"role": "tool", "name": "weather", "tool_call_id": call.id, "content": "sunny"}
    after = client.chat.complete(model=model, messages=said + [called, result], tools=tools)
    assert after.choices[0].message.content.startswith("It is sunny"), after
    with client.chat.stream(model=model, messages=said, tools=tools) as stream:
        calls = [call for event in stream for choice in event.data.choices for call in choice.delta.tool_calls or []]
    assert calls[0].function.name == "weather", calls
    assert json.loads("".join(call.function.arguments for call in calls))["place"] == "Paris", calls

    parsed = client.chat.parse(Sky, model=model, messages=said)
    assert parsed.choices[0].message.parsed == Sky(sky=sky), parsed
    [vector] = client.embeddings.create(model=vectors, inputs=["one"]).data
    assert list(vector.embedding) == [0.5, -1.0], vector


def raises(status, words, client=client, model="gpt-4o-mini"):
    try:
        client.chat.complete(model=model, messages=said)
    except SDKError as error:
        assert error.status_code == status and words in error.body, error
        return
    raise AssertionError(f"{status} was not raised")


raises(404, "mistral-mimi", model="mistral-mimi")
raises(401, "not known", client=Mistral(api_key="fb_wrong", server_url=url))
for model in ["gpt-4o-mini", "mistral-medium-3-5"]:
    raises(402, "Insufficient credits", client=Mistral(api_key=poor, server_url=url), model=model)
print("ok")
