"""Predictions with `Prefer: respond-async` over REST, in front of replicas that are polite and rude."""

from __future__ import annotations

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.app.proxy.upstreams import AnswersWhenReleased, ClosesBeforeAnswering, Upstream, answer
from tests.support.platform import Yard, eventually, yard

RUN = "90df8a7a263149d2bb86a71be7442611"
TASK = "deploy-reg-01"
SERVER = f"serve-{TASK}"
PREDICT = f"/api/v1/inference/{TASK}/predict"
RESULT = "/api/v1/inference/result"
LATER = {"prefer": "respond-async"}


class Answers(Upstream):
    """Answers with these, one after the other, and the last of them for ever."""

    def __init__(self, *answers: bytes) -> None:
        super().__init__()
        self._answers = list(answers)

    async def converse(self, reader: StreamReader, writer: StreamWriter) -> bool:
        await self.receive(reader)
        writer.write(self._answers.pop(0) if len(self._answers) > 1 else self._answers[0])
        return True


class CountsTheBusy(Upstream):
    """Takes a moment for each, and remembers how many it had at once."""

    def __init__(self) -> None:
        super().__init__()
        self.busy = self.most = 0

    async def converse(self, reader: StreamReader, writer: StreamWriter) -> bool:
        request = await self.receive(reader)
        self.busy += 1
        self.most = max(self.most, self.busy)
        await asyncio.sleep(0.02)
        self.busy -= 1
        writer.write(answer(request.body))
        return True


BUSY = answer(b"busy", b"Retry-After: 7", status=b"503 Service Unavailable")


@asynccontextmanager
async def deployed(home: Path, upstream: Upstream | None = None, **deferred: Any) -> AsyncIterator[Yard]:
    """A gateway with one deployment, whose replica is the upstream; without one it is not ready."""
    async with yard(home, deferred=deferred, predict={"hold_seconds": 0.2}) as running:
        running.mlflow.log(RUN, model_id="m-1")
        await running.deploy()
        await eventually(lambda: _is_launched(running))
        if upstream:
            await serves(running, upstream)
        yield running


async def _is_launched(gateway: Yard) -> bool:
    return bool(gateway.runtime.launched)


async def serves(gateway: Yard, upstream: Upstream) -> None:
    gateway.runtime.serves_at(SERVER, upstream.address)

    async def is_routed() -> bool:
        route = gateway.platform.routes.get(TASK)
        return route is not None and [replica.address for replica in route.replicas] == [upstream.address]

    await eventually(is_routed)


async def ask(
    gateway: Yard, body: bytes = b'{"data": 1}', headers: Mapping[str, str] | Sequence[tuple[str, str]] = LATER
) -> httpx2.Response:
    return await gateway.client.post(PREDICT, content=body, headers=headers)


async def result(gateway: Yard, accepted: httpx2.Response) -> httpx2.Response:
    """The result of what was accepted, once it is there."""
    assert accepted.status_code == 202, accepted.text

    async def look() -> httpx2.Response | None:
        found = await gateway.client.get(accepted.headers["location"])
        return None if found.headers.get("prediction-status") == "Pending" else found

    found: httpx2.Response = await eventually(look)
    return found


def sample(gateway: Yard, name: str, **labels: str) -> float | None:
    return gateway.platform.registry.get_sample_value(name, labels)


async def test_it_is_accepted_at_once_and_its_result_is_there_later_as_often_as_it_is_asked_for(
    tmp_path: Path,
) -> None:
    async with AnswersWhenReleased() as upstream, deployed(tmp_path, upstream) as gateway:
        accepted = await ask(gateway, b"\x00bytes\xff", {**LATER, "x-request-id": "mine"})
        assert accepted.status_code == 202
        assert accepted.headers["preference-applied"] == "respond-async"
        assert int(accepted.headers["retry-after"]) >= 1
        body = accepted.json()
        assert accepted.headers["location"] == f"{RESULT}/{body['id']}"
        assert (body["taskId"], body["status"], body["ahead"], body["requestId"]) == (TASK, "Pending", 0, "mine")
        pending = await gateway.client.get(accepted.headers["location"])
        assert (pending.status_code, pending.json()["id"]) == (202, body["id"])
        upstream.release.set()
        for _ in range(3):
            found = await result(gateway, accepted)
            assert (found.status_code, found.content) == (200, b"\x00bytes\xff")
            assert found.headers["prediction-status"] == "Done"
        assert len(upstream.requests) == 1
        assert upstream.requests[0].header(b"x-request-id") == b"mine"


