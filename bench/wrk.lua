-- Send one kind of request to many paths in turn, and many bodies. Print the result as one line of
-- JSON.
local paths = {}
for path in io.lines(os.getenv("WRK_PATHS")) do table.insert(paths, path) end

local method, bodies, headers = os.getenv("WRK_METHOD"), {}, {}
for line in io.lines(os.getenv("WRK_HEADERS")) do
  local name, value = line:match("^(.-): (.*)$")
  headers[name] = value
end
if os.getenv("WRK_CLOSE") ~= "" then headers["Connection"] = "close" end
if os.getenv("WRK_BODIES") ~= "" then
  for body in io.lines(os.getenv("WRK_BODIES")) do table.insert(bodies, body) end
  headers["Content-Type"] = "application/json"
end

local at, body = 0, 0
function request()
  at = at % #paths + 1
  if #bodies > 0 then body = body % #bodies + 1 end
  return wrk.format(method, paths[at], headers, bodies[body])
end

function done(summary, latency, requests)
  local errors = summary.errors
  local failed = errors.connect + errors.status + errors.timeout
  -- A server may close without saying so in its answer. Then wrk counts its next request as failed.
  if os.getenv("WRK_CLOSE") == "" then failed = failed + errors.read + errors.write end
  io.write(string.format(
    '{"requests": %d, "rate": %f, "p50": %f, "p99": %f, "failed": %d}\n',
    summary.requests, summary.requests / summary.duration * 1e6,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000, failed))
end
