"""LangChain, unchanged, with GPT and Claude: chat, stream, tools, structured output, errors, in three formats. Says ok, or fails."""

import os

import anthropic
import openai
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

url, key, poor = os.environ["FAREBOX_URL"], os.environ["FAREBOX_KEY"], os.environ["FAREBOX_POOR_KEY"]


@tool
def weather(place: str) -> str:
    """The weather somewhere."""
    return f"sunny in {place}"


class Trip(BaseModel):
    """Where somebody goes."""

    place: str


def gpt(key=key, **more):
    return ChatOpenAI(base_url=url + "/v1", api_key=key, max_retries=0, **more)


def claude(key=key, **more):
    return ChatAnthropic(base_url=url, api_key=key, max_retries=0, **more)


HELLO = {"gpt": "Hello from the fake provider.", "claude": "Hello from the fake Claude."}
AFTER = {"gpt": "It is sunny in Paris.", "claude": "Hello from the fake Claude."}
said = [SystemMessage("Be brief"), HumanMessage("Say hello to me")]

for kind, model in [
    ("gpt", gpt(model="gpt-4o-mini", stream_usage=True)),
    ("gpt", gpt(model="gpt-4o-mini", use_responses_api=True)),
    ("gpt", gpt(model="gpt-5-mini", reasoning={"effort": "low", "summary": "auto"})),
    ("claude", gpt(model="claude-opus-5-5", stream_usage=True)),
    ("claude", gpt(model="claude-opus-5-5", use_responses_api=True)),
    ("claude", claude(model="claude-opus-5-5", max_tokens=500)),
    ("claude", claude(model="claude-opus-5-5", max_tokens=500, thinking={"type": "adaptive"})),
    ("gpt", claude(model="gpt-4o-mini", max_tokens=500)),
]:
    answer = model.invoke(said)
    assert answer.text == HELLO[kind], answer
    assert answer.usage_metadata["output_tokens"] == 6, answer
    assert model.invoke(said + [answer, HumanMessage("And again")]).text == HELLO[kind]

    pieces = list(model.stream(said))
    whole = sum(pieces[1:], pieces[0])
    assert len(pieces) > 3 and whole.text == HELLO[kind], pieces
    assert whole.usage_metadata["output_tokens"] == 6, whole

    bound = model.bind_tools([weather])
    called = bound.invoke(said)
    streamed = list(bound.stream(said))
    for message in (called, sum(streamed[1:], streamed[0])):
        [call] = message.tool_calls
        assert (call["name"], call["args"]) == ("weather", {"place": "Paris"}), message
        result = weather.invoke(call)
        assert isinstance(result, ToolMessage), result
        assert bound.invoke(said + [message, result]).text == AFTER[kind], kind

    for method in ["function_calling", "json_schema"]:
        assert model.with_structured_output(Trip, method=method).invoke(said) == Trip(place="Paris"), method


def raises(kind, words, model, said="Hello"):
    try:
        model.invoke(said)
    except kind as error:
        assert words in str(error), error
        return error
    raise AssertionError(f"{kind} was not raised")


for responses in (False, True):
    raises(openai.NotFoundError, "gpt-4o-mimi", gpt(model="gpt-4o-mimi", use_responses_api=responses))
    raises(openai.AuthenticationError, "key", gpt("fb_wrong", model="gpt-4o-mini", use_responses_api=responses))
    broke = raises(openai.APIStatusError, "Insufficient credits", gpt(poor, model="gpt-4o-mini", use_responses_api=responses))
    assert broke.status_code == 402, broke
raises(anthropic.NotFoundError, "claude-opus-5-6", claude(model="claude-opus-5-6"))
raises(anthropic.PaymentRequiredError, "Insufficient credits", claude(poor, model="claude-opus-5-5"))
print("ok")