async def test_an_answer_within_the_wait_is_given_directly(tmp_path: Path) -> None:
    async with Answers(answer(b"now", b"Content-Type: text/x")) as upstream, deployed(tmp_path, upstream) as gateway:
        found = await ask(gateway, headers={"prefer": "respond-async, wait=10"})
        assert (found.status_code, found.content) == (200, b"now")
        assert found.headers["preference-applied"] == "respond-async, wait=10"
        assert found.headers["content-type"] == "text/x"
        again = await gateway.client.get(found.headers["content-location"])
        assert (again.content, again.headers["content-type"]) == (b"now", "text/x")


async def test_a_wait_that_is_over_becomes_a_202(tmp_path: Path) -> None:
    async with AnswersWhenReleased() as upstream, deployed(tmp_path, upstream, longest_wait_seconds=1) as gateway:
        accepted = await ask(gateway, b"body", headers=[("prefer", "respond-async"), ("prefer", "wait=30")])
        assert accepted.headers["preference-applied"] == "respond-async, wait=1"
        upstream.release.set()
        assert (await result(gateway, accepted)).content == b"body"
        assert len(upstream.requests) == 1


async def test_who_prefers_something_else_is_answered_by_the_proxy(tmp_path: Path) -> None:
    async with Upstream() as upstream, deployed(tmp_path, upstream) as gateway:
        found = await ask(gateway, b"body", {"prefer": 'wait=5, x="respond-async"'})
        assert (found.status_code, found.content) == (200, b"body")
        assert "preference-applied" not in found.headers
        assert sample(gateway, "deferred_predictions_total", outcome="done") == 0


async def test_the_model_sees_the_request_but_no_credentials(tmp_path: Path) -> None:
    secret = {"authorization": "Bearer s3cret", "cookie": "s3cret", "x-api-key": "s3cret"}
    ours = {"content-type": "application/json", "x-model-word": "hello", "traceparent": "00-1-2-01"}
    async with Upstream() as upstream, deployed(tmp_path, upstream) as gateway:
        await result(gateway, await ask(gateway, headers={**LATER, **secret, **ours, "idempotency-key": "k"}))
        seen = dict(upstream.requests[0].headers)
        assert {name.encode(): value.encode() for name, value in ours.items()}.items() <= seen.items()
        assert b"s3cret" not in b"".join(value for _, value in upstream.requests[0].headers)
        assert not {b"prefer", b"idempotency-key", b"accept-encoding"} & seen.keys()
        assert b"s3cret" not in (tmp_path / "modelyard.db").read_bytes()


async def test_a_refusal_by_the_model_is_the_result(tmp_path: Path) -> None:
    refusal = answer(b'{"code": "bad-row"}', b"Content-Type: application/problem+json", status=b"422 Unprocessable")
    async with Answers(refusal) as upstream, deployed(tmp_path, upstream) as gateway:
        found = await result(gateway, await ask(gateway))
        assert (found.status_code, found.json()) == (422, {"code": "bad-row"})
        assert found.headers["prediction-status"] == "Done"
        assert len(upstream.requests) == 1
        assert sample(gateway, "deferred_predictions_total", outcome="failed") == 1


async def test_one_for_a_deployment_that_is_not_ready_waits_for_it(tmp_path: Path) -> None:
    async with Upstream() as upstream, deployed(tmp_path) as gateway:
        accepted = [await ask(gateway, b"%d" % number) for number in range(3)]
        assert [one.json()["ahead"] for one in accepted] == [0, 1, 2]
        assert sample(gateway, "deferred_predictions_pending", task=TASK) == 3
        await serves(gateway, upstream)
        assert [(await result(gateway, one)).content for one in accepted] == [b"0", b"1", b"2"]
        assert sample(gateway, "deferred_predictions_pending", task=TASK) is None


async def test_what_passes_is_tried_again_and_says_when_to_come_back(tmp_path: Path) -> None:
    async with Answers(BUSY, BUSY, answer(b"well")) as upstream, deployed(tmp_path, upstream) as gateway:
        accepted = await ask(gateway)
        await eventually(lambda: _has_asked(upstream))
        pending = await gateway.client.get(accepted.headers["location"])
        assert 5 < pending.json()["estimateSeconds"] <= 7
        assert pending.headers["retry-after"] == "7"
        assert (await result(gateway, accepted)).content == b"well"
        assert len(upstream.requests) == 3


async def _has_asked(upstream: Upstream) -> bool:
    return len(upstream.requests) > 0


async def test_one_that_its_servers_die_of_is_given_up(tmp_path: Path) -> None:
    async with ClosesBeforeAnswering() as upstream, deployed(tmp_path, upstream) as gateway:
        found = await result(gateway, await ask(gateway))
        assert (found.status_code, found.json()["code"]) == (502, "replica-lost")
        assert len(upstream.requests) == 5


