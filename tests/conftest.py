"""Options of the whole suite."""

import logging

import pytest
import structlog

structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write golden files anew; review the diff")
