"""OpenAI's Python SDK, unchanged: conversations are begun, read, changed, added to and ended, and responses go on from them.
Says ok, or fails."""

import os

import openai

client = openai.OpenAI(base_url=os.environ["FAREBOX_URL"] + "/v1", api_key=os.environ["FAREBOX_KEY"], max_retries=0)

conversation = client.conversations.create(
    items=[{"type": "message", "role": "user", "content": "one"}], metadata={"topic": "skies"}
)
assert conversation.id.startswith("conv_") and conversation.object == "conversation", conversation
assert client.conversations.retrieve(conversation.id).metadata == {"topic": "skies"}
assert client.conversations.update(conversation.id, metadata={"topic": "clouds"}).metadata == {"topic": "clouds"}

response = client.responses.create(model="gpt-4o-mini", input="two", conversation=conversation.id)
assert response.output_text == "Hello there." and response.conversation.id == conversation.id, response
with client.responses.stream(model="gpt-4o-mini", input="three", conversation={"id": conversation.id}) as stream:
    last = stream.get_final_response()
assert last.conversation.id == conversation.id, last

added = client.conversations.items.create(
    conversation.id, items=[{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "four"}]}]
)
assert added.data[0].content[0].text == "four", added
texts = [item.content[0].text for item in client.conversations.items.list(conversation.id, order="asc", limit=2)]
assert texts == ["one", "two", "Hello there.", "three", "Hello there.", "four"], texts
item = client.conversations.items.retrieve(added.data[0].id, conversation_id=conversation.id)
assert item.content[0].text == "four", item
left = client.conversations.items.delete(item.id, conversation_id=conversation.id)
assert left.id == conversation.id, left
assert len(list(client.conversations.items.list(conversation.id))) == 5

deleted = client.conversations.delete(conversation.id)
assert deleted.deleted and deleted.id == conversation.id, deleted
try:
    client.conversations.retrieve(conversation.id)
    raise AssertionError("it is still there")
except openai.NotFoundError:
    pass
print("ok")
