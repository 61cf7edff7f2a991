"""OpenAI's Python SDK, unchanged, with models of other providers: chat, stream, tools, structured output. Says ok, or fails."""

import json
import os

import openai
import pydantic

client = openai.OpenAI(base_url=os.environ["FAREBOX_URL"] + "/v1", api_key=os.environ["FAREBOX_KEY"], max_retries=0)
hello = "Hello from the fake provider."
parameters = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}
tools = [{"type": "function", "function": {"name": "weather", "description": "The weather", "parameters": parameters}}]


class Sky(pydantic.BaseModel):
    sky: str


for model in os.environ["MODELS"].split():
    messages = [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Say hello to me"}]
    answer = client.chat.completions.create(model=model, messages=messages, max_completion_tokens=500, temperature=0.5)
    assert answer.choices[0].message.content == hello and answer.choices[0].finish_reason == "stop", answer
    assert float(answer.usage.cost) > 0, answer.usage
    chunks = list(client.chat.completions.create(
        model=model, messages=messages, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == hello, chunks
    assert chunks[-1].usage.cost == answer.usage.cost, chunks[-1]
    assert chunks[-1].usage.completion_tokens == answer.usage.completion_tokens, chunks[-1]

    with client.chat.completions.stream(model=model, messages=messages, tools=tools) as stream:
        called = stream.get_final_completion().choices[0]
    assert called.finish_reason == "tool_calls", called
    call = called.message.tool_calls[0]
    assert call.function.name == "weather" and json.loads(call.function.arguments)["place"] == "Paris", call
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    again = client.chat.completions.create(model=model, messages=messages + [called.message, result], tools=tools)
    assert again.choices[0].message.content == "It is sunny", again

    parsed = client.chat.completions.parse(model=model, messages=messages, response_format=Sky)
    assert parsed.choices[0].message.parsed == Sky(sky="blue"), parsed

    try:
        client.chat.completions.create(model=model, messages=messages, logit_bias={"5": 1})
    except openai.BadRequestError as error:
        assert error.body["param"] == "logit_bias", error.body
    else:
        raise AssertionError("it was not refused")
print("ok")
