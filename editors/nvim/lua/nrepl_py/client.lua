--- The protocol: one language server, `nrepl-py lsp`, its commands, and what it says. No user interface.
---
--- Every callback is called exactly once, with a map: where the server refused it has `error`, a code, and `message`,
--- a sentence (which was told already); that the server has ended is such an error too.

local M = {}

local is_new = vim.fn.has("nvim-0.11") == 1
local Client = {}
Client.__index = Client

--- How long a server that ends with the editor may take to close its session, in milliseconds.
local EXIT_MILLISECONDS = 3000

local ENCODING = "utf-16"

local function start_lsp(config)
  if is_new then
    return vim.lsp.start(config, { attach = false })
  end
  return vim.lsp.start_client(config)
end

local function capabilities()
  local all = vim.lsp.protocol.make_client_capabilities()
  all.workspace.inlayHint = { refreshSupport = true }
  -- The one that every version knows; what is a column is known before the server has answered, then.
  all.general = vim.tbl_extend("force", all.general or {}, { positionEncodings = { ENCODING } })
  return all
end

--- A map without its nulls, which older versions of Neovim leave in it as vim.NIL.
local function without_nulls(value)
  for name, item in pairs(value) do
    if item == vim.NIL then
      value[name] = nil
    elseif type(item) == "table" then
      without_nulls(item)
    end
  end
  return value
end

--- What the server says by itself, passed on to `on`.
local function handlers(on)
  return {
    ["nrepl/stream"] = function(_, params)
      without_nulls(params)
      on.said(params.message, params.run)
    end,
    ["window/showMessage"] = function(_, params)
      on.told(params.message:gsub("^nrepl%-py: ", ""), params.type == vim.lsp.protocol.MessageType.Error)
    end,
    ["workspace/inlayHint/refresh"] = function()
      on.results_changed()
      return vim.NIL
    end,
  }
end

--- Start a server for the directory `root`. `on` has `said(message, run)`: a message of the protocol, of a run of ours,
--- or nobody's here; `told(sentence, is_error)`; `results_changed()`: ask for `results` again; `ended()`: there is no
--- server any more. `mime`: the types wanted of values. Returns nil where the program cannot be started.
function M.start(cmd, root, mime, on)
  local self = setmetatable({ root = root, lsp = nil, waiting = {}, open = {}, count = 0, stopping = false }, Client)
  self.id = start_lsp({
    name = "nrepl-py",
    cmd = cmd,
    root_dir = root,
    workspace_folders = { { uri = vim.uri_from_fname(root), name = root } },
    capabilities = capabilities(),
    init_options = { nrepl = { stream = true, input = "command", mime = mime } },
    flags = { exit_timeout = EXIT_MILLISECONDS },
    handlers = handlers(on),
    on_init = vim.schedule_wrap(function(lsp)
      self:_ready(lsp)
    end),
    on_exit = vim.schedule_wrap(function(code, signal)
      self:_exited(code, signal, on)
    end),
  })
  return self.id and self or nil
end

--- Let the server know of a buffer, and of its changes from now on.
function Client:attach(bufnr)
  self:_when_ready(function()
    if vim.api.nvim_buf_is_loaded(bufnr) and not vim.lsp.buf_is_attached(bufnr, self.id) then
      vim.lsp.buf_attach_client(bufnr, self.id)
    end
  end)
end

--- Carry out one of the server's commands; `arguments` is its map. `bufnr`: the buffer that it is about.
function Client:execute(name, arguments, callback, bufnr)
  local map = next(arguments) and arguments or vim.empty_dict()
  self:_request("workspace/executeCommand", { command = "nrepl-py." .. name, arguments = { map } }, callback, bufnr)
end

--- The results that a buffer shows now: a list of `{position, label, tooltip}`.
function Client:results(bufnr, callback)
  local beyond = vim.api.nvim_buf_line_count(bufnr)
  local range = { start = { line = 0, character = 0 }, ["end"] = { line = beyond, character = 0 } }
  local params = { textDocument = { uri = vim.uri_from_bufnr(bufnr) }, range = range }
  self:_request("textDocument/inlayHint", params, callback, bufnr)
end

--- The byte of a line at a character of LSP's.
local function byte(line, character)
  if is_new then
    return vim.str_byteindex(line, ENCODING, character)
  end
  return vim.str_byteindex(line, character, true)
end

--- What may stand at the end of code that is in no buffer: a list of LSP's items, and the byte of the last line from
--- which they stand.
function Client:complete(code, callback)
  local lines = vim.split(code, "\n", { plain = true })
  local line, uri = lines[#lines], "nrepl-py:input/" .. self.count
  self:_notify("textDocument/didOpen", {
    textDocument = { uri = uri, languageId = "python", version = 0, text = code },
  })
  local at = { line = #lines - 1, character = #line } -- beyond its end is its end
  local params = { textDocument = { uri = uri }, position = at }
  self:_request("textDocument/completion", params, function(found)
    self:_notify("textDocument/didClose", { textDocument = { uri = uri } })
    local items = found.items or {}
    local start = items[1] and items[1].textEdit.range.start.character
    callback(items, start and byte(line, start) or #line)
  end)
end

--- A range of LSP's from marks: lines from 1, columns from 0, both ends included.
function M.range(first, last, bufnr)
  return vim.lsp.util.make_given_range_params(first, last, bufnr, ENCODING).range
end

--- End the server, and with it the session that began with it.
function Client:stop()
  self.stopping = true
  if is_new then
    vim.lsp.get_client_by_id(self.id):stop()
  else
    vim.lsp.stop_client(self.id)
  end
end

--- The namespace of the diagnostics, which are the errors of what was run.
function Client:namespace()
  return vim.lsp.diagnostic.get_namespace(self.id)
end

function Client:_ready(lsp)
  lsp.server_capabilities.inlayHintProvider = nil -- `results` has them, in every version of Neovim
  self.lsp = lsp
  for _, wait in ipairs(self.waiting) do
    wait()
  end
  self.waiting = {}
end

function Client:_when_ready(call)
  if self.lsp then
    call()
  else
    table.insert(self.waiting, call)
  end
end

function Client:_request(method, params, callback, bufnr)
  self.count = self.count + 1
  local number = self.count
  self.open[number] = callback
  local function handler(err, result)
    self:_answer(number, err and { error = "request-failed", message = err.message } or result)
  end
  self:_when_ready(function()
    local lsp = self.lsp
    local sent = is_new and lsp:request(method, params, handler, bufnr)
      or not is_new and lsp.request(method, params, handler, bufnr or 0)
    if not sent then
      self:_answer(number, { error = "ended", message = "the language server has ended" })
    end
  end)
end

function Client:_notify(method, params)
  self:_when_ready(function()
    if is_new then
      self.lsp:notify(method, params)
    else
      self.lsp.notify(method, params)
    end
  end)
end

function Client:_answer(number, answer)
  local callback = self.open[number]
  self.open[number] = nil
  if callback then
    callback(type(answer) == "table" and without_nulls(answer) or {})
  end
end

function Client:_exited(code, signal, on)
  local why = signal ~= 0 and ("by signal " .. signal) or ("with code " .. code)
  if not self.stopping then
    on.told(("the language server has ended %s; the next command starts it anew"):format(why), true)
  end
  for _, number in ipairs(vim.tbl_keys(self.open)) do
    self:_answer(number, { error = "ended", message = "the language server has ended" })
  end
  on.ended()
end

return M
