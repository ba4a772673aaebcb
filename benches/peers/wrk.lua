-- wrk's part: every key in turn, on one path.
--   wrk … -s wrk.lua URL -- PATH KEYS      (KEYS: a file with one key a line)
local requests, at = {}, 0
function init(args)
  for key in io.lines(args[2]) do
    requests[#requests + 1] = wrk.format("GET", args[1], { ["X-Api-Key"] = key })
  end
end
function request()
  at = at % #requests + 1
  return requests[at]
end
-- wrk calls every status from 400 on an error of "status".
function done(summary)
  local e = summary.errors
  io.write(string.format('WRK {"requests":%d,"us":%d,"refused":%d,"failed":%d}\n', summary.requests, summary.duration,
    e.status, e.connect + e.read + e.write + e.timeout))
end
