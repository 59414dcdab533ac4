"""OpenAI's completions and chat completions for models that write text: what a request asks for, and refusals."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from inference_server.messages import Answer
from inference_server.problems import BodyUnreadable, InputRefused, ModelUnknown, Problem
from inference_server.protocols.bodies import json_object, unknown_model
from inference_server.words import short, shown

DEFAULT_TOKENS = 16  # of a completion; a chat's answer is as long as the model's family allows by default
MOST_CHOICES = 64  # of all prompts together
ROLES = ("system", "developer", "user", "assistant", "tool")
NEXT_TURN = "\nuser:"

SHARED = ("model", "temperature", "top_p", "n", "stop", "seed", "max_tokens", "stream", "stream_options")
IGNORED = ("user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "parallel_tool_calls")
NEUTRAL: Mapping[str, Collection[object]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
    "response_format": ({"type": "text"},),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "modalities": (["text"],),
}
"""What is not done here, and the values that ask for nothing."""

NAMES: Mapping[str, str] = {"maxNewTokens": "max_tokens", "topP": "top_p", "texts": "prompt"}
"""The options of a model's family, as OpenAI calls them."""


@dataclass(frozen=True, slots=True)
class Generation:
    """What a request asks for: `n` continuations of each prompt, to be written with the family's `options`."""

    model: str
    prompts: list[str]
    options: Mapping[str, object]
    n: int
    chat: bool
    stream: bool
    include_usage: bool

    def data(self) -> list[dict[str, object]]:
        """For each of the `n` a request's `data`. With a seed, each draws by a seed of its own."""
        texts: dict[str, object] = {"texts": self.prompts, **self.options}
        seed = self.options.get("seed")
        if type(seed) is not int:
            return [texts] * self.n
        return [{**texts, "seed": (seed + choice) % (1 << 32)} for choice in range(self.n)]

    def choice(self, row: int) -> int:
        """The index of the choice that a row of all data together is."""
        return row % len(self.prompts) * self.n + row // len(self.prompts)


def read_completion(body: bytes | bytearray, models: Collection[str]) -> Generation:
    """Raises `BodyUnreadable`, `ModelUnknown`."""
    content = _content(body, models, (*SHARED, "prompt"))
    return _generation(content, _prompts(content.get("prompt")), {"maxNewTokens": DEFAULT_TOKENS}, chat=False)


def read_chat(body: bytes | bytearray, models: Collection[str]) -> Generation:
    """Raises `BodyUnreadable`, `ModelUnknown`. A turn is a line, `role: content`; the model writes the assistant's."""
    content = _content(body, models, (*SHARED, "messages", "max_completion_tokens"))
    if "max_completion_tokens" in content:
        content["max_tokens"] = content["max_completion_tokens"]
    return _generation(content, [_transcript(content.get("messages"))], {}, chat=True)


def models(names: Collection[str], created: int) -> Answer:
    return Answer.json(200, {"object": "list", "data": [_model(name, created) for name in names]})


def model(name: str, created: int) -> Answer:
    return Answer.json(200, _model(name, created))


def error(problem: Problem) -> dict[str, object]:
    """The protocol's own error; `param` is what is wrong in the request."""
    pointer = (problem.pointer or "").removeprefix("/data").lstrip("/").partition("/")[0]
    message = problem.detail
    if isinstance(problem, InputRefused) and pointer in NAMES:
        message = message.replace(pointer, NAMES[pointer])
    kind = "invalid_request_error" if problem.status < 500 else "server_error"
    code = "model_not_found" if isinstance(problem, ModelUnknown) else problem.code.replace("-", "_")
    content = {"message": message, "type": kind, "param": NAMES.get(pointer, pointer) or None, "code": code}
    return {"error": content}


def refuse(problem: Problem, request_id: str) -> Answer:
    """What the caller can mend is 400."""
    status = 400 if problem.status == 422 else problem.status
    return Answer(status, orjson.dumps(error(problem)), headers=problem.headers)


def _model(name: str, created: int) -> dict[str, object]:
    return {"id": name, "object": "model", "created": created, "owned_by": "modelyard"}


def _content(body: bytes | bytearray, models: Collection[str], known: Collection[str]) -> dict[str, Any]:
    """The fields that say something; null says nothing."""
    content = {name: value for name, value in json_object(body).items() if value is not None}
    for name, value in content.items():
        if name in NEUTRAL and value not in NEUTRAL[name]:
            raise BodyUnreadable(f"{name} is not supported here; leave it out.", f"/{name}")
        if name not in known and name not in NEUTRAL and name not in IGNORED:
            raise BodyUnreadable(f"{short(name)} is not a field of this request.", f"/{name}")
    if content.get("model") not in models:
        raise unknown_model(content.get("model"), models)
    return content


def _generation(
    content: Mapping[str, Any], prompts: list[str], defaults: Mapping[str, object], *, chat: bool
) -> Generation:
    n, stream = content.get("n", 1), content.get("stream", False)
    if type(n) is not int or not 1 <= n * len(prompts) <= MOST_CHOICES:
        raise BodyUnreadable(f"n times the prompts must be a whole number from 1 to {MOST_CHOICES}.", "/n")
    if type(stream) is not bool:
        raise BodyUnreadable(f"stream is {shown(stream)}; it must be true or false.", "/stream")
    told = content.get("stream_options", {})
    if not isinstance(told, dict) or not isinstance(told.get("include_usage", False), bool):
        raise BodyUnreadable("stream_options must be an object with include_usage, true or false.", "/stream_options")
    return Generation(
        model=content["model"],
        prompts=prompts,
        options={**defaults, **_options(content, chat=chat)},
        n=n,
        chat=chat,
        stream=stream,
        include_usage=told.get("include_usage", False),
    )


def _options(content: Mapping[str, Any], *, chat: bool) -> dict[str, object]:
    """Those of the model's family. OpenAI's temperature is 1 where none is asked for."""
    options = {"temperature": content.get("temperature", 1)}
    for name, ours in (("max_tokens", "maxNewTokens"), ("top_p", "topP"), ("seed", "seed")):
        if name in content:
            options[ours] = content[name]
    stop = content.get("stop", [])
    stops = [stop] if isinstance(stop, str) else stop
    if chat and isinstance(stops, list):
        stops = [*stops, NEXT_TURN]
    return {**options, "stop": stops}


def _prompts(prompt: object) -> list[str]:
    prompts = [prompt] if isinstance(prompt, str) else prompt
    if not isinstance(prompts, list) or not prompts or not all(isinstance(text, str) for text in prompts):
        raise BodyUnreadable("prompt must be a text or a list of texts; token ids are not read here.", "/prompt")
    return prompts


def _transcript(messages: object) -> str:
    if not isinstance(messages, list) or not messages:
        raise BodyUnreadable("messages must be a list of one or more messages.", "/messages")
    return "".join(f"{_turn(message)}\n" for message in messages) + "assistant:"


def _turn(message: object) -> str:
    if not isinstance(message, dict) or message.get("role") not in ROLES:
        raise BodyUnreadable(f"Each message must be an object with a role: {', '.join(ROLES)}.", "/messages")
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(_part(part) for part in content)
    if not isinstance(content, str):
        raise BodyUnreadable("The content of each message must be a text, or a list of text parts.", "/messages")
    return f"{message['role']}: {content}"


def _part(part: object) -> str:
    if isinstance(part, dict) and part.get("type") == "text" and isinstance(text := part.get("text"), str):
        return text
    raise BodyUnreadable("Of the parts of a message only those of the type text are read here.", "/messages")


Reader = Callable[[bytes | bytearray, Collection[str]], Generation]
