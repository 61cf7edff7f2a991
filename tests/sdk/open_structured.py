"""An open model with the SDKs of OpenAI and Anthropic, unchanged: answers by a schema, and calls of tools. Says ok, or fails."""

import json
import os

import anthropic
import openai
import pydantic

model, url, key = os.environ["FAREBOX_MORE"], os.environ["FAREBOX_URL"], os.environ["FAREBOX_KEY"]
client = openai.OpenAI(api_key=key, base_url=url + "/v1", max_retries=0)


class Color(pydantic.BaseModel):
    model_config = {"extra": "forbid"}
    name: str = pydantic.Field(max_length=20)
    warm: bool
    shades: list[int] = pydantic.Field(max_length=3)


ask = {"model": model, "temperature": 0, "max_tokens": 300, "messages": [{"role": "user", "content": "Describe the color red."}]}

# A schema, made by the SDK of a class and read back by it.
parsed = client.chat.completions.parse(**ask, response_format=Color)
assert parsed.choices[0].finish_reason == "stop" and isinstance(parsed.choices[0].message.parsed, Color), parsed
answered = client.responses.parse(model=model, input="Describe the color red.", temperature=0, text_format=Color)
assert isinstance(answered.output_parsed, Color), answered

# A call that must be made, whole and streamed.
parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
weather = {"name": "get_weather", "description": "The weather of a city", "parameters": parameters, "strict": True}
tools = [{"type": "function", "function": weather}]
ask["messages"] = [{"role": "user", "content": "What is the weather in Paris?"}]
forced = {"tools": tools, "tool_choice": {"type": "function", "function": {"name": "get_weather"}}}
called = client.chat.completions.create(**ask, **forced)
call = called.choices[0].message.tool_calls[0]
assert called.choices[0].finish_reason == "tool_calls" and call.id and not called.choices[0].message.content, called
assert "Paris" in json.loads(call.function.arguments)["city"], called

names, pieces, reason = [], [], None
for chunk in client.chat.completions.create(**ask, **forced, stream=True):
    for choice in chunk.choices:
        reason = choice.finish_reason or reason
        for delta in choice.delta.tool_calls or []:
            names += [delta.function.name] if delta.function.name else []
            pieces.append(delta.function.arguments or "")
assert names == ["get_weather"] and reason == "tool_calls" and len(pieces) > 2, (names, pieces, reason)
assert "".join(pieces) == call.function.arguments, "greedy: the same streamed or not"

# Its result is read: an answer follows.
result = {"role": "tool", "tool_call_id": call.id, "content": "rainy, 12 degrees"}
said = {"role": "assistant", "content": None, "tool_calls": [call.model_dump(exclude_none=True)]}
ask["messages"] = [*ask["messages"], said, result]
told = client.chat.completions.create(**ask, tools=tools, tool_choice="none")
assert told.choices[0].message.content and not told.choices[0].message.tool_calls, told

responded = client.responses.create(
    model=model,
    input="What is the weather in Paris?",
    temperature=0,
    tool_choice="required",
    parallel_tool_calls=False,
    tools=[{"type": "function", **weather}],
)
assert [item.type for item in responded.output] == ["function_call"], responded
assert json.loads(responded.output[0].arguments)["city"], responded

claude = anthropic.Anthropic(api_key=key, base_url=url, max_retries=0)
asked = {
    "model": model,
    "max_tokens": 300,
    "extra_body": {"temperature": 0},
    "messages": [{"role": "user", "content": "What is the weather in Paris?"}],
    "tools": [{"name": "get_weather", "description": "The weather of a city", "input_schema": parameters}],
    "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
}
message = claude.messages.create(**asked)
used = message.content[-1]
assert message.stop_reason == "tool_use" and used.type == "tool_use" and "Paris" in used.input["city"], message
with claude.messages.stream(**asked) as stream:
    streamed = stream.get_final_message()
assert streamed.content[-1].input == used.input and streamed.stop_reason == "tool_use", streamed
asked["messages"] += [
    {"role": "assistant", "content": [{"type": "tool_use", "id": used.id, "name": used.name, "input": used.input}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": used.id, "content": "rainy"}]},
]
asked["tool_choice"] = {"type": "none"}
assert claude.messages.create(**asked).content[0].text
print("ok")
