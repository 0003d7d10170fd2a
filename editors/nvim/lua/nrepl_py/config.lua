--- The options: what they are, and what is wrong with those given.

local M = {}

M.defaults = {
  --- The program and its first arguments; nil: `nrepl-py` of the project's .venv, or on PATH.
  cmd = nil,
  --- More arguments of `nrepl-py lsp`, as { "--url", "wss://…" }.
  args = {},
  --- The interpreter of new sessions; nil: the server's own choice.
  python = nil,
  --- A session to share by name, which lives on; nil: one that ends with Neovim.
  session = nil,
  --- Map the suggested keys in Python buffers.
  keys = false,
  --- Begin with the first Python buffer, and not with the first command.
  autostart = false,
  --- Show a file, as an image; nil: as the system does.
  open = nil,
  --- Lines kept in the REPL's buffer, of which a flood would make too many.
  max_lines = 10000,
}

local kinds = {
  cmd = "table",
  args = "table",
  python = "string",
  session = "string",
  keys = "boolean",
  autostart = "boolean",
  open = "function",
  max_lines = "number",
}

M.current = vim.deepcopy(M.defaults)

--- What is wrong with an option, in a sentence; nil where nothing is.
local function fault(name, value)
  if kinds[name] == nil then
    local known = vim.tbl_keys(kinds)
    table.sort(known)
    return ("setup: there is no option '%s'; there are %s"):format(name, table.concat(known, ", "))
  elseif type(value) ~= kinds[name] then
    return ("setup: '%s' must be a %s, got a %s"):format(name, kinds[name], type(value))
  end
end

--- Take the user's options over the defaults. Raises a sentence for one that is none.
function M.set(given)
  for name, value in pairs(given or {}) do
    local said = fault(name, value)
    if said then
      error("nrepl-py: " .. said, 0)
    end
  end
  M.current = vim.tbl_extend("force", vim.deepcopy(M.defaults), given or {})
end

--- The command line of the language server for a project; nil and a sentence where there is no such program.
function M.command(root)
  local options = M.current
  local own = root .. "/.venv/bin/nrepl-py"
  local cmd = options.cmd or { vim.fn.executable(own) == 1 and own or "nrepl-py" }
  if vim.fn.executable(cmd[1]) == 0 then
    local where = options.cmd and "which setup names as cmd" or ("which is neither in " .. root .. "/.venv nor on PATH")
    return nil, ("there is no program '%s', %s: install nrepl-py, or name it in setup{cmd = {…}}"):format(cmd[1], where)
  end
  local line = vim.list_extend(vim.deepcopy(cmd), { "lsp" })
  for name, value in pairs({ ["--python"] = options.python or false, ["--session"] = options.session or false }) do
    vim.list_extend(line, value and { name, value } or {})
  end
  return vim.list_extend(line, options.args)
end

return M
