"""What one hop through the gateway costs, beside nginx's proxy_pass in the same run.

A 300-byte JSON body to an upstream that answers 200 bytes at once. Each hop runs alone on core 0 with one worker; wrk
and the upstream share core 1. The contenders take turns; a round that others disturbed is repeated. Needs two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

import machine
from load import Round, post, post_in_quiet
from servers import free_port, nginx, running

CHECKOUT = Path(__file__).resolve().parents[2]
PATH = "/api/v1/inference/bench/predict"
BODY = json.dumps({"inputs": [[round(i / 7, 4) for i in range(37)]], "id": "x"}).encode()
ANSWER = json.dumps({"predictions": [[round(i / 7, 4) for i in range(23)]], "id": "x"}).encode()
HOP_CORE, LOAD_CORE = 0, 1
DEFAULT_APP = "static_gateway:app"

UPSTREAM_HTTP = """server {{ listen 127.0.0.1:{port} backlog=4096;
  location / {{ default_type application/json; return 200 '{answer}'; }} }}"""
NGINX_HTTP = """upstream replica {{ server 127.0.0.1:{upstream}; keepalive 512; keepalive_requests 1000000000; }}
server {{ listen 127.0.0.1:{port} backlog=4096;
  location / {{ proxy_pass http://replica; proxy_http_version 1.1; proxy_set_header Connection ""; }} }}"""


class Hop:
    """One contender, listening: where it is asked, and the process that answers."""

    def __init__(self, name: str, port: int, pid: int) -> None:
        self.name, self.pid = name, pid
        self.url = f"http://127.0.0.1:{port}{PATH}"
        self.rounds: dict[int, list[Round]] = {}

    def check(self) -> None:
        request = Request(self.url, BODY, {"Content-Type": "application/json"})
        with urlopen(request, timeout=10) as answer:
            if (answer.status, answer.read()) != (200, ANSWER):
                raise RuntimeError(f"{self.name} does not pass the answer through.")

    def median(self, connections: int, number: str) -> float:
        """Over the quiet rounds; over all where none was."""
        rounds = self.rounds[connections]
        counted = [done for done in rounds if done.quiet] or rounds
        return statistics.median(getattr(done, number) for done in counted)


@contextmanager
def hops(app: str) -> Iterator[list[Hop]]:
    """The contenders: the upstream itself, nginx, and this ASGI app under uvicorn."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-proxy-")))
        upstream, by_nginx, gateway = free_port(), free_port(), free_port()
        http = UPSTREAM_HTTP.format(port=upstream, answer=ANSWER.decode())
        direct = stack.enter_context(running(nginx(folder, "upstream", http), upstream, core=LOAD_CORE))
        http = NGINX_HTTP.format(port=by_nginx, upstream=upstream)
        nginx_pid = stack.enter_context(running(nginx(folder, "hop", http), by_nginx, core=HOP_CORE))
        environment = {
            "BENCH_UPSTREAM": str(upstream),
            "PYTHONPATH": os.pathsep.join([str(CHECKOUT), str(Path(__file__).parent)]),
        }
        pid = stack.enter_context(running(uvicorn(app, gateway), gateway, core=HOP_CORE, environment=environment))
        yield [Hop("direct", upstream, direct), Hop("nginx", by_nginx, nginx_pid), Hop("gateway", gateway, pid)]


def uvicorn(app: str, port: int) -> list[str]:
    """How the gateway serves itself, see app/__main__.py."""
    flags = "--loop uvloop --http app.proxy.server:HttpProtocol --no-access-log --no-server-header --no-proxy-headers"
    flags += " --log-level warning"
    return [sys.executable, "-m", "uvicorn", app, *flags.split(), "--host", "127.0.0.1", "--port", str(port)]


def table(contenders: list[Hop]) -> str:
    nginx_hop = next(hop for hop in contenders if hop.name == "nginx")
    lines = [
        "| hop     | req/s c=64 | of nginx | CPU us/req | p99 ms c=64 | p50 us c=1 | above nginx us | errors | quiet |",
        "|---------|-----------:|---------:|-----------:|------------:|-----------:|---------------:|-------:|------:|",
    ]
    for hop in contenders:
        rate, cpu, p99, p50 = (*(hop.median(64, number) for number in ("rate", "cpu", "p99")), hop.median(1, "p50"))
        share, above = rate / nginx_hop.median(64, "rate"), p50 - nginx_hop.median(1, "p50")
        rounds = hop.rounds[1] + hop.rounds[64]
        errors, quiet = sum(done.errors for done in rounds), f"{sum(done.quiet for done in rounds)}/{len(rounds)}"
        lines.append(
            f"| {hop.name:7} | {rate:10,.0f} | {share:8.2f} | {cpu:10.1f} | {p99 / 1000:11.2f} "
            f"| {p50:10.0f} | {above:14.0f} | {errors:6} | {quiet:>5} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="of each round")
    parser.add_argument("--app", default=DEFAULT_APP, help="MODULE:NAME of the gateway to serve (default: %(default)s)")
    options = parser.parse_args()
    if (os.cpu_count() or 1) < 2:
        sys.exit("This benchmark needs two cores: one for the hop, one for the load.")
    with hops(options.app) as contenders, tempfile.NamedTemporaryFile(suffix=".json") as body:
        body.write(BODY)
        body.flush()
        for hop in contenders:
            hop.check()
        for number in range(options.rounds):
            for connections in (1, 64):
                for hop in contenders:
                    with_load = {"connections": connections, "core": LOAD_CORE, "server": hop.pid}
                    post(hop.url, Path(body.name), seconds=1, **with_load)  # warm up
                    done = post_in_quiet(hop.url, Path(body.name), seconds=options.seconds, **with_load)
                    hop.rounds.setdefault(connections, []).append(done)
            print(f"round {number + 1} of {options.rounds} done", file=sys.stderr, flush=True)
        print(f"proxy: {len(BODY)}-byte bodies, medians of {options.rounds} rounds. {machine.describe()}\n")
        print(table(contenders))


if __name__ == "__main__":
    main()
