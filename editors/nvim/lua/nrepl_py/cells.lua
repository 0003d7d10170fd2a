--- Cells, from `# %%` to `# %%`: where they are, as the language server sees them, text objects and motions.

local M = {}

--- Whether a line that looks like a marker stands in a string, as far as the buffer's syntax knows.
local function in_string(row)
  local name = vim.fn.synIDattr(vim.fn.synID(row, 1, 1), "name")
  return name:find("String") ~= nil or name:find("Doctest") ~= nil
end

--- The lines of the current buffer that begin a cell, from 1.
local function markers()
  local found = {}
  for row, line in ipairs(vim.api.nvim_buf_get_lines(0, 0, -1, true)) do
    if line:find("^#%s*%%%%") and not in_string(row) then
      table.insert(found, row)
    end
  end
  return found
end

--- The first and last line of the cell around a line of the current buffer, and whether its first is a marker.
function M.around(row)
  local first, last, is_marked = 1, vim.api.nvim_buf_line_count(0), false
  for _, marker in ipairs(markers()) do
    if marker <= row then
      first, is_marked = marker, true
    else
      return first, marker - 1, is_marked
    end
  end
  return first, last, is_marked
end

--- Select the cell around the cursor; `inner`: without its marker, and empty lines around.
function M.select(inner)
  local first, last, is_marked = M.around(vim.api.nvim_win_get_cursor(0)[1])
  if inner then
    local is_empty = function(row)
      return vim.fn.getline(row):find("^%s*$") ~= nil
    end
    first = is_marked and first + 1 or first
    while last > first and is_empty(last) do
      last = last - 1
    end
    while first < last and is_empty(first) do
      first = first + 1
    end
  end
  if first > last then
    return -- there is nothing but the marker
  end
  vim.cmd(("normal! %s%dGV%dG"):format(vim.fn.mode():find("[vV\22]") and "\27" or "", first, last))
end

--- Go to the next cell, or with -1 to the beginning of this one, or the one before; as often as is counted.
function M.go(step)
  local row, rows = vim.api.nvim_win_get_cursor(0)[1], markers()
  for _ = 1, vim.v.count1 do
    local target
    for _, marker in ipairs(rows) do
      if step > 0 and marker > row then
        target = marker
        break
      elseif step < 0 and marker < row then
        target = marker
      end
    end
    row = target or row
  end
  vim.cmd("normal! m'")
  vim.api.nvim_win_set_cursor(0, { row, 0 })
end

return M
