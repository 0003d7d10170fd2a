--- Commands and <Plug> mappings; the rest is loaded when one is used.

if vim.g.loaded_nrepl_py or vim.fn.has("nvim-0.7") == 0 then
  return
end
vim.g.loaded_nrepl_py = true

--- Calls a function of the plugin, with what stands behind its name.
local function call(name, ...)
  local arguments = { ... }
  return function()
    require("nrepl_py")[name](unpack(arguments))
  end
end

--- Each command by its name: the function it calls, and what it takes.
local commands = {
  NreplStart = { "start", "Start a session for this project" },
  NreplStop = { "stop", "End the language server, and its session" },
  NreplCell = { "cell", "Run the cell around the cursor" },
  NreplLine = { "line", "Run the statement at the cursor, or the lines of the range", range = true },
  NreplDefinition = { "definition", "Run the definition around the cursor" },
  NreplFile = { "file", "Run the buffer as a file" },
  NreplEval = { "eval", "Run the code behind it", nargs = "+" },
  NreplInterrupt = { "interrupt", "Interrupt what runs" },
  NreplRestart = { "restart", "A fresh interpreter" },
  NreplBranch = { "branch", "Keep the session as it is, as a branch", nargs = "?" },
  NreplRollback = { "rollback", "Go back to a branch", nargs = "?" },
  NreplSessions = { "sessions", "Go on in another session", nargs = "?" },
  NreplRepl = { "repl", "Go to the REPL" },
  NreplOutput = { "output", "Show what the session says, or hide it" },
  NreplError = { "error", "Go to where the last error happened" },
}
for name, command in pairs(commands) do
  vim.api.nvim_create_user_command(name, function(given)
    require("nrepl_py")[command[1]](command.nargs and given.args or given)
  end, { desc = command[2], nargs = command.nargs or 0, range = command.range })
end

local mappings = {
  line = "line",
  cell = "cell",
  ["cell-and-next"] = "cell_and_next",
  definition = "definition",
  file = "file",
  interrupt = "interrupt",
  repl = "repl",
  output = "output",
  error = "error",
}
for name, target in pairs(mappings) do
  vim.keymap.set("n", ("<Plug>(nrepl-py-%s)"):format(name), call(target))
end

vim.keymap.set({ "n", "x" }, "<Plug>(nrepl-py-operator)", function()
  vim.o.operatorfunc = "v:lua.require'nrepl_py'.operator"
  return "g@"
end, { expr = true })

for name, inner in pairs({ ["inner-cell"] = true, ["a-cell"] = false }) do
  vim.keymap.set({ "o", "x" }, ("<Plug>(nrepl-py-%s)"):format(name), function()
    require("nrepl_py.cells").select(inner)
  end)
end
for name, step in pairs({ ["next-cell"] = 1, ["previous-cell"] = -1 }) do
  vim.keymap.set({ "n", "x", "o" }, ("<Plug>(nrepl-py-%s)"):format(name), function()
    require("nrepl_py.cells").go(step)
  end)
end

local links = {
  NreplValue = "Comment",
  NreplRunning = "WarningMsg",
  NreplErr = "ErrorMsg",
  NreplNote = "Comment",
  NreplCode = "Statement",
  NreplPrompt = "Question",
}
for group, link in pairs(links) do
  vim.cmd(("highlight default link %s %s"):format(group, link))
end

vim.api.nvim_create_autocmd("FileType", {
  pattern = "python",
  group = vim.api.nvim_create_augroup("nrepl-py", {}),
  callback = function(event)
    require("nrepl_py").opened(event.buf)
  end,
})
