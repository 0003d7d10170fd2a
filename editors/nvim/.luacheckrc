-- For luacheck: the Lua of Neovim, and what it adds.
local writable = { other_fields = true, read_only = false }

std = "luajit"
read_globals = {
  vim = { other_fields = true, fields = { b = writable, bo = writable, g = writable, o = writable, v = writable, wo = writable } },
}
max_line_length = 120
