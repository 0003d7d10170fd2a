--- Evaluate Python in live sessions: what commands and keys do. See `:help nrepl-py`.

local cells = require("nrepl_py.cells")
local client = require("nrepl_py.client")
local config = require("nrepl_py.config")
local files = require("nrepl_py.files")
local projects = require("nrepl_py.project")

local M = {}

local keys = {
  { "n", "<LocalLeader>e", "<Plug>(nrepl-py-operator)" },
  { "x", "<LocalLeader>e", "<Plug>(nrepl-py-operator)" },
  { "n", "<LocalLeader>ee", "<Plug>(nrepl-py-line)" },
  { "n", "<LocalLeader>c", "<Plug>(nrepl-py-cell)" },
  { "n", "<LocalLeader>n", "<Plug>(nrepl-py-cell-and-next)" },
  { "n", "<LocalLeader>d", "<Plug>(nrepl-py-definition)" },
  { "n", "<LocalLeader>f", "<Plug>(nrepl-py-file)" },
  { "n", "<LocalLeader>i", "<Plug>(nrepl-py-interrupt)" },
  { "n", "<LocalLeader>r", "<Plug>(nrepl-py-repl)" },
  { "n", "<LocalLeader>o", "<Plug>(nrepl-py-output)" },
  { "n", "<LocalLeader>x", "<Plug>(nrepl-py-error)" },
  { { "o", "x" }, "ij", "<Plug>(nrepl-py-inner-cell)" },
  { { "o", "x" }, "aj", "<Plug>(nrepl-py-a-cell)" },
  { { "n", "x", "o" }, "]j", "<Plug>(nrepl-py-next-cell)" },
  { { "n", "x", "o" }, "[j", "<Plug>(nrepl-py-previous-cell)" },
}

--- Set options: see `:help nrepl-py-options`. Raises a sentence for what is none.
function M.setup(options)
  config.set(options)
  for _, bufnr in ipairs(vim.api.nvim_list_bufs()) do
    if vim.api.nvim_buf_is_loaded(bufnr) and vim.bo[bufnr].filetype == "python" then
      M.opened(bufnr)
    end
  end
end

--- A Python buffer is there: `plugin/nrepl_py.lua` calls this for each.
function M.opened(bufnr)
  if config.current.keys then
    for _, key in ipairs(keys) do
      vim.keymap.set(key[1], key[2], key[3], { buffer = bufnr, remap = true })
    end
  end
  local project = projects.of(bufnr)
  if config.current.autostart then
    project:start()
  end
  project:attach(bufnr)
end

local function here()
  return projects.of(0)
end

--- What the server is told of the cursor, or of another row.
local function place(row)
  local bufnr = vim.api.nvim_get_current_buf()
  here():start()
  here():attach(bufnr)
  row = row or vim.api.nvim_win_get_cursor(0)[1] - 1
  local given = { uri = vim.uri_from_bufnr(bufnr), position = { line = row, character = 0 } }
  return given, { bufnr = bufnr, row = row }
end

local function run(name)
  local given, shown = place()
  here():run(name, given, shown)
end

--- Run the lines from `first` to `last`.
local function run_range(first, last)
  local given, shown = place(last[1] - 1)
  given.range = client.range(first, last, shown.bufnr)
  here():run("evalSelection", given, shown)
end

--- Start the language server of this project.
function M.start()
  local project = here()
  project:execute("sessions", {}, function(answer)
    for _, one in ipairs(answer.sessions) do
      if one.current then
        project:tell(("session %s is ready, Python %s"):format(one.name or one.id, one.python), false)
      end
    end
  end)
end

--- End it, and the session that began with it.
function M.stop()
  here():stop()
end

--- Run the cell around the cursor.
function M.cell()
  run("evalCell")
end

--- Run it, and go to the next.
function M.cell_and_next()
  run("evalCell")
  cells.go(1)
end

--- Run the statement at the cursor; or the lines of a command's range.
function M.line(command)
  if command and command.range > 0 then
    local last = vim.fn.getline(command.line2)
    run_range({ command.line1, 0 }, { command.line2, math.max(0, #last - 1) })
  else
    run("evalLine")
  end
end

--- Run the definition, or statement at the left margin, around the cursor.
function M.definition()
  run("evalDefinition")
end

--- Run the buffer, as the file that it is.
function M.file()
  run("evalFile")
end

--- Run code that is in no buffer, and say what it came to.
function M.eval(code)
  local project = here()
  project:repl().text:write_line(">>> " .. code, "NreplCode")
  project:run("eval", { code = code }, nil, function(outcome)
    if type(outcome.value) == "string" then
      vim.notify(vim.split(outcome.value, "\n")[1])
    end
  end)
end

--- Run what a motion goes over: for 'operatorfunc'.
function M.operator(kind)
  local first, last = vim.api.nvim_buf_get_mark(0, "["), vim.api.nvim_buf_get_mark(0, "]")
  if kind == "line" then
    first, last = { first[1], 0 }, { last[1], math.max(0, #vim.fn.getline(last[1]) - 1) }
  elseif kind == "block" then
    return here():tell("a block of columns is no code that can be run: select lines", true)
  end
  run_range(first, last)
end

--- Interrupt what runs here.
function M.interrupt()
  if not here():interrupt() then
    here():tell("nothing runs that was run here", false)
  end
end

--- A fresh interpreter.
function M.restart()
  here():execute("restart", {})
end

local function named(name)
  return name and name ~= "" and { name = name } or {}
end

--- Keep the session as it is, as a branch.
function M.branch(name)
  here():execute("clone", named(name))
end

--- Go back to that branch, or the latest.
function M.rollback(name)
  here():execute("rollback", named(name))
end

--- Go on in another session: that of the given name, or one that is chosen from all.
function M.sessions(name)
  local project = here()
  local function attach(session)
    project:execute("attach", { session = session }, function()
      project:tell("now in session " .. session, false)
    end)
  end
  if name and name ~= "" then
    return attach(name)
  end
  project:execute("sessions", {}, function(answer)
    vim.ui.select(answer.sessions, {
      prompt = "Session:",
      format_item = function(one)
        return ("%s %s, %s, in %s"):format(one.current and "*" or " ", one.name or one.id, one.state, one.cwd)
      end,
    }, function(one)
      if one then
        attach(one.name or one.id)
      end
    end)
  end)
end

--- Go to the REPL.
function M.repl()
  here():repl():enter()
end

--- Show what the session says, or hide it.
function M.output()
  here():repl():toggle()
end

--- Go to where the last error happened.
function M.error()
  if not files.go_to_error() then
    here():tell("no error has happened that has a line to go to", false)
  end
end

--- For a status line: what runs, "" where nothing does.
function M.status()
  local running = projects.of(0).running
  return running > 0 and ("nrepl-py: %d running"):format(running) or ""
end

return M
