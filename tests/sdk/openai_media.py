"""OpenAI's Python SDK, unchanged: speech whole and as it comes, transcriptions in every form, images whole and as events. Says
ok, or fails."""

import base64
import os

import openai

client = openai.OpenAI(base_url=os.environ["FAREBOX_URL"] + "/v1", api_key=os.environ["FAREBOX_KEY"], max_retries=0)

whole = client.audio.speech.create(model="tts-1", voice="alloy", input="Hello")
sound = whole.read()
assert sound.startswith(b"ID3") and sound.endswith(b"end"), sound[:9]
assert whole.response.headers["x-farebox-cost"] == "0.0000765", whole.response.headers
with client.audio.speech.with_streaming_response.create(
    model="gpt-4o-mini-tts-2025-12-15", voice="coral", input="Hello", instructions="slowly", response_format="wav"
) as streamed:
    assert b"".join(streamed.iter_bytes()) == sound
try:
    client.audio.speech.create(model="tts-1", voice="alloy", input="")
    raise AssertionError("nothing was said")
except openai.BadRequestError as error:
    assert error.param == "input", error

with open(os.environ["RECORDING"], "rb") as recording:
    answer = client.audio.transcriptions.create(model="whisper-1", file=recording, language="en")
assert answer.text == "Hello from the fake." and answer.usage.seconds == 2, answer
assert answer.usage.cost == "0.000204", answer
with open(os.environ["RECORDING"], "rb") as recording:
    verbose = client.audio.transcriptions.create(
        model="whisper-1", file=recording, response_format="verbose_json", timestamp_granularities=["word", "segment"]
    )
assert verbose.duration == 2 and verbose.usage.seconds == 2, verbose
for form in ("text", "srt", "vtt"):
    with open(os.environ["RECORDING"], "rb") as recording:
        text = client.audio.transcriptions.create(model="whisper-1", file=recording, response_format=form)
    assert isinstance(text, str) and "Hello from the fake." in text, text
with open(os.environ["RECORDING"], "rb") as recording:
    events = list(
        client.audio.transcriptions.create(model="gpt-4o-mini-transcribe-2025-12-15", file=recording, stream=True)
    )
assert "".join(event.delta for event in events if event.type == "transcript.text.delta") == "Hello from the fake."
assert events[-1].type == "transcript.text.done" and events[-1].usage.input_tokens == 20, events[-1]
with open(os.environ["RECORDING"], "rb") as recording:
    english = client.audio.translations.create(model="whisper-1", file=recording)
assert english.text == "Hello from the fake.", english
try:
    client.audio.transcriptions.create(model="whisper-1", file=("a.mp3", b"no sound at all"))
    raise AssertionError("nothing was heard")
except openai.BadRequestError as error:
    assert error.param == "file", error

drawn = client.images.generate(model="gpt-image-1", prompt="a cat", size="1024x1024", quality="low", n=2)
assert [base64.b64decode(image.b64_json)[1:4] for image in drawn.data] == [b"PNG"] * 2, drawn
assert drawn.usage.output_tokens == 544 and drawn.usage.cost == "0.0222411", drawn.usage
events = list(
    client.images.generate(
        model="gpt-image-1", prompt="a cat", size="1024x1024", quality="low", stream=True, partial_images=1
    )
)
assert [event.type for event in events] == ["image_generation.partial_image", "image_generation.completed"], events
assert events[-1].usage.output_tokens == 372 and events[-1].b64_json, events[-1]
image = ("a.png", b"\x89PNG\r\n\x1a\n", "image/png")
edited = client.images.edit(
    model="gpt-image-1", prompt="a hat", image=[image, image], mask=image, size="1024x1024", quality="low", n=2
)
assert len(edited.data) == 2 and edited.usage.input_tokens_details.image_tokens == 6000, edited
assert edited.usage.cost == "0.0834411", edited.usage
events = list(
    client.images.edit(
        model="gpt-image-1", prompt="a hat", image=image, size="1024x1024", quality="low", stream=True, partial_images=1
    )
)
assert [event.type for event in events] == ["image_edit.partial_image", "image_edit.completed"], events
try:
    client.images.create_variation(image=image)
    raise AssertionError("nothing was varied")
except openai.BadRequestError as error:
    assert error.param == "model", error
print("ok")