async def test_without_an_answer_in_time_it_fails_with_what_was_in_its_way(tmp_path: Path) -> None:
    async with Answers(BUSY) as upstream, deployed(tmp_path, upstream, deadline_seconds=2) as gateway:
        found = await result(gateway, await ask(gateway))
        assert (found.status_code, found.json()["code"]) == (504, "deadline-exceeded")
        assert "answered with 503" in found.json()["detail"]
    async with deployed(tmp_path / "second", deadline_seconds=2) as gateway:
        found = await result(gateway, await ask(gateway))
        assert "is not ready" in found.json()["detail"]


async def test_the_client_may_shorten_the_deadline(tmp_path: Path) -> None:
    async with AnswersWhenReleased() as upstream, deployed(tmp_path, upstream) as gateway:
        found = await result(gateway, await ask(gateway, headers={**LATER, "x-request-timeout": "0.3"}))
        assert (found.status_code, found.json()["code"]) == (504, "deadline-exceeded")
        refused = await ask(gateway, headers={**LATER, "x-request-timeout": "soon"})
        assert (refused.status_code, refused.json()["code"]) == (400, "header-invalid")


async def test_one_that_takes_too_long_is_not_tried_again(tmp_path: Path) -> None:
    async with AnswersWhenReleased() as upstream, deployed(tmp_path, upstream, answer_seconds=0.2) as gateway:
        found = await result(gateway, await ask(gateway))
        assert (found.status_code, found.json()["code"]) == (504, "deadline-exceeded")
        assert len(upstream.requests) == 1


async def test_deleting_the_deployment_fails_what_waits_for_it(tmp_path: Path) -> None:
    async with deployed(tmp_path) as gateway:
        accepted = [await ask(gateway) for _ in range(5)]
        gateway.runtime.stubborn.add(SERVER)
        await gateway.client.delete(f"/api/v1/inference/deployments/{TASK}")
        for one in accepted:
            found = await result(gateway, one)
            assert (found.status_code, found.json()["code"]) == (404, "deployment-not-found")
            assert "was deleted before it had answered" in found.json()["detail"]
        refused = await ask(gateway)
        assert (refused.status_code, refused.json()["code"]) == (503, "deployment-not-ready")


async def test_a_new_deployment_of_the_same_name_answers_nothing_that_was_meant_for_the_old(tmp_path: Path) -> None:
    async with Upstream() as upstream, deployed(tmp_path) as gateway:
        accepted = await ask(gateway)
        await gateway.client.delete(f"/api/v1/inference/deployments/{TASK}")

        async def is_new() -> bool:
            return (await gateway.deploy()).status_code == 202

        await eventually(is_new)

        async def is_launched() -> bool:
            return len(gateway.runtime.launched) == 2

        await eventually(is_launched)
        await serves(gateway, upstream)
        assert (await result(gateway, accepted)).status_code == 404
        assert upstream.requests == []


async def test_an_unknown_deployment_is_not_found(gateway: Yard) -> None:
    answer = await gateway.client.post("/api/v1/inference/nobody/predict", json={}, headers=LATER)
    assert (answer.status_code, answer.json()["code"]) == (404, "deployment-not-found")


@pytest.mark.parametrize(
    ("bounds", "status", "code"),
    [
        ({"pending_per_deployment": 2}, 429, "too-many-pending"),
        ({"pending_bytes_per_deployment": 600}, 429, "too-many-pending"),
        ({"pending": 2}, 503, "too-many-pending-in-all"),
        ({"pending_bytes": 600}, 503, "too-many-pending-in-all"),
    ],
)
async def test_only_so_many_may_wait(tmp_path: Path, bounds: dict[str, int], status: int, code: str) -> None:
    async with Upstream() as upstream, deployed(tmp_path, **bounds) as gateway:
        answers = await asyncio.gather(*(ask(gateway, b"x" * 200) for _ in range(4)))
        assert sorted(one.status_code for one in answers) == [202, 202, status, status]
        refused = next(one for one in answers if one.status_code == status)
        assert refused.json()["code"] == code
        assert int(refused.headers["retry-after"]) > 0
        await serves(gateway, upstream)
        for one in answers:
            if one.status_code == 202:
                await result(gateway, one)
        assert (await ask(gateway, b"x" * 200)).status_code == 202


async def test_a_body_is_bounded(tmp_path: Path) -> None:
    async with Upstream() as upstream, deployed(tmp_path, upstream, max_body_bytes=2 << 20) as gateway:
        large = b"x" * (2 << 20)
        assert (await result(gateway, await ask(gateway, large))).content == large
        refused = await ask(gateway, large + b"x")
        assert (refused.status_code, refused.json()["code"]) == (413, "body-too-large")


