"""Cohere's Python SDK, unchanged, with Cohere, GPT and Claude: chat, stream, tools, typed answers, vectors, order, models, errors. Says ok, or fails."""

import asyncio
import json
import os

import cohere

url, key, poor = os.environ["FAREBOX_URL"], os.environ["FAREBOX_KEY"], os.environ["FAREBOX_MORE"]
client = cohere.ClientV2(api_key=key, base_url=url, max_retries=0)
said = [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Say hello to me"}]
parameters = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}
tools = [{"type": "function", "function": {"name": "weather", "description": "The weather", "parameters": parameters}}]
schema = {"type": "object", "properties": {"sky": {"type": "string"}}, "required": ["sky"], "additionalProperties": False}
hello = "Hello from the fake provider."


def parts(events, kind):
    return [event for event in events if event.type == kind]


for model, words, after, sky in [
    ("command-a-03-2025", hello, "It is sunny", "blue"),
    ("cohere/command-a-03-2025", hello, "It is sunny", "blue"),
    ("gpt-4o-mini", hello, "It is sunny", "Paris"),
    ("claude-opus-5-5", "Hello from the fake Claude.", "Hello from the fake Claude.", "Paris"),
]:
    answer = client.chat(model=model, messages=said, temperature=0.3, max_tokens=100, p=0.9)
    assert answer.message.content[0].text == words and answer.finish_reason == "COMPLETE", answer
    assert answer.usage.billed_units.output_tokens > 0 and float(answer.usage.cost) > 0, answer.usage
    again = said + [answer.message, {"role": "user", "content": "And again"}]
    assert client.chat(model=model, messages=again).message.content[0].text == words

    events = list(client.chat_stream(model=model, messages=said))
    kinds = [event.type for event in events]
    assert kinds[:2] == ["message-start", "content-start"] and kinds[-2:] == ["content-end", "message-end"], kinds
    text = "".join(event.delta.message.content.text for event in parts(events, "content-delta"))
    assert text == words and len(parts(events, "content-delta")) > 3, events
    end = events[-1].delta
    assert end.finish_reason == "COMPLETE" and end.usage.billed_units.output_tokens == answer.usage.billed_units.output_tokens, end

    called = client.chat(model=model, messages=said, tools=tools)
    assert called.finish_reason == "TOOL_CALL", called
    [call] = called.message.tool_calls
    assert call.function.name == "weather" and json.loads(call.function.arguments)["place"] == "Paris", call
    document = {"type": "document", "document": {"id": "d", "data": {"sky": "sunny"}}}
    content = [document] if "command" in model else "sunny"
    turns = said + [called.message, {"role": "tool", "tool_call_id": call.id, "content": content}]
    assert client.chat(model=model, messages=turns, tools=tools).message.content[0].text.startswith(after)
    events = list(client.chat_stream(model=model, messages=said, tools=tools))
    [begun], pieces = parts(events, "tool-call-start"), parts(events, "tool-call-delta")
    assert begun.delta.message.tool_calls.function.name == "weather" and begun.delta.message.tool_calls.id, begun
    arguments = "".join(piece.delta.message.tool_calls.function.arguments for piece in pieces)
    assert json.loads(arguments)["place"] == "Paris" and parts(events, "tool-call-end"), events
    assert events[-1].delta.finish_reason == "TOOL_CALL", events[-1]

    typed = client.chat(model=model, messages=said, response_format={"type": "json_object", "json_schema": schema})
    assert json.loads(typed.message.content[0].text) == {"sky": sky}, typed

thinking = {"type": "enabled", "token_budget": 1024}
thought = client.chat(model="claude-opus-5-5", messages=said, tools=tools, thinking=thinking, max_tokens=2000)
assert thought.message.content[0].thinking == "I think", thought
result = {"role": "tool", "tool_call_id": thought.message.tool_calls[0].id, "content": "sunny"}
after = client.chat(model="claude-opus-5-5", messages=said + [thought.message, result], tools=tools, thinking=thinking, max_tokens=2000)
assert after.message.content[1].text == "Hello from the fake Claude.", after

