"""OpenAI's Python SDK, unchanged: it asks for base64 by itself, and reads it. Says ok, or fails."""

import os

import openai

client = openai.OpenAI(base_url=os.environ["FAREBOX_URL"] + "/v1", api_key=os.environ["FAREBOX_KEY"], max_retries=0)
answer = client.embeddings.create(model="text-embedding-3-small", input=["one two", "three"])
assert [list(entry.embedding) for entry in answer.data] == [[0.5, -1.0]] * 2, answer
assert answer.usage.prompt_tokens == 3 and answer.usage.cost == "0.000000061", answer.usage
plain = client.embeddings.create(model="text-embedding-3-small", input="one", encoding_format="float")
assert list(plain.data[0].embedding) == [0.5, -1.0], plain
print("ok")
