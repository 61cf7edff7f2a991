"""Google's Python SDK, unchanged, with Gemini, GPT, Claude and a model that runs here: chat, stream, tools, typed answers,
counts, vectors, models, errors. Says ok, or fails."""

import asyncio
import os

from google import genai
from google.genai import errors, types
from pydantic import BaseModel

url, key, poor = os.environ["FAREBOX_URL"], os.environ["FAREBOX_KEY"], os.environ["FAREBOX_POOR_KEY"]


def client_of(key, **options):
    return genai.Client(api_key=key, http_options=types.HttpOptions(base_url=url, **options))


client = client_of(key)
hello, claudes = "Hello from the fake provider.", "Hello from the fake Claude."
asked = []


def weather(place: str) -> str:
    """The weather at a place.

    Args:
        place: the place
    """
    asked.append(place)
    return "sunny"


class Sky(BaseModel):
    sky: str


for model, says, sky, told in [
    ("gemini-3.8-flash", hello, "blue", "It is sunny"),
    ("google/gemini-3.8-flash", hello, "blue", "It is sunny"),
    ("gpt-4o-mini", hello, "Paris", "It is sunny."),
    ("openai/gpt-4o-mini", hello, "Paris", "It is sunny."),
    ("anthropic/claude-opus-5-5", claudes, "Paris", claudes),
]:
    brief = types.GenerateContentConfig(system_instruction="Be brief", max_output_tokens=2000)
    answer = client.models.generate_content(model=model, contents="Say hello to me", config=brief)
    assert answer.text == says and answer.candidates[0].finish_reason == types.FinishReason.STOP, answer
    usage = answer.usage_metadata
    assert usage.prompt_token_count > 0 and usage.candidates_token_count > 0, usage
    assert answer.response_id and answer.model_version, answer
    assert answer.sdk_http_response.headers["x-farebox-cost"].startswith("0.0"), answer.sdk_http_response

    chunks = list(client.models.generate_content_stream(model=model, contents="Say hello to me", config=brief))
    assert "".join(chunk.text or "" for chunk in chunks) == says, chunks
    assert chunks[-1].usage_metadata == usage and chunks[-1].candidates[0].finish_reason == "STOP", chunks[-1]
    assert all(chunk.usage_metadata is None for chunk in chunks[:-1]), "the usage stands in the last one alone"

    chat = client.chats.create(model=model)
    assert chat.send_message("Say hello to me").text == says
    assert "".join(chunk.text or "" for chunk in chat.send_message_stream("And again")) == says
    assert len(chat.get_history(curated=True)) >= 4, chat.get_history(curated=True)

    # A tool that is called by hand, whole and as a stream, with what the model thought.
    config = types.GenerateContentConfig(
        tools=[weather],
        max_output_tokens=4000,
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_budget=2000) if "gpt" not in model else None,
    )
    question = types.UserContent("What is the weather?")
    called = client.models.generate_content(model=model, contents=question, config=config)
    [call] = called.function_calls
    assert call.name == "weather" and call.args["place"] == "Paris", called
    streamed = list(client.models.generate_content_stream(model=model, contents=question, config=config))
    [again] = [call for chunk in streamed for call in chunk.function_calls or []]
    assert again.args == call.args, streamed
    result = types.Part.from_function_response(name="weather", response={"result": "sunny"})
    result.function_response.id = call.id
    pieces = [chunk.candidates[0].content for chunk in streamed if chunk.candidates[0].content]
    if "gemini" in model:
        # Google wants the call in the turn before its result; others are told in pieces what they told in pieces.
        pieces = [types.Content(role="model", parts=[part for piece in pieces for part in piece.parts])]
    for turns in [[called.candidates[0].content], pieces]:
        turns = [question, *turns, types.Content(role="user", parts=[result])]
        after = client.models.generate_content(model=model, contents=turns, config=config)
        assert after.text == told, after

    # Called by the library itself.
    asked.clear()
    config = types.GenerateContentConfig(tools=[weather], max_output_tokens=2000)
    auto = client.models.generate_content(model=model, contents="What is the weather?", config=config)
    assert auto.text == told and asked == ["Paris"], (auto, asked)
    # As a stream the library puts what follows a call between the call and its result, which our Gemini does not take.
    chat = client.chats.create(model=model, config=config)
    assert "gemini" in model or "".join(chunk.text or "" for chunk in chat.send_message_stream("What is the weather?")) == told

    typed = types.GenerateContentConfig(response_mime_type="application/json", response_schema=Sky)
    assert client.models.generate_content(model=model, contents="The sky?", config=typed).parsed == Sky(sky=sky)
    schema = {"type": "object", "properties": {"sky": {"type": "string"}}, "required": ["sky"], "additionalProperties": False}
    typed = types.GenerateContentConfig(response_mime_type="application/json", response_json_schema=schema)
    assert client.models.generate_content(model=model, contents="The sky?", config=typed).parsed == {"sky": sky}

    counted = client.models.count_tokens(model=model, contents="Say hello to me")
    assert counted.total_tokens > 3 and (counted.total_tokens == 42) == ("gemini" in model), counted


