"""pydantic-ai, unchanged, with GPT and Claude: run, stream, tools, typed output, errors, in three formats. Says ok, or fails."""

import asyncio
import os

from pydantic import BaseModel
from pydantic_ai import Agent, ModelHTTPError, NativeOutput, ToolOutput
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

url, key, poor = os.environ["FAREBOX_URL"], os.environ["FAREBOX_KEY"], os.environ["FAREBOX_POOR_KEY"]
openai = OpenAIProvider(base_url=url + "/v1", api_key=key)
anthropic = AnthropicProvider(base_url=url, api_key=key)


class Trip(BaseModel):
    """Where somebody goes."""

    place: str


HELLO = {"gpt": "Hello from the fake provider.", "claude": "Hello from the fake Claude."}
AFTER = {"gpt": "It is sunny in Paris.", "claude": "Hello from the fake Claude."}


async def story(kind, model):
    agent = Agent(model, instructions="Be brief")
    result = await agent.run("Say hello to me")
    assert result.output == HELLO[kind] and result.usage.output_tokens == 6, result
    again = await agent.run("And again", message_history=result.all_messages())
    assert again.output == HELLO[kind], again

    async with agent.run_stream("Say hello to me") as stream:
        pieces = [piece async for piece in stream.stream_text(delta=True, debounce_by=None)]
    assert len(pieces) > 3 and "".join(pieces) == HELLO[kind], pieces
    assert stream.usage.output_tokens == 6, stream.usage

    places = []
    handy = Agent(model)

    @handy.tool_plain
    def weather(place: str) -> str:
        """The weather somewhere."""
        places.append(place)
        return f"sunny in {place}"

    result = await handy.run("How is the weather?")
    assert result.output == AFTER[kind] and places == ["Paris"], (result, places)
    async with handy.run_stream("How is the weather?") as stream:
        assert await stream.get_output() == AFTER[kind]
    assert places == ["Paris", "Paris"], places

    # The library takes no other model for one of Anthropic's that fits schemas.
    is_foreign = kind == "gpt" and isinstance(model, AnthropicModel)
    for shape in [ToolOutput(Trip)] if is_foreign else [ToolOutput(Trip), NativeOutput(Trip)]:
        assert (await Agent(model, output_type=shape).run("Where?")).output == Trip(place="Paris"), shape


async def raises(status, words, model):
    try:
        await Agent(model).run("Hello")
    except ModelHTTPError as error:
        assert error.status_code == status and words in str(error), error
        return
    raise AssertionError(f"{status} was not raised")


async def main():
    for kind, model in [
        ("gpt", OpenAIChatModel("gpt-4o-mini", provider=openai)),
        ("gpt", OpenAIResponsesModel("gpt-4o-mini", provider=openai)),
        ("gpt", OpenAIResponsesModel("gpt-5-mini", provider=openai)),
        ("claude", OpenAIChatModel("claude-opus-5-5", provider=openai)),
        ("claude", OpenAIResponsesModel("claude-opus-5-5", provider=openai)),
        ("claude", AnthropicModel("claude-opus-5-5", provider=anthropic)),
        ("claude", AnthropicModel("claude-opus-5-5", provider=anthropic, settings={"anthropic_thinking": {"type": "adaptive"}})),
        ("gpt", AnthropicModel("gpt-4o-mini", provider=anthropic)),
    ]:
        await story(kind, model)
    broke = OpenAIProvider(base_url=url + "/v1", api_key=poor)
    await raises(402, "Insufficient credits", OpenAIChatModel("gpt-4o-mini", provider=broke))
    await raises(402, "Insufficient credits", OpenAIResponsesModel("gpt-4o-mini", provider=broke))
    broke = AnthropicProvider(base_url=url, api_key=poor)
    await raises(402, "Insufficient credits", AnthropicModel("claude-opus-5-5", provider=broke))
    await raises(404, "gpt-4o-mimi", OpenAIChatModel("gpt-4o-mimi", provider=openai))


asyncio.run(main())
print("ok")
