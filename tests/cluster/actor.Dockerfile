# The program of the runtimes' contract, for a cluster: build it from tests/contracts as localhost/actor:2.
FROM python:3.11-slim
WORKDIR /srv
COPY runtime_actor.py .
