-- Sends one constant body by POST; at the end prints its numbers as one line of JSON (times in microseconds).
local file = assert(io.open(os.getenv("BENCH_BODY")))
wrk.method, wrk.body = "POST", file:read("*a")
wrk.headers["Content-Type"] = "application/json"
file:close()

function done(summary, latency)
  local e = summary.errors
  print(string.format('{"requests": %d, "seconds": %f, "errors": %d, "p50": %d, "p99": %d}',
    summary.requests, summary.duration / 1e6, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
