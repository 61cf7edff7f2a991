"""Cohere's Python SDK, unchanged: its client of version 1 asks at `/v1/rerank`, and reads both bill and documents. Says ok, or fails."""

import os

import cohere

client = cohere.Client(base_url=os.environ["FAREBOX_URL"], api_key=os.environ["FAREBOX_KEY"])
answer = client.rerank(
    model="rerank-v3.5",
    query="capital of France",
    documents=["Berlin is in Germany", {"text": "Paris is the capital of France"}],
    top_n=1,
    return_documents=True,
)
[best] = answer.results
assert (best.index, best.relevance_score, best.document.text) == (1, 1.0, "Paris is the capital of France"), answer
assert answer.meta.billed_units.search_units == 1.0, answer
try:
    client.rerank(model="rerank-v3.5", query="capital of France", documents=[])
    raise AssertionError("no documents were ordered")
except cohere.BadRequestError as error:
    assert error.status_code == 400 and "documents" in str(error.body), error
print("ok")
