--- A line that running code asks for, read at the bottom of the screen, beside everything else that goes on.

local M = {}

--- What `input` returns where it was left with <Esc>: nothing that can be typed.
local LEFT = "\1left"

local is_asking = false

local function read(prompt, callback)
  if vim.fn.has("nvim-0.8") == 1 then
    vim.ui.input({ prompt = prompt }, callback)
  else -- there it tells no empty line from none
    local is_read, line = pcall(vim.fn.input, { prompt = prompt, cancelreturn = LEFT })
    callback(is_read and line ~= LEFT and line or nil)
  end
end

--- `inputsecret` returns an empty line where it is left, too: the keys that leave it tell one from the other.
local function read_secret(prompt, callback)
  local left, keys = false, { "<Esc>", "<C-c>" }
  for _, key in ipairs(keys) do
    vim.keymap.set("c", key, function()
      left = true
      return "<C-c>"
    end, { expr = true })
  end
  local is_read, line = pcall(vim.fn.inputsecret, prompt)
  for _, key in ipairs(keys) do
    pcall(vim.keymap.del, "c", key)
  end
  callback(is_read and not left and line or nil)
end

--- Ask for a line; `callback` gets it, or nil where the user leaves. What is typed is not shown with `password`.
function M.ask(prompt, password, callback)
  is_asking = true
  local ask = password and read_secret or read
  ask(prompt:match("[^\n]*$"), function(line)
    is_asking = false
    callback(line)
  end)
end

--- Nobody waits for the line any more.
function M.cancel()
  if is_asking and vim.api.nvim_get_mode().mode:sub(1, 1) == "c" then
    vim.api.nvim_input("<Esc>")
  end
end

return M
