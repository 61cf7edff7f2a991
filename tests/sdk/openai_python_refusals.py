"""OpenAI's Python SDK, unchanged and with its own retries, against a Farebox whose provider refuses. Says ok, or fails."""

import os

import openai

url, key, poor = os.environ["FAREBOX_URL"] + "/v1", os.environ["FAREBOX_KEY"], os.environ["FAREBOX_POOR_KEY"]
messages = [{"role": "user", "content": "Say hello to me"}]


def ask(user, key=key, retries=2, **more):
    client = openai.OpenAI(base_url=url, api_key=key, max_retries=retries)
    return client.chat.completions.create(**{"model": "gpt-4o-mini", "messages": messages, "user": user, **more})


def raises(kind, user, words, tries, **more):
    try:
        answer = ask(user, **more)
        list(answer) if more.get("stream") else None
    except openai.APIError as error:
        assert type(error) is kind, (kind, type(error), error)
        assert words in error.message, error.message
        if tries:
            assert error.request.headers["x-stainless-retry-count"] == str(tries - 1), error.request.headers
        return error
    raise AssertionError(f"{kind} was not raised")


# Busy once: it waits as it is told, and is answered.
assert ask("busy once").choices[0].message.content == "Hello", "retried"
busy = raises(openai.RateLimitError, "busy", "too many at once", tries=2, retries=1)
assert busy.body["code"] == "rate_limit_exceeded" and busy.body["type"] == "rate_limit_error", busy.body
assert busy.response.headers["retry-after"] == "1", busy.response.headers

# The caller's own key, and this gateway's.
own = {"extra_headers": {"provider-key": "sk-own-0123456789"}}
raises(openai.AuthenticationError, "refused", "no such key", tries=1, **own)
raises(openai.InternalServerError, "refused", "this gateway's credentials", tries=1)

# Keys of ours, and credits.
raises(openai.AuthenticationError, "wrong", "not known", tries=1, key="fb_wrong")
long = [{"role": "user", "content": "long " * 500_000}]
broke = raises(openai.APIStatusError, "broke", "Insufficient credits. Please add credits", tries=1,
               key=poor, model="gpt-4.1", messages=long)
assert broke.status_code == 402 and broke.body["message"].startswith("Insufficient credits."), broke.body
assert broke.body["code"] == "insufficient_credits" and broke.body["type"] == "insufficient_quota", broke.body

# An error in the middle of a stream, which is a 200.
raises(openai.APIError, "breaks", "out of memory", tries=None, stream=True)

# A whole answer in place of a stream, and the other way round.
pieces = list(ask("whole", stream=True))
assert "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices) == "Hello", pieces
assert ask("streamed").choices[0].message.content == "Hello"
print("ok")
