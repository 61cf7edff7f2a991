"""Anthropic's Python SDK, unchanged, against Farebox: messages, streams, tools, errors as the right exceptions. Says ok, or fails."""

import os

import anthropic

url, key, poor = os.environ["FAREBOX_URL"], os.environ["FAREBOX_KEY"], os.environ["FAREBOX_POOR_KEY"]
client = anthropic.Anthropic(base_url=url, api_key=key, max_retries=0)
messages = [{"role": "user", "content": "Say hello to me"}]
ask = {"model": "claude-opus-5-5", "max_tokens": 100, "messages": messages}

for client in (client, anthropic.Anthropic(base_url=url, auth_token=key, api_key=None, max_retries=0)):
    answer = client.messages.create(**ask)
    assert answer.content[0].text == "Hello from the fake Claude.", answer
    assert answer.usage.input_tokens == 7 and answer.usage.cost == "0.00015096", answer.usage

with client.messages.stream(**ask) as stream:
    text = "".join(stream.text_stream)
    final = stream.get_final_message()
assert text == "Hello from the fake Claude." and final.stop_reason == "end_turn", final
assert final.usage.output_tokens == 6, final.usage
kinds = [event.type for event in client.messages.create(**ask, stream=True)]
assert kinds[0] == "message_start" and kinds[-1] == "message_stop", kinds

tools = [{"name": "weather", "description": "the sky", "input_schema": {"type": "object", "properties": {}}}]
thinking = {"thinking": {"type": "adaptive"}, "tools": tools}
with client.messages.stream(**{**ask, **thinking}) as stream:
    called = stream.get_final_message()
assert [block.type for block in called.content] == ["thinking", "tool_use"], called
assert called.content[1].input == {"place": "Paris"}, called
result = {"type": "tool_result", "tool_use_id": called.content[1].id, "content": "rain"}
turns = messages + [{"role": "assistant", "content": called.content}, {"role": "user", "content": [result]}]
assert client.messages.create(**{**ask, **thinking, "messages": turns}).content[-1].text == "Hello from the fake Claude."

assert client.messages.count_tokens(model="claude-opus-5-5", messages=messages).input_tokens == 7
assert any(model.id == "claude-opus-5-5" for model in client.models.list(limit=1000))

gpt = {**ask, "model": "gpt-4o-mini"}
answer = client.messages.create(**gpt)
assert answer.content[0].text == "Hello from the fake provider." and answer.stop_reason == "end_turn", answer
assert answer.usage.cost == "0.000004743", answer.usage
with client.messages.stream(**gpt) as stream:
    assert "".join(stream.text_stream) == "Hello from the fake provider."
    assert stream.get_final_message().usage.output_tokens == 6


def raises(kind, client=client, **changes):
    try:
        client.messages.create(**{**ask, **changes})
    except kind as error:
        assert type(error) is kind, (kind, error)
        assert error.body["type"] == "error" and error.body["error"]["message"], error.body
        return error
    raise AssertionError(f"{kind} was not raised")


def other(key):
    return anthropic.Anthropic(base_url=url, api_key=key, max_retries=0)


assert "max_tokens" in raises(anthropic.BadRequestError, max_tokens=-1).body["error"]["message"]
assert raises(anthropic.NotFoundError, model="claude-opus-5-6").body["error"]["type"] == "not_found_error"
assert raises(anthropic.AuthenticationError, client=other("fb_wrong")).body["error"]["type"] == "authentication_error"
broke = raises(anthropic.PaymentRequiredError, client=other(poor), messages=[{"role": "user", "content": "long " * 500_000}])
assert broke.status_code == 402 and broke.body["error"]["type"] == "billing_error", broke
print("ok")
