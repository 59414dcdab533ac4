"""Batching: what is predicted together, what is not, and that everyone gets their own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_server.batching import Batcher, Bounds, RowsMiscounted
from inference_server.cost import Cost
from inference_server.families.base import InputUnreadable
from inference_server.predicting import Predictor
from inference_server.prediction import Prediction
from inference_server.problems import DeadlinePassed, TooBusy
from inference_server.worker import Worker
from tests.inference_server.answering import Echo, batcher_of

CHEAP = 0.0001


def known(each: float, fixed: float = 0.0) -> Cost:
    """What was learnt of a model that takes `fixed + each * rows` seconds."""
    cost = Cost()
    for rows in (1, 32) * 8:
        cost.note(rows, fixed + each * rows)
    return cost


def submit(batcher: Batcher, *requests: Sequence[Any]) -> list[Prediction[Any]]:
    return [batcher.submit(rows, list) for rows in requests]


async def answers(futures: Sequence[Prediction[Any]]) -> list[Any]:
    return list(await asyncio.wait_for(asyncio.gather(*futures, return_exceptions=True), 30))


async def test_a_request_alone_is_predicted_in_the_same_turn() -> None:
    model = Echo()
    (alone,) = submit(batcher_of(model, seconds_a_call=0.0019), ["a"])  # cheap enough for the event loop
    await asyncio.sleep(0)
    assert alone.result() == ["a"]


async def test_requests_that_wait_together_are_predicted_together_and_get_their_own() -> None:
    model = Echo()
    batcher = Batcher(model.predict, Worker(), cost=known(CHEAP / 32))
    got = await answers(submit(batcher, ["a"], ["b", "c"], ["d"]))
    assert got == [["a"], ["b", "c"], ["d"]]
    assert model.batches == [["a", "b", "c", "d"]]


async def test_while_turns_go_on_bringing_requests_they_are_gathered() -> None:
    model = Echo()
    batcher = Batcher(model.predict, Worker(), Bounds(seconds=60), known(0.0001, fixed=30))
    futures = submit(batcher, ["0"], ["1"])
    for number in range(2, 6):
        await asyncio.sleep(0)
        futures += submit(batcher, [str(number)])
    await answers(futures)
    assert model.batches == [["0", "1", "2", "3", "4", "5"]]


async def test_nobody_is_gathered_for_longer_than_a_call_costs() -> None:
    model = Echo()
    batcher = Batcher(model.predict, Worker(), cost=known(CHEAP / 32, fixed=0))
    futures = submit(batcher, ["0"], ["1"])
    await asyncio.sleep(0)
    futures += submit(batcher, ["2"])
    await answers(futures)
    assert model.batches == [["0", "1"], ["2"]]


async def test_what_comes_while_a_batch_is_computed_is_the_next_batch() -> None:
    started, go_on = threading.Event(), threading.Event()
    model = Echo(lambda rows: (started.set(), go_on.wait(30), None)[2])
    batcher = Batcher(model.predict, Worker(), cost=known(0.0001, fixed=1))
    futures = submit(batcher, ["a"])
    assert await asyncio.to_thread(started.wait, 30)
    futures += submit(batcher, ["b"], ["c"], ["d"])
    go_on.set()
    await answers(futures)
    assert model.batches == [["a"], ["b", "c", "d"]]


async def test_neighbours_never_add_more_than_the_ceiling_to_a_requests_latency() -> None:
    model = Echo()
    batcher = Batcher(model.predict, Worker(), Bounds(seconds=0.05), known(each=0.0101))
    await answers(submit(batcher, *([number] for number in range(10))))
    assert len(model.batches[0]) == 5


async def test_company_that_saves_nothing_is_not_waited_for() -> None:
    model = Echo()
    batcher = Batcher(model.predict, Worker(), cost=known(each=0.000010, fixed=0.00004))
    await answers(submit(batcher, *([0] * 30 for _ in range(3))))
    assert [len(batch) for batch in model.batches] == [30, 30, 30]


@pytest.mark.parametrize(
    ("bounds", "sizes"), [(Bounds(rows=4), [4, 4, 2]), (Bounds(rows=1), [1] * 10), (Bounds(seconds=0), [1] * 10)]
)
async def test_a_profile_bounds_the_rows_of_a_batch(bounds: Bounds, sizes: list[int]) -> None:
    model = Echo()
    batcher = Batcher(model.predict, Worker(), bounds, known(0.0000001))
    await answers(submit(batcher, *([number] for number in range(10))))
    assert [len(batch) for batch in model.batches] == sizes


async def test_while_the_cost_of_a_row_is_unknown_a_batch_is_at_most_twice_the_largest_so_far() -> None:
    model = Echo()
    batcher = batcher_of(model, seconds_a_call=CHEAP)
    await answers(submit(batcher, *([number] for number in range(30))))
    assert [len(batch) for batch in model.batches] == [2, 4, 8, 16]


async def test_a_request_with_more_rows_than_a_batch_may_have_is_predicted_whole_and_alone() -> None:
    model = Echo()
    batcher = Batcher(model.predict, Worker(), Bounds(rows=4), known(0.0000001))
    got = await answers(submit(batcher, [1], list(range(10)), [2]))
    assert got == [[1], list(range(10)), [2]]
    assert [len(batch) for batch in model.batches] == [1, 10, 1]


class Picky(Echo):
    """Fails on the row `bad`, wherever it stands."""

    def predict(self, rows: Sequence[Any]) -> Sequence[Any]:
        if "bad" in rows:
            raise InputUnreadable("A row is bad.")
        return super().predict(rows)


async def test_a_bad_row_fails_its_own_request_alone() -> None:
    batcher = Batcher(Picky().predict, Worker(), cost=known(CHEAP / 32))
    first, guilty, last = await answers(submit(batcher, ["a"], ["b", "bad"], ["c"]))
    assert (first, last) == (["a"], ["c"])
    assert isinstance(guilty, InputUnreadable)


async def test_a_finish_that_fails_fails_its_own_request_alone() -> None:
    def fail(outputs: Sequence[Any]) -> Any:
        raise KeyError("render")

    batcher = Batcher(Echo().predict, Worker(), cost=known(CHEAP / 32))
    futures = [batcher.submit(["a"], list), batcher.submit(["b"], fail), batcher.submit(["c"], list)]
    first, guilty, last = await answers(futures)
    assert (first, last) == (["a"], ["c"])
    assert isinstance(guilty, KeyError)


class Small(Echo):
    """Fails on more than four rows: its memory is small."""

    def predict(self, rows: Sequence[Any]) -> Sequence[Any]:
        outputs = super().predict(rows)
        if len(rows) > 4:
            raise MemoryError
        return outputs


async def test_a_batch_that_is_too_much_at_once_is_predicted_singly_and_the_next_are_smaller() -> None:
    model = Small()
    batcher = Batcher(model.predict, Worker(), cost=known(CHEAP / 32))
    for _ in range(3):
        assert await answers(submit(batcher, *([n] for n in range(8)))) == [[n] for n in range(8)]
    assert [len(batch) for batch in model.batches] == [8, *[1] * 8, 4, 4, 4, 4]


class Forgetful(Echo):
    """Loses a row of every batch of several."""

    def predict(self, rows: Sequence[Any]) -> Sequence[Any]:
        return super().predict(rows)[: max(1, len(rows) - 1)]


async def test_outputs_that_do_not_match_the_rows_are_never_handed_to_a_neighbour() -> None:
    batcher = Batcher(Forgetful().predict, Worker(), cost=known(CHEAP / 32))
    first, second, third = await answers(submit(batcher, ["a"], ["b", "c"], ["d"]))
    assert (first, third) == (["a"], ["d"])
    assert isinstance(second, RowsMiscounted)


async def test_what_was_given_up_is_not_computed() -> None:
    model = Echo()
    futures = submit(Batcher(model.predict, Worker(), cost=known(CHEAP / 32)), ["a"], ["b"], ["c"])
    futures[1].cancel()
    await answers(futures)
    assert model.batches == [["a", "c"]]


async def test_what_is_overdue_is_not_computed() -> None:
    model = Echo()
    batcher = Batcher(model.predict, Worker(), cost=known(CHEAP / 32))
    now = asyncio.get_running_loop().time()
    futures = [batcher.submit(["late"], list, now - 1), batcher.submit(["in time"], list, now + 60)]
    late, in_time = await answers(futures)
    assert isinstance(late, DeadlinePassed)
    assert in_time == ["in time"]
    assert model.batches == [["in time"]]


async def test_the_queue_ends_and_says_so() -> None:
    batcher = Batcher(Echo().predict, Worker(), Bounds(waiting=2), known(CHEAP))
    futures = submit(batcher, ["a"], ["b"])
    with pytest.raises(TooBusy):
        submit(batcher, ["c"])
    await answers(futures)


async def test_work_that_wants_the_model_for_itself_gets_it_in_its_turn() -> None:
    model = Echo()
    batcher = Batcher(model.predict, Worker(), cost=known(CHEAP / 32))
    seen: list[int] = []
    before, alone, after = (
        batcher.submit(["a"], list),
        batcher.run(lambda: seen.append(len(model.batches))),
        batcher.submit(["b"], list),
    )
    await answers([before, alone, after])
    assert seen == [1]
    assert model.batches == [["a"], ["b"]]


async def test_a_stream_lets_others_in_between_its_steps() -> None:
    model = Echo()
    batcher = batcher_of(model)
    predictor = Predictor(batcher, Worker())
    steps = []
    async for step in predictor.stream(step for step in range(3)):
        steps.append(step)
        assert await predictor.predict([f"between {step}"]) == [f"between {step}"]
    assert steps == [0, 1, 2]


async def test_a_stream_that_fails_raises_what_its_steps_raised() -> None:
    def steps() -> Any:
        yield 1
        raise KeyError("step")

    seen = []
    with pytest.raises(KeyError):
        async for step in Predictor(batcher_of(Echo()), Worker()).stream(steps()):
            seen.append(step)
    assert seen == [1]


REQUEST = st.tuples(st.lists(st.sampled_from("abcd") | st.just("bad"), min_size=1, max_size=5), st.booleans())


@settings(deadline=None, max_examples=80)
@given(turns=st.lists(st.lists(REQUEST, max_size=6), max_size=6), rows=st.integers(1, 8), slow=st.booleans())
def test_everyone_gets_the_outputs_of_their_own_rows_or_their_own_error(
    turns: list[list[tuple[list[str], bool]]], rows: int, slow: bool
) -> None:
    async def check() -> None:
        batcher = Batcher(Picky().predict, Worker(), Bounds(rows), known(0.01 if slow else CHEAP / 32))
        asked: list[tuple[list[str], bool, Prediction[Any]]] = []
        for turn in turns:
            for request, given_up in turn:
                (future,) = submit(batcher, request)
                asked.append((request, given_up and future.cancel(), future))
            await asyncio.sleep(0)
        for (request, cancelled, _), got in zip(asked, await answers([future for *_, future in asked]), strict=True):
            if cancelled:
                assert isinstance(got, asyncio.CancelledError)
            elif "bad" in request:
                assert isinstance(got, InputUnreadable)
            else:
                assert got == request

    asyncio.run(check())


def test_the_cost_of_a_call_and_of_a_row_are_told_apart() -> None:
    cost = known(each=0.002, fixed=0.010)
    assert cost.fixed == pytest.approx(0.010)
    assert cost.each == pytest.approx(0.002)
    assert cost.expected(100) == pytest.approx(0.210)


def test_with_sizes_all_alike_a_larger_one_is_expected_to_cost_in_proportion() -> None:
    cost = Cost()
    for _ in range(5):
        cost.note(4, 0.004)
    assert (cost.fixed, cost.each) == (pytest.approx(0.004), 0)
    assert cost.expected(1) == pytest.approx(0.004)
    assert cost.expected(40) == pytest.approx(0.040)


def test_a_model_that_became_slower_is_noticed() -> None:
    cost = known(each=0.001)
    for rows in (1, 32) * 100:
        cost.note(rows, 0.005 * rows)
    assert cost.each == pytest.approx(0.005, rel=0.05)


def test_a_machine_that_does_something_else_now_and_then_does_not_count() -> None:
    cost = known(each=0.0001, fixed=0.001)
    for number in range(200):
        rows = (1, 32)[number % 2]
        cost.note(rows, 0.001 + 0.0001 * rows + (0.05 if number % 10 == 0 else 0))
    assert cost.expected(32) < 2 * 0.0042
    assert cost.expected(1) < 2 * 0.0011


def test_a_large_batch_that_was_seen_long_ago_is_forgotten_and_may_be_tried_again() -> None:
    cost = known(each=0.001)
    for _ in range(1100):
        cost.note(1, 0.001)
    assert (cost.each, cost.largest) == (0, 1)


def test_before_anything_was_measured_nothing_is_expected() -> None:
    assert Cost().expected(1000) == 0
