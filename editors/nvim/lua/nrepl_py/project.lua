--- A project: a directory, its language server and its REPL; and what the user sees of what the server says.

local client = require("nrepl_py.client")
local config = require("nrepl_py.config")
local files = require("nrepl_py.files")
local input = require("nrepl_py.input")
local repl = require("nrepl_py.repl")
local results = require("nrepl_py.results")

local M = {}

local Project = {}
Project.__index = Project

local uv = vim.uv or vim.loop

--- What stands in the uppermost directory of a project.
local MARKERS = { "pyproject.toml", "setup.py", ".venv", ".git" }

--- Projects by their directory.
local projects = {}

--- The directory of the project that a buffer belongs to.
local function root_of(bufnr)
  if vim.b[bufnr].nrepl_py_root then
    return vim.b[bufnr].nrepl_py_root -- the REPL's
  end
  local name = vim.api.nvim_buf_get_name(bufnr)
  local is_file = name ~= "" and not name:find("^%a+:/")
  local start = is_file and vim.fn.fnamemodify(name, ":p:h") or vim.fn.getcwd()
  local directory, above = start, vim.fn.fnamemodify(start, ":h")
  while true do
    for _, marker in ipairs(MARKERS) do
      if uv.fs_stat(directory .. "/" .. marker) then
        return directory
      end
    end
    if above == directory then
      return start
    end
    directory, above = above, vim.fn.fnamemodify(above, ":h")
  end
end

--- Say something in a line, that no key be needed to go on; the whole of it is in the REPL.
local function notify(sentence, level)
  local room = vim.v.echospace - #"nrepl-py: "
  local line = sentence:gsub("%s*\n%s*", " ")
  if vim.fn.strdisplaywidth(line) > room then
    line = vim.fn.strcharpart(line, 0, math.max(0, room - 18)) .. "… (:NreplOutput)"
  end
  vim.notify("nrepl-py: " .. line, level)
end

--- The project of a buffer.
function M.of(bufnr)
  local root = root_of(bufnr)
  projects[root] = projects[root] or setmetatable({ root = root, running = 0, question = nil }, Project)
  return projects[root]
end

--- All that were used.
function M.all()
  return vim.tbl_values(projects)
end

--- Tell the user something.
function Project:tell(sentence, is_error)
  self:repl().text:write_line("; " .. sentence, "NreplNote")
  notify(sentence, is_error and vim.log.levels.ERROR or vim.log.levels.INFO)
end

--- Its REPL.
function Project:repl()
  if not (self._repl and self._repl:is_valid()) then
    self._repl = repl.new(self.root, config.current.max_lines, {
      eval = function(code)
        self:run("eval", { code = code })
      end,
      is_complete = function(code, callback)
        if self:start() then
          self.client:execute("isComplete", { code = code }, callback)
        else
          callback({ error = "ended" })
        end
      end,
      complete = function(code, callback)
        if self:start() then
          self.client:complete(code, callback)
        end
      end,
      interrupt = function()
        return self:interrupt()
      end,
      answer = function(line)
        self:_answer(line)
      end,
    })
  end
  return self._repl
end

--- Start its language server, unless it runs; whether it does.
function Project:start()
  if self.client then
    return true
  end
  local cmd, said = config.command(self.root)
  if not cmd then
    self:tell(said, true)
    return false
  end
  self.client = client.start(cmd, self.root, vim.tbl_keys(files.images), {
    said = function(message, run)
      self:_said(message, run)
    end,
    told = function(sentence, is_error)
      self:tell(sentence, is_error)
    end,
    results_changed = function()
      self:_show_results()
    end,
    ended = function()
      self.client = nil
    end,
  })
  if self.client then
    vim.diagnostic.config({ virtual_text = true }, self.client:namespace())
    self:_attach_all()
  end
  return self.client ~= nil
end

--- Let the server know of a buffer, if it runs.
function Project:attach(bufnr)
  if self.client then
    self.client:attach(bufnr)
    if vim.bo[bufnr].omnifunc == "" or vim.bo[bufnr].omnifunc:find("^python3?complete") then
      vim.bo[bufnr].omnifunc = "v:lua.vim.lsp.omnifunc"
    end
  end
end

--- Carry out a command of the server, which is started for it; `callback` gets the answer, if it was not refused.
function Project:execute(name, arguments, callback, bufnr)
  if self:start() then
    self.client:execute(name, arguments, function(answer)
      if callback and not answer.error then
        callback(answer)
      end
    end, bufnr)
  end
