--- Files that what was run points to: the frames of an error, and the images it made.

local config = require("nrepl_py.config")

local M = {}

--- By MIME type, the ending of the file that it is put into.
M.images = { ["image/png"] = "png", ["image/jpeg"] = "jpg", ["image/svg+xml"] = "svg" }

--- The quickfix list of the last error: its id, and the entry at which it happened.
local list = { id = 0, deepest = 0 }

local function entry(frame)
  local where = { text = ("in %s: %s"):format(frame["function"] or "this code", vim.trim(frame.source or "")) }
  local known = vim.fn.bufnr("^" .. vim.fn.fnameescape(frame.file or "") .. "$")
  if known > 0 then
    where.bufnr = known
  elseif vim.fn.filereadable(frame.file or "") == 1 then
    where.filename = frame.file
  else
    where.text = ("%s:%s %s"):format(frame.file, frame.line, where.text)
    return where
  end
  return vim.tbl_extend("error", where, { lnum = frame.line, col = (frame.column or 0) + 1, type = "E" })
end

--- Put the way to an error into the quickfix list, the deepest frame last.
function M.error(error)
  local items, deepest = {}, 0
  for _, frame in ipairs(error.traceback or {}) do
    table.insert(items, entry(frame))
    deepest = items[#items].lnum and #items or deepest
  end
  local title = ("nrepl-py: %s: %s"):format(error.type, error.message)
  local is_ours = vim.fn.getqflist({ id = list.id, title = 0 }).title ~= ""
  vim.fn.setqflist({}, is_ours and "r" or " ", { id = is_ours and list.id or nil, title = title, items = items })
  list = { id = is_ours and list.id or vim.fn.getqflist({ id = 0 }).id, deepest = deepest }
end

--- Go to the line at which the last error happened. False where there is none.
function M.go_to_error()
  if list.deepest == 0 then
    return false
  end
  local number = vim.fn.getqflist({ id = list.id, nr = 0 }).nr
  vim.cmd(("silent %dchistory"):format(number))
  vim.cmd(("cc %d"):format(list.deepest))
  return true
end

--- Go to a line of a file, in another window than this one where there is one.
function M.go_to(file, line)
  vim.cmd("wincmd p")
  vim.cmd("edit " .. vim.fn.fnameescape(file))
  vim.api.nvim_win_set_cursor(0, { math.min(line, vim.api.nvim_buf_line_count(0)), 0 })
end

local digits = {}
for index, digit in ipairs(vim.split("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", "")) do
  digits[digit] = index - 1
end

--- The bytes of a text in base 64; Neovim has that itself since 0.10.
local function decode(text)
  return (text:gsub("[^%w+/]", ""):gsub("..?.?.?", function(group)
    local number = 0
    for index = 1, 4 do
      number = number * 64 + (digits[group:sub(index, index)] or 0)
    end
    local bytes = string.char(math.floor(number / 65536), math.floor(number / 256) % 256, number % 256)
    return bytes:sub(1, #group - 1)
  end))
end

--- Write an image into a file that is gone when Neovim is; returns its name, and its size in bytes.
function M.save(mime, data)
  local bytes = mime:find("xml") and data or (vim.base64 and vim.base64.decode or decode)(data)
  local name = ("%s.%s"):format(vim.fn.tempname(), M.images[mime])
  local file = assert(io.open(name, "wb"))
  file:write(bytes)
  file:close()
  return name, #bytes
end

--- Show a file as the system does.
function M.open(name)
  if config.current.open then
    config.current.open(name)
  elseif vim.ui.open then
    vim.ui.open(name)
  else
    vim.fn.jobstart({ vim.fn.has("mac") == 1 and "open" or "xdg-open", name }, { detach = true })
  end
end

return M
