--- The REPL of a project: what its session says, and below it a place to type, over several lines where need be.

local files = require("nrepl_py.files")
local transcript = require("nrepl_py.transcript")

local M = {}

local Repl = {}
Repl.__index = Repl

--- Lines of its window, where it is opened beside another.
local HEIGHT = 12

--- One for a project. `session` has `eval(code)`, `is_complete(code, callback)`, `complete(code, callback)`,
--- `interrupt()`, which returns whether anything runs, and `answer(line)` for what was asked by `ask`; nil is the end
--- of the input.
function M.new(root, max_lines, session)
  local self = setmetatable({ session = session, history = {}, place = 1, asks = false, is_checking = false }, Repl)
  self.text = transcript.new("nrepl-py://" .. root, max_lines)
  vim.bo[self.text.bufnr].filetype = "nrepl-py"
  vim.b[self.text.bufnr].nrepl_py_root = root
  self:_map()
  return self
end

--- Whether it still has its buffer.
function Repl:is_valid()
  return vim.api.nvim_buf_is_loaded(self.text.bufnr)
end

--- Whether the user is in it.
function Repl:is_current()
  return vim.api.nvim_get_current_buf() == self.text.bufnr
end

--- Show it below, and leave the cursor where it is; returns its window.
function Repl:show()
  local window = vim.fn.bufwinid(self.text.bufnr)
  if window == -1 then
    local here = vim.api.nvim_get_current_win()
    vim.cmd(("botright %dsplit"):format(HEIGHT))
    window = vim.api.nvim_get_current_win()
    vim.api.nvim_win_set_buf(window, self.text.bufnr)
    for option, value in pairs({ number = false, relativenumber = false, signcolumn = "yes", winfixheight = true }) do
      vim.wo[window][option] = value
    end
    vim.api.nvim_win_set_cursor(window, { vim.api.nvim_buf_line_count(self.text.bufnr), 0 })
    vim.api.nvim_set_current_win(here)
  end
  return window
end

--- Show it, or hide it where it is shown.
function Repl:toggle()
  local window = vim.fn.bufwinid(self.text.bufnr)
  if window == -1 then
    self:show()
  elseif #vim.api.nvim_tabpage_list_wins(0) > 1 then
    vim.api.nvim_win_close(window, false)
  end
end

--- Go there to type.
function Repl:enter()
  vim.api.nvim_set_current_win(self:show())
  vim.cmd("normal! G")
  vim.cmd("startinsert!")
end

--- What is typed next answers the running code.
function Repl:ask()
  self.asks = true
  self.text:sign("? ")
end

--- It asks no more.
function Repl:asked()
  self.asks = false
  self.text:sign(">>")
end

--- Run what was typed, or answer with it.
function Repl:submit()
  local typed = self.text:input()
  if self.asks then
    self:_answer(typed)
  elseif vim.trim(typed) ~= "" then
    self.text:set_input("")
    self:_run(typed)
  end
end

function Repl:_run(code)
  table.insert(self.history, code)
  self.place = #self.history + 1
  self.text:write_line(">>> " .. code:gsub("\n", "\n... "), "NreplCode")
  self.text:flush()
  self.session.eval(code .. "\n")
end

function Repl:_answer(line)
  self.text:set_input("")
  self.text:write((line or "") .. "\n", "NreplCode")
  self:asked()
  self.session.answer(line)
end

--- <CR> while typing: another line, and if those above it are complete, they run. What is typed before that is known
--- stays.
function Repl:_return()
  local typed = self.text:input()
  if self.asks or vim.trim(typed) == "" then
    self:submit()
  elseif vim.fn.line(".") < vim.fn.line("$") then
    vim.api.nvim_feedkeys("\r", "n", false)
  else
    self.text:set_input(typed .. "\n")
    self:_check(typed)
  end
end

function Repl:_check(typed)
  if self.is_checking then
    return -- the lines typed ahead are next
  end
  self.is_checking = true
  self.session.is_complete(typed, function(answer)
    self.is_checking = false
    local now = self.text:input()
    if vim.startswith(now, typed .. "\n") then
      self:_checked(typed, now:sub(#typed + 2), answer)
    end
  end)
end

function Repl:_checked(typed, rest, answer)
  if answer.error then
    return self.text:set_input(typed)
  elseif answer.state ~= "incomplete" then
    self:_run(typed)
    self.text:set_input(rest)
  elseif rest == "" then
    self.text:set_input(typed .. "\n" .. answer.indent)
  end
  local ahead = rest:find("\n") and self.text:input():match("^(.*)\n")
  if ahead then
    self:_check(ahead)
  end
end

--- <Tab>: indent, or complete from what is live.
function Repl:_tab()
  local before = vim.api.nvim_get_current_line():sub(1, vim.fn.col(".") - 1)
  if vim.trim(before) == "" then
    return vim.api.nvim_feedkeys("    ", "n", false)
  end
  local typed = vim.api.nvim_buf_get_lines(0, self.text:row(), vim.fn.line(".") - 1, true)
  self.session.complete(table.concat(vim.list_extend(typed, { before }), "\n"), function(items, start)
    local now = vim.api.nvim_get_current_line():sub(1, vim.fn.col(".") - 1)
    if self:is_current() and vim.fn.mode() == "i" and now == before then
      local words = vim.tbl_map(function(item)
        return { word = item.label, menu = item.detail }
      end, items)
      vim.fn.complete(start + 1, words)
    end
  end)
end

--- Another line of the history.
function Repl:_recall(step)
  local place = math.max(1, math.min(#self.history + 1, self.place + step))
  if place ~= self.place then
    self.place = place
    self.text:set_input(self.history[place] or "")
  end
end

--- <CR> on what the session has said: to the line of a traceback, or the file of an image.
local function follow()
  local line = vim.api.nvim_get_current_line()
  local file, number = line:match('File "(.-)", line (%d+)')
  if file and vim.fn.filereadable(file) == 1 then
    files.go_to(file, tonumber(number))
  elseif line:match("^%[image/.*: (.*)%]$") then
    files.open(line:match("^%[image/.*: (.*)%]$"))
  end
end

function Repl:_interrupt()
  if not self.session.interrupt() then
    self.text:set_input("")
  end
end

function Repl:_map()
  local function map(modes, key, call)
    vim.keymap.set(modes, key, call, { buffer = self.text.bufnr, nowait = true })
  end
  local function method(name, ...)
    local arguments = { ... }
    return function()
      self[name](self, unpack(arguments))
    end
  end
  map("i", "<CR>", method("_return"))
  map("i", "<Tab>", method("_tab"))
  map("i", "<C-p>", method("_recall", -1))
  map("i", "<C-n>", method("_recall", 1))
  map({ "i", "n" }, "<C-c>", method("_interrupt"))
  map("i", "<C-d>", function()
    if self.asks then
      self:_answer(nil)
    end
  end)
  map("n", "<CR>", function()
    local is_input = vim.fn.line(".") > self.text:row()
    if is_input then
      self:submit()
    else
      follow()
    end
  end)
  vim.api.nvim_create_autocmd("InsertEnter", {
    buffer = self.text.bufnr,
    callback = function()
      if vim.fn.line(".") <= self.text:row() then
        vim.v.char = "G" -- which keeps the cursor where it is put
        vim.cmd("normal! G$")
      end
    end,
  })
end

return M