async def asynchronously():
    aio = client.aio
    answer = await aio.models.generate_content(model="gpt-4o-mini", contents="Say hello to me")
    assert answer.text == hello, answer
    stream = await aio.models.generate_content_stream(model="claude-opus-5-5", contents="Say hello to me")
    assert "".join([chunk.text or "" async for chunk in stream]) == claudes


asyncio.run(asynchronously())

for model in ["gemini-embedding-001", "google/gemini-embedding-001", "text-embedding-3-small"]:
    vectors = client.models.embed_content(model=model, contents=["one", "two"])
    assert [vector.values for vector in vectors.embeddings] == [[0.5, -1.0]] * 2, vectors
purpose = types.EmbedContentConfig(task_type="RETRIEVAL_QUERY", output_dimensionality=2)
assert len(client.models.embed_content(model="gemini-embedding-001", contents="one", config=purpose).embeddings) == 1

listed = list(client.models.list(config={"page_size": 100}))
known = {model.name: model for model in listed}
assert len(listed) > 100 and "models/gpt-4o-mini" in known and "models/gemini-3.8-flash" in known, len(listed)
assert "generateContent" in known["models/gpt-4o-mini"].supported_actions, known["models/gpt-4o-mini"]
assert client.models.get(model="models/gpt-4o-mini").output_token_limit == 16384
beta = client_of(key, api_version="v1beta")
assert beta.models.get(model="gemini-embedding-001").supported_actions == ["embedContent", "batchEmbedContents"]
assert beta.models.generate_content(model="gemini-3.8-flash", contents="Say hello to me").text == hello


def raises(code, status, words, client=client, model="gpt-4o-mini", contents="Hi", **config):
    for stream in [False, True]:
        call = client.models.generate_content_stream if stream else client.models.generate_content
        try:
            answer = call(model=model, contents=contents, config=types.GenerateContentConfig(**config))
            list(answer) if stream else None
        except errors.ClientError as error:
            assert (error.code, error.status) == (code, status) and words in error.message, error
            continue
        raise AssertionError(f"{code} was not raised")


raises(404, "NOT_FOUND", "Did you mean", model="gpt-4o-mimi")
raises(401, "UNAUTHENTICATED", "not known", client=client_of("fb_wrong"))
raises(402, "FAILED_PRECONDITION", "Insufficient credits", client=client_of(poor), contents="long " * 200_000)
raises(400, "INVALID_ARGUMENT", "googleSearch", model="gemini-3.8-flash", tools=[types.Tool(google_search=types.GoogleSearch())])
raises(400, "INVALID_ARGUMENT", "safetySettings", safety_settings=[
    types.SafetySetting(category="HARM_CATEGORY_HARASSMENT", threshold="BLOCK_LOW_AND_ABOVE")])
try:
    client.models.generate_content(model="gemini-3.8-flash", contents="Fail", config={"temperature": 0.125})
    raise AssertionError("503 was not raised")
except errors.ServerError as error:
    assert (error.code, error.status) == (503, "UNAVAILABLE"), error
print("ok")
