--- How long an eval takes, seen from Neovim. A report, not a test. With nrepl-py on PATH:
--- nvim --headless -u NONE -l bench/round_trip.lua

local here = vim.fn.fnamemodify(debug.getinfo(1, "S").source:sub(2), ":p:h:h")
vim.opt.runtimepath:prepend(here)

local uv = vim.uv or vim.loop
local PATIENCE = 60000 -- milliseconds

local root = vim.fn.tempname()
vim.fn.mkdir(root, "p")

local client = require("nrepl_py.client").start({ "nrepl-py", "lsp" }, root, {}, {
  said = function() end,
  told = function(sentence)
    print(sentence)
  end,
  results_changed = function() end,
  ended = function() end,
})

assert(client, "nrepl-py is not on PATH")

--- Milliseconds until `ask(callback)` has called back.
local function once(ask)
  local start, done = uv.hrtime(), false
  ask(function()
    done = true
  end)
  assert(vim.wait(PATIENCE, function()
    return done
  end, 1), "no answer came")
  return (uv.hrtime() - start) / 1e6
end

local function measure(what, count, ask)
  once(ask) -- which starts what is not there yet
  local times = {}
  for _ = 1, count do
    table.insert(times, once(ask))
  end
  table.sort(times)
  local line = "%-28s median %6.2f ms, 95 %% within %6.2f ms (%d times)\n"
  io.write(line:format(what, times[math.ceil(count / 2)], times[math.ceil(0.95 * count)], count))
end

local function eval(code)
  return function(callback)
    client:execute("eval", { code = code, wait = true }, callback)
  end
end

measure("eval 1+1", 500, eval("1+1"))
measure("eval of 64 KiB of code", 50, eval("#" .. ("x"):rep(65536) .. "\n1"))
once(eval("import os"))
measure("completions of os.pa", 20, function(callback)
  client:complete("os.pa", callback)
end)
measure("10,000 prints", 10, eval("for n in range(10000): print(n)"))

client:stop()
vim.wait(PATIENCE, function()
  return vim.lsp.get_client_by_id(client.id) == nil
end, 10)
vim.cmd("qall!")