end

--- Run something, and call back with its outcome. `shown`: the buffer and row that say so meanwhile.
function Project:run(name, arguments, shown, callback)
  if not self:start() then
    return
  end
  local mark = shown and results.runs(shown.bufnr, shown.row)
  self.running = self.running + 1
  arguments.wait = true
  self.client:execute(name, arguments, function(outcome)
    self.running = self.running - 1
    if mark then
      results.stopped(shown.bufnr, mark)
    end
    if callback then
      callback(outcome)
    end
  end, shown and shown.bufnr)
end

--- Interrupt all that was run here; whether there was any.
function Project:interrupt()
  local any = self.running > 0
  if any then
    self:execute("interrupt", {})
  end
  return any
end

--- End its server.
function Project:stop()
  if self.client then
    self.client:stop()
  end
end

function Project:_attach_all()
  for _, bufnr in ipairs(vim.api.nvim_list_bufs()) do
    if vim.api.nvim_buf_is_loaded(bufnr) and vim.bo[bufnr].filetype == "python" and M.of(bufnr) == self then
      self:attach(bufnr)
    end
  end
end

function Project:_show_results()
  for _, bufnr in ipairs(vim.lsp.get_buffers_by_client_id(self.client.id)) do
    self.client:results(bufnr, function(found)
      if vim.api.nvim_buf_is_loaded(bufnr) and not found.error then
        results.show(bufnr, found)
      end
    end)
  end
end

-- What the session says -----------------------------------------------------------------------------

--- Where code that begins to run comes from, in a line; nil for that of the REPL itself.
local function origin(started, run)
  if not run then
    return ("; %s: %s"):format(started.client or "another client", vim.split(started.code, "\n")[1])
  elseif started.file then
    return ("; %s:%d"):format(vim.fn.fnamemodify(started.file, ":~:."), started.line)
  end
end

--- Write the value or the display of a message, images as the names of files that have them.
local function show_values(message, text)
  local mime = message.mime or (message.display or {}).mime or {}
  local plain = message.value or (message.display and mime["text/plain"])
  if plain then
    text:write_line(plain, "NreplValue")
  end
  for kind, data in pairs(mime) do
    if files.images[kind] then
      local name, size = files.save(kind, data)
      text:write_line(("[%s, %.1f KiB: %s]"):format(kind, size / 1024, name), "NreplNote")
    end
  end
end

local statuses = {
  interrupted = "interrupted",
  ["replay-gap"] = "some of the output is gone: the connection was away for too long",
  truncated = "it was cut here",
  ["session-restarted"] = "the session has a fresh interpreter",
}

function Project:_said(message, run)
  local text = self:repl().text
  if message.started then
    local from = origin(message.started, run)
    if from then
      text:write_line(from, "NreplNote")
    end
  end
  if message.out then
    text:write(message.out)
  end
  if message.err then
    text:write(message.err, "NreplErr")
  end
  show_values(message, text)
  if message.error and run and not vim.tbl_contains(message.status or {}, "interrupted") then
    files.error(message.error)
  end
  for _, status in ipairs(message.status or {}) do
    if statuses[status] then
      text:write_line("; " .. statuses[status], "NreplNote")
    end
  end
  self:_question(message, run)
end

--- What a run asks is answered in the REPL by who is there, and else at the bottom of the screen.
function Project:_question(message, run)
  local status = message.status or {}
  if run and vim.tbl_contains(status, "need-input") then
    local here, place = self:repl(), { run = run }
    self.question = place
    here.text:write(message.prompt)
    if here:is_current() and not message.password then
      here:ask()
    else
      vim.schedule(function()
        self:_ask(place, message)
      end)
    end
  elseif self.question and self.question.run == run then
    self.question = nil
    self:repl():asked()
    input.cancel()
  end
end

function Project:_ask(place, message)
  input.ask(message.prompt, message.password, function(line)
    if self.question ~= place then
      return -- it is answered already, or the run has ended
    elseif line then
      self:repl().text:write((message.password and "" or line) .. "\n", "NreplCode")
      self:_answer(line)
    else
      self:interrupt()
    end
  end)
end

function Project:_answer(line)
  local place = self.question
  self.question = nil
  if place then
    self:execute("stdin", { stdin = line == nil and vim.NIL or line, run = place.run })
  end
end

return M