async def test_an_answer_is_bounded(tmp_path: Path) -> None:
    async with Upstream() as upstream, deployed(tmp_path, upstream, max_answer_bytes=100_000) as gateway:
        assert len((await result(gateway, await ask(gateway, b"x" * 100_000))).content) == 100_000
        found = await result(gateway, await ask(gateway, b"x" * 100_001))
        assert (found.status_code, found.json()["code"]) == (502, "answer-too-large")


async def test_those_who_wait_leave_the_model_to_others(tmp_path: Path) -> None:
    async with CountsTheBusy() as upstream, deployed(tmp_path, upstream, concurrency=2) as gateway:
        accepted = await asyncio.gather(*(ask(gateway) for _ in range(20)))
        for one in accepted:
            await result(gateway, one)
        assert (upstream.most, len(upstream.requests)) == (2, 20)


async def test_the_same_key_and_body_are_one_prediction(tmp_path: Path) -> None:
    async with Upstream() as upstream, deployed(tmp_path, upstream) as gateway:
        headers = {**LATER, "idempotency-key": '"8e03978e"'}
        answers = await asyncio.gather(*(ask(gateway, b"same", headers) for _ in range(5)))
        places = {one.headers.get("location") or one.headers["content-location"] for one in answers}
        assert len(places) == 1
        assert sorted(one.headers.get("idempotent-replayed", "") for one in answers) == [""] + ["true"] * 4
        await result(gateway, next(one for one in answers if one.status_code == 202))
        again = await ask(gateway, b"same", headers)
        assert (again.status_code, again.content) == (200, b"same")
        other = await ask(gateway, b"other", headers)
        assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")
        assert len(upstream.requests) == 1


@pytest.mark.parametrize("keys", [[""], ["x" * 256], ["a", "b"]])
async def test_a_key_that_is_none_is_refused(tmp_path: Path, keys: list[str]) -> None:
    async with Upstream() as upstream, deployed(tmp_path, upstream) as gateway:
        refused = await ask(gateway, headers=[*LATER.items(), *(("idempotency-key", key) for key in keys)])
        assert (refused.status_code, refused.json()["code"]) == (422, "idempotency-key-invalid")


async def test_a_result_expires_and_is_forgotten_as_long_after(tmp_path: Path) -> None:
    async with Upstream() as upstream, deployed(tmp_path, upstream, result_seconds=2) as gateway:
        headers = {**LATER, "idempotency-key": "k"}
        accepted = await ask(gateway, b"what was asked and answered", headers)
        assert (await result(gateway, accepted)).status_code == 200

        async def is_gone() -> bool:
            return (await gateway.client.get(accepted.headers["location"])).status_code == 410

        async def is_forgotten() -> bool:
            return (await gateway.client.get(accepted.headers["location"])).status_code == 404

        await eventually(is_gone)
        gone = await gateway.client.get(accepted.headers["location"])
        assert gone.json()["code"] == "prediction-expired"
        assert (await ask(gateway, b"what was asked and answered", headers)).status_code == 410
        await eventually(is_forgotten)


async def test_nobody_finds_a_result_by_guessing(gateway: Yard) -> None:
    for id in ("1", "0" * 32, "x" * 5000, "%00", "%27"):
        found = await gateway.client.get(f"{RESULT}/{id}")
        assert found.status_code == 404


async def test_a_browser_neither_keeps_a_result_nor_runs_it(tmp_path: Path) -> None:
    page = answer(b"<script>", b"Content-Type: text/html")
    async with Answers(page) as upstream, deployed(tmp_path, upstream) as gateway:
        found = await result(gateway, await ask(gateway))
        assert found.headers["content-security-policy"] == "sandbox"
        assert found.headers["x-content-type-options"] == "nosniff"
        assert found.headers["cache-control"] == "no-store"


async def test_the_route_without_a_prefix_names_its_own_result(tmp_path: Path) -> None:
    async with Upstream() as upstream, deployed(tmp_path, upstream) as gateway:
        accepted = await gateway.client.post(f"/inference/{TASK}/predict", content=b"x", headers=LATER)
        assert accepted.headers["location"].startswith("/inference/result/")
        assert (await result(gateway, accepted)).content == b"x"


async def test_what_a_gateway_leaves_that_goes_in_order_another_takes_at_once(tmp_path: Path) -> None:
    async with deployed(tmp_path) as gateway:
        accepted = await ask(gateway, b"left behind")
    async with Upstream() as upstream, deployed(tmp_path, upstream) as gateway:
        assert (await result(gateway, accepted)).content == b"left behind"
        assert sample(gateway, "deferred_predictions_taken_over_total") == 1
