"""OpenAI's requests become prompts and options; pieces of text become its objects and chunks."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from inference_server.families.base import InputUnreadable, Piece
from inference_server.problems import BodyUnreadable, InputRefused, ModelUnknown, Problem, TooBusy
from inference_server.protocols import openai
from inference_server.protocols.openai import Generation
from inference_server.protocols.openai_answers import Answering

ASKED = {"model": "writer", "prompt": "Once"}
CHAT = {"model": "writer", "messages": [{"role": "user", "content": "Hi"}]}


def completion(**fields: Any) -> Generation:
    return openai.read_completion(json.dumps({**ASKED, **fields}).encode(), ("writer", "task-1"))


def chat(**fields: Any) -> Generation:
    return openai.read_chat(json.dumps({**CHAT, **fields}).encode(), ("writer", "task-1"))


def test_a_completion_has_openais_defaults() -> None:
    assert completion().data() == [{"texts": ["Once"], "maxNewTokens": 16, "temperature": 1, "stop": []}]
    assert completion(model="task-1").model == "task-1"


def test_options_are_the_familys() -> None:
    asked = completion(max_tokens=5, temperature=0.5, top_p=0.9, seed=3, stop="\n", prompt=["a", "b"])
    options = {"maxNewTokens": 5, "temperature": 0.5, "topP": 0.9, "seed": 3, "stop": ["\n"]}
    assert asked.data() == [{"texts": ["a", "b"], **options}]


def test_each_of_n_draws_by_a_seed_of_its_own_and_has_openais_index() -> None:
    asked = completion(n=3, prompt=["a", "b"], seed=-1)
    assert [data["seed"] for data in asked.data()] == [(1 << 32) - 1, 0, 1]
    assert [asked.choice(row) for row in range(6)] == [0, 3, 1, 4, 2, 5]


def test_a_chat_is_a_line_a_turn_and_ends_where_the_user_would_go_on() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "text", "text": " there"}]},
    ]
    asked = chat(messages=messages, max_completion_tokens=7, stop=["x"])
    assert asked.prompts == ["system: Be brief.\nuser: Hi there\nassistant:"]
    assert asked.options == {"temperature": 1, "maxNewTokens": 7, "stop": ["x", "\nuser:"]}


def test_what_asks_for_nothing_is_let_pass() -> None:
    nothing = {"frequency_penalty": 0.0, "logit_bias": {}, "logprobs": None, "user": "u", "suffix": None, "echo": False}
    assert completion(**nothing) == completion()
    assert chat(tools=[], tool_choice="auto", response_format={"type": "text"}, logprobs=False) == chat()


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"prompt": None}, "prompt", "a text or a list of texts"),
        ({"prompt": []}, "prompt", "a text or a list of texts"),
        ({"prompt": [1, 2]}, "prompt", "token ids are not read here"),
        ({"n": 0}, "n", "from 1 to 64"),
        ({"n": 65}, "n", "from 1 to 64"),
        ({"n": 33, "prompt": ["a", "b"]}, "n", "from 1 to 64"),
        ({"n": True}, "n", "from 1 to 64"),
        ({"stream": 1}, "stream", "true or false"),
        ({"stream_options": {"include_usage": 1}}, "stream_options", "include_usage"),
        ({"stream_options": 1}, "stream_options", "include_usage"),
        ({"logprobs": 3}, "logprobs", "not supported here"),
        ({"frequency_penalty": 0.5}, "frequency_penalty", "not supported here"),
        ({"top_k": 5}, "top_k", "not a field"),
    ],
)
def test_what_cannot_be_done_is_refused_with_its_param(fields: dict[str, Any], param: str, words: str) -> None:
    with pytest.raises(BodyUnreadable, match=words) as refusal:
        completion(**fields)
    reply = openai.refuse(refusal.value, "r-1")
    error = json.loads(reply.body)["error"]
    assert (reply.status, error["type"], error["param"]) == (400, "invalid_request_error", param)


@pytest.mark.parametrize(
    "messages",
    [
        None,
        [],
        "Hi",
        [5],
        [{"role": "robot", "content": "x"}],
        [{"role": "user"}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
    ],
)
def test_messages_that_are_none_are_refused(messages: Any) -> None:
    with pytest.raises(BodyUnreadable) as refusal:
        chat(messages=messages)
    assert openai.error(refusal.value)["error"]["param"] == "messages"  # type: ignore[index]


def test_another_model_is_404() -> None:
    for model in ("gpt-4", None, 5):
        with pytest.raises(ModelUnknown, match='served is "writer" or "task-1"') as refusal:
            completion(model=model)
        reply = openai.refuse(refusal.value, "r-1")
        assert (reply.status, json.loads(reply.body)["error"]["code"]) == (404, "model_not_found")


def test_what_the_family_refuses_is_said_in_openais_words() -> None:
    refused = InputRefused.of(InputUnreadable("maxNewTokens must be a whole number.", "/data/maxNewTokens"))
    error: Any = openai.error(refused)["error"]
    assert (error["param"], error["message"]) == ("max_tokens", "max_tokens must be a whole number.")


async def steps(*pieces: Sequence[Piece], error: Problem | None = None) -> AsyncIterator[Sequence[Piece]]:
    for step in pieces:
        yield step
    if error:
        raise error


STEPS = (
    [Piece(0, "A", 1, ""), Piece(1, "", 1, "")],
    [Piece(0, "", 1, "length"), Piece(1, "B", 1, "")],
    [Piece(1, "", 0, "stop")],
)


async def told(answering: Answering, error: Problem | None = None) -> list[Any]:
    events = [chunk async for chunk in answering.chunks(steps(*STEPS, error=error))]
    assert all(chunk.startswith(b"data: ") and chunk.endswith(b"\n\n") for chunk in events)
    return [chunk if b"[DONE]" in chunk else json.loads(chunk[6:]) for chunk in events]


async def test_a_whole_completion_counts_its_tokens() -> None:
    reply = await Answering(completion(n=2), "r1", 1000, 3).whole(steps(*STEPS))
    assert json.loads(reply.body) == {
        "id": "cmpl-r1",
        "object": "text_completion",
        "created": 1000,
        "model": "writer",
        "choices": [
            {"index": 0, "text": "A", "logprobs": None, "finish_reason": "length"},
            {"index": 1, "text": "B", "logprobs": None, "finish_reason": "stop"},
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
    }


async def test_chunks_of_a_chat_end_with_usage_and_done() -> None:
    chunks = await told(Answering(chat(n=2, stream=True, stream_options={"include_usage": True}), "r1", 1000, 3))
    deltas = [(choice["index"], choice["delta"]) for chunk in chunks[:-1] for choice in chunk["choices"]]
    opening = {"role": "assistant", "content": ""}
    assert deltas == [(0, opening), (1, opening), (0, {"content": "A"}), (0, {}), (1, {"content": "B"}), (1, {})]
    assert [chunk["usage"] for chunk in chunks[:-2]] == [None] * 4
    assert (chunks[-2]["choices"], chunks[-2]["usage"]["total_tokens"]) == ([], 7)
    assert chunks[-1] == b"data: [DONE]\n\n"
    assert {chunk["object"] for chunk in chunks[:-1]} == {"chat.completion.chunk"}


async def test_an_error_takes_the_place_of_the_end() -> None:
    chunks = await told(Answering(completion(stream=True), "r1", 1000, 3), TooBusy("Try again shortly."))
    assert chunks[-1]["error"]["message"] == "Try again shortly."
    assert b"data: [DONE]\n\n" not in chunks
