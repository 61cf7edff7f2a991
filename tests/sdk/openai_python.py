"""OpenAI's Python SDK, unchanged, against Farebox: chat, stream, errors as the right exceptions. Says ok, or fails."""

import os

import openai

url, key, poor = os.environ["FAREBOX_URL"] + "/v1", os.environ["FAREBOX_KEY"], os.environ["FAREBOX_POOR_KEY"]
client = openai.OpenAI(base_url=url, api_key=key, max_retries=0)
messages = [{"role": "user", "content": "Say hello to me"}]

answer = client.chat.completions.create(model="gpt-4o-mini", messages=messages)
assert answer.choices[0].message.content == "Hello from the fake provider.", answer
assert answer.usage.total_tokens == 13 and answer.usage.cost == "0.000004743", answer.usage

stream = client.chat.completions.create(
    model="gpt-4o-mini", messages=messages, stream=True, stream_options={"include_usage": True})
chunks = list(stream)
text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
assert text == "Hello from the fake provider.", text
assert chunks[-1].usage.completion_tokens == 6 and chunks[-1].usage.cost == "0.000004743", chunks[-1]

plain = list(client.chat.completions.create(model="gpt-4o-mini", messages=messages, stream=True))
assert "".join(chunk.choices[0].delta.content or "" for chunk in plain) == "Hello from the fake provider.", plain
assert plain[-1].usage.cost == "0.000004743", plain[-1]

# Python writes this limit as 5e-05; and an answer goes back as it came.
said = [{"role": "assistant", "content": None, "refusal": "I can't say that."}, {"role": "user", "content": "Try"}]
bounded = client.chat.completions.create(
    model="gpt-4o-mini", messages=messages + [answer.choices[0].message] + said, extra_body={"max_cost": 0.00005})
assert bounded.choices[0].finish_reason == "stop", bounded

assert any(model.id == "gpt-4o-mini" for model in client.models.list())
assert client.models.retrieve("gpt-4o-mini").id == "gpt-4o-mini"


def raises(kind, code, client=client, **changes):
    try:
        client.chat.completions.create(**{"model": "gpt-4o-mini", "messages": messages, **changes})
    except kind as error:
        assert type(error) is kind, (kind, error)
        assert code is None or error.body["code"] == code, error.body
        return error
    raise AssertionError(f"{kind} was not raised")


raises(openai.NotFoundError, "model_not_found", model="gpt-4o-mimi")
assert raises(openai.BadRequestError, "invalid_request", temperature=9).body["param"] == "temperature"
raises(openai.AuthenticationError, "unauthorized", client=openai.OpenAI(base_url=url, api_key="fb_wrong", max_retries=0))
broke = raises(openai.APIStatusError, None, client=openai.OpenAI(base_url=url, api_key=poor, max_retries=0),
               model="gpt-4.1", messages=[{"role": "user", "content": "long " * 500_000}])
assert broke.status_code == 402, broke
print("ok")