cited = client.chat(model="command-a-03-2025", messages=said, documents=[{"id": "d", "data": {"title": "t"}}])
assert cited.message.citations[0].text == "Hello" and cited.message.citations[0].sources[0].id == "d", cited

for model, types in [("embed-v4.0", ["float", "int8", "base64"]), ("text-embedding-3-small", ["float", "base64"])]:
    texts = ["one", "two"]
    vectors = client.embed(model=model, texts=texts, input_type="search_query", embedding_types=types)
    assert vectors.embeddings.float_ == [[0.5, -1.0]] * 2 and vectors.embeddings.base64 == ["AAAAPwAAgL8="] * 2, vectors
    assert vectors.texts == texts and vectors.meta.billed_units.input_tokens > 0 and vectors.meta.cost, vectors
    one = client.embed(model=model, input_type="search_query", inputs=[{"content": [{"type": "text", "text": "one"}]}])
    assert one.embeddings.float_ == [[0.5, -1.0]], one

ranked = client.rerank(model="rerank-v3.5", query="capital of France", documents=["Berlin", "Paris the capital of France"], top_n=1)
[best] = ranked.results
assert (best.index, best.relevance_score, ranked.meta.billed_units.search_units) == (1, 1.0, 1.0), ranked

models = client.models.list(page_size=5, endpoint="embed")
assert len(models.models) == 5 and models.models[0].endpoints == ["embed"] and models.next_page_token, models
more = client.models.list(page_size=1000, page_token=models.next_page_token, endpoint="embed")
names = {model.name for model in models.models + more.models}
assert "embed-v4.0" in names and "command-a-03-2025" not in names and more.next_page_token is None, names
assert client.models.get("command-a-03-2025").context_length == 256000


async def meanwhile():
    async with cohere.AsyncClientV2(api_key=key, base_url=url) as other:
        answer = await other.chat(model="gpt-4o-mini", messages=said)
        assert answer.message.content[0].text == hello, answer
        pieces = [event async for event in other.chat_stream(model="claude-opus-5-5", messages=said)]
        assert pieces[-1].delta.usage.billed_units.output_tokens == 6, pieces


asyncio.run(meanwhile())


def raises(kind, words, client=client, stream=False, **changes):
    ask = {"model": "gpt-4o-mini", "messages": said, **changes}
    try:
        list(client.chat_stream(**ask)) if stream else client.chat(**ask)
    except kind as error:
        assert type(error) is kind, (kind, error)
        assert words in error.body["message"] and error.body["id"], error.body
        return error
    raise AssertionError(f"{kind} was not raised")


def other(key):
    return cohere.ClientV2(api_key=key, base_url=url, max_retries=0)


for stream in [False, True]:
    raises(cohere.BadRequestError, "max_tokens", stream=stream, max_tokens=-1)
    raises(cohere.BadRequestError, "documents", stream=stream, documents=["x"])
    raises(cohere.NotFoundError, "command-b", stream=stream, model="command-b")
    raises(cohere.UnauthorizedError, "not known", client=other("fb_wrong"), stream=stream)
    broke = raises(cohere.core.ApiError, "Insufficient credits", client=other(poor), stream=stream)
    assert broke.status_code == 402 and broke.body["needed"], broke
try:
    client.models.get("command-b")
    raise AssertionError("there is no such model")
except cohere.NotFoundError as error:
    assert "command-b" in error.body["message"] and error.body["id"], error
try:
    client.embed(model="text-embedding-3-small", texts=["x"], input_type="search_query", embedding_types=["int8"])
    raise AssertionError("int8 was made of floats")
except cohere.BadRequestError as error:
    assert "embedding_types" in error.body["message"], error
print("ok")
