"""What elastic deployments keep: decisions, wakes, and what each gateway has of the load."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from app.core.scaling import Elastic
from app.core.specs import Program, Resources, ServerSpec
from app.core.tasks import Deployment, DeploymentStatus, Desired
from app.store.database import Database
from app.store.deployments import DeploymentStore
from app.store.loads import SILENT_SECONDS, Demand, LoadStore

SOME = Demand(1.5, 3.0, True)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def deployment(replicas: int, elastic: Elastic | None = Elastic(0, 4, 10, 60)) -> Deployment:  # noqa: B008 - frozen
    spec = ServerSpec("serve-a", "a", "u", Program("m", {}, "i"), Resources(1, 1), timedelta(minutes=1), replicas)
    now = datetime(2026, 11, 20, tzinfo=UTC)
    request = {"modelProfile": "p"}
    return Deployment(0, "a", "u", "m", request, spec, Desired.RUN, "r", None, DeploymentStatus(), now, elastic=elastic)


async def test_of_gateways_that_wake_one_deployment_at_once_one_does(database: Database) -> None:
    store = DeploymentStore(database)
    kept, _ = await store.add(deployment(0))
    assert (await store.get("a")) == kept
    answers = await asyncio.gather(*(DeploymentStore(database).wake("a") for _ in range(20)))
    assert answers.count(True) == 1
    found = await store.get("a")
    assert (found.spec.replicas, found.woken, await store.wakes()) == (1, 1, 1)


async def test_only_what_sleeps_and_shall_run_is_woken(database: Database) -> None:
    store = DeploymentStore(database)
    await store.add(deployment(2))
    assert not await store.wake("a")
    assert await store.scale("u", 2, 0)
    await store.stop("a")
    assert not await store.wake("a")
    assert not await store.wake("nobody")
    assert await store.wakes() == 0


async def test_a_fixed_number_of_none_is_no_sleep(database: Database) -> None:
    store = DeploymentStore(database)
    await store.add(deployment(0, elastic=None))
    assert not await store.wake("a")
    assert not await store.scale("u", 0, 1)


async def test_a_decision_that_was_overtaken_is_none(database: Database) -> None:
    store = DeploymentStore(database)
    await store.add(deployment(1))
    assert await store.scale("u", 1, 3)
    assert not await store.scale("u", 1, 0)
    assert (await store.get("a")).spec.replicas == 3


async def test_demands_of_all_other_gateways_add_up(database: Database) -> None:
    mine, *others = (LoadStore(database, name, Clock()) for name in "abc")
    await mine.report({"t": SOME})
    for other in others:
        await other.report({"t": SOME, "u": Demand(1, 0, False)})
    assert await mine.of_others() == {"t": Demand(3, 6, True), "u": Demand(2, 0, False)}
    await others[0].report({})
    assert await mine.of_others() == {"t": SOME, "u": Demand(1, 0, False)}


async def test_a_gateway_that_fell_silent_counts_no_more_and_may_come_back(database: Database) -> None:
    clock = Clock()
    mine, other = LoadStore(database, "a", clock), LoadStore(database, "b", clock)
    await other.report({"t": SOME})
    assert await mine.of_others() == {"t": SOME}
    clock.now += SILENT_SECONDS - 1
    await other.report({"t": SOME})
    assert await mine.of_others() == {"t": SOME}
    clock.now += SILENT_SECONDS
    assert await mine.of_others() == {}
    await other.report({"t": SOME})
    assert await mine.of_others() == {"t": SOME}
