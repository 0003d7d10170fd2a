--- `:checkhealth nrepl_py`: whether all is there that evaluating needs.

local config = require("nrepl_py.config")
local projects = require("nrepl_py.project")

local M = {}

local health = vim.health or require("health") -- where it was before 0.8
local start = health.start or health.report_start
local ok = health.ok or health.report_ok
local info = health.info or health.report_info
local fail = health.error or health.report_error

local function check_neovim()
  if vim.fn.has("nvim-0.7") == 1 then
    ok("Neovim is 0.7 or later")
  else
    fail("Neovim is older than 0.7", { "Install a later one" })
  end
end

--- The language server says its version, or what keeps it from that.
local function check_program(root)
  local line, said = config.command(root)
  if not line then
    return fail(said, { "pip install nrepl-py", "require('nrepl_py').setup{cmd = {'/path/of/nrepl-py'}}" })
  end
  local cmd = vim.list_slice(line, 1, #(config.current.cmd or { "" }))
  local output = vim.trim(vim.fn.system(vim.list_extend(cmd, { "--version" })))
  if vim.v.shell_error == 0 then
    ok(("the program is %s, %s"):format(line[1], output))
  else
    fail(("%s does not run: %s"):format(line[1], output), { "Run it in a terminal to see what it needs" })
  end
end

local function check_python()
  local python = config.current.python
  if python and vim.fn.executable(python) == 0 then
    fail(("the interpreter of new sessions, %s, does not exist"):format(python), { "Name another as python in setup" })
  elseif python then
    ok("new sessions run in " .. python)
  else
    info("new sessions run in the server's own Python; setup{python = …} names another")
  end
end

local function check_projects()
  for _, project in ipairs(projects.all()) do
    if project.client then
      info("a language server runs for " .. project.root)
    end
  end
end

--- Called by `:checkhealth`.
function M.check()
  start("nrepl-py")
  check_neovim()
  check_program(projects.of(0).root)
  check_python()
  check_projects()
end

return M
