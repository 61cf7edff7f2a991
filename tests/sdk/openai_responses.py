"""OpenAI's Python SDK, unchanged: responses whole and streamed, tools, structured output, errors. Says ok, or fails."""

import os

import openai

client = openai.OpenAI(base_url=os.environ["FAREBOX_URL"] + "/v1", api_key=os.environ["FAREBOX_KEY"], max_retries=0)
asked = {"model": "gpt-4o-mini", "input": "Say hello"}

whole = client.responses.create(**asked)
assert whole.output_text == "Hello there." and whole.status == "completed", whole
assert whole.usage.output_tokens == 4 and whole.usage.cost == "0.000002754", whole.usage

with client.responses.stream(**asked) as stream:
    text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
    final = stream.get_final_response()
assert text == final.output_text == "Hello there.", (text, final)
assert final.usage.cost == "0.000002754", final.usage

tool = {"type": "function", "name": "weather", "strict": True, "description": "The weather somewhere",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"],
                       "additionalProperties": False}}
items = [{"role": "user", "content": "How is the weather in Paris?"}]
first = client.responses.create(model="gpt-4o-mini", input=items, tools=[tool])
call = first.output[0]
assert (call.type, call.name, call.arguments) == ("function_call", "weather", '{"place": "Paris"}'), first
items += [call, {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}]
second = client.responses.create(model="gpt-4o-mini", input=items, tools=[tool])
assert second.output_text == "It is sunny.", second

shape = {"type": "json_schema", "name": "color", "strict": True, "schema": {
    "type": "object", "properties": {"color": {"type": "string"}}, "required": ["color"], "additionalProperties": False}}
shaped = client.responses.create(**asked, text={"format": shape})
assert shaped.output_text == '{"color": "red"}', shaped

events = list(client.responses.create(**asked, stream=True))
assert events[-1].type == "response.failed" and events[-1].response.error.message, events[-1]

again = client.responses.create(model="gpt-4o-mini", input="And again", previous_response_id=whole.id)
assert again.previous_response_id == whole.id and again.output_text == "Hello there.", again
assert client.responses.retrieve(again.id).output_text == again.output_text
items = list(client.responses.input_items.list(again.id, order="asc"))
assert [item.role for item in items] == ["user", "assistant", "user"], items
client.responses.delete(again.id)

for kind, changes in [(openai.NotFoundError, {"model": "gpt-4o-mimi"}), (openai.BadRequestError, {"temperature": 9}),
                      (openai.BadRequestError, {"previous_response_id": "resp_nobodys"})]:
    try:
        client.responses.create(**{**asked, **changes})
    except kind:
        continue
    raise AssertionError(f"{kind} was not raised")
print("ok")
