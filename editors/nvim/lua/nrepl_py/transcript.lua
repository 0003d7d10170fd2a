--- A buffer of two parts: what a session has said, and from the line with a sign on what the user types.
---
--- Text comes in pieces that end anywhere. It is gathered for a moment, so that a flood leaves the editor at hand; and
--- the oldest lines go when there are too many.

local M = {}

local Transcript = {}
Transcript.__index = Transcript

local space = vim.api.nvim_create_namespace("nrepl-py-transcript")

--- Between two changes of the buffer, in milliseconds: two frames of a screen.
local GATHER_MILLISECONDS = 33

--- An empty one. `name`: of its buffer; `max_lines`: how many of the session's lines it keeps.
function M.new(name, max_lines)
  local self = setmetatable({ max_lines = max_lines, pieces = {}, ends_inside = false, returns = false }, Transcript)
  self.bufnr = vim.api.nvim_create_buf(false, true)
  vim.api.nvim_buf_set_name(self.bufnr, name)
  vim.bo[self.bufnr].undolevels = -1 -- a flood is nothing to go back to
  self.mark = vim.api.nvim_buf_set_extmark(self.bufnr, space, 0, 0, { right_gravity = false })
  self:sign(">>")
  return self
end

--- Add a text, highlighted as `group`; `at_margin`: at the beginning of a line.
function Transcript:write(text, group, at_margin)
  table.insert(self.pieces, { text = text, group = group, at_margin = at_margin })
  if #self.pieces == 1 then
    vim.defer_fn(function()
      self:flush()
    end, GATHER_MILLISECONDS)
  end
end

--- Add lines of their own.
function Transcript:write_line(text, group)
  self:write(text .. "\n", group, true)
end

--- Show all that was added, now.
function Transcript:flush()
  local pieces = self.pieces
  self.pieces = {}
  if not vim.api.nvim_buf_is_valid(self.bufnr) then
    return
  end
  for _, piece in ipairs(pieces) do
    if piece.at_margin and self.ends_inside then
      self:_put("\n")
    end
    self:_put(piece.text, piece.group)
  end
  local beyond = self:row() - self.max_lines
  if beyond > 0 then
    vim.api.nvim_buf_set_lines(self.bufnr, 0, beyond, true, {})
  end
end

--- The first row of the user's part, from 0.
function Transcript:row()
  return vim.api.nvim_buf_get_extmark_by_id(self.bufnr, space, self.mark, {})[1]
end

--- The user's text.
function Transcript:input()
  return table.concat(vim.api.nvim_buf_get_lines(self.bufnr, self:row(), -1, true), "\n")
end

--- Replace the user's text, and put the cursor of each window on it behind it.
function Transcript:set_input(text)
  local lines = vim.split(text, "\n", { plain = true })
  vim.api.nvim_buf_set_lines(self.bufnr, self:row(), -1, true, lines)
  local last = vim.api.nvim_buf_line_count(self.bufnr)
  for _, window in ipairs(vim.fn.win_findbuf(self.bufnr)) do
    vim.api.nvim_win_set_cursor(window, { last, #lines[#lines] })
  end
end

--- What stands in the margin of the user's part.
function Transcript:sign(text)
  self.sign_text = text
  self:_move(self:row())
end

function Transcript:_move(row)
  vim.api.nvim_buf_set_extmark(self.bufnr, space, row, 0, {
    id = self.mark,
    right_gravity = false,
    sign_text = self.sign_text,
    sign_hl_group = "NreplPrompt",
  })
end

--- What terminals take out of a text, or overwrite, is left out.
local function plain(text)
  return (text:gsub("\27%[[%d;?]*%a", ""):gsub("\r\n", "\n"))
end

--- A line of which carriage returns overwrite the beginning.
local function overwritten(line)
  return (line:gsub("^.*\r", ""))
end

function Transcript:_put(text, group)
  local row = self:row()
  text = (self.returns and "\r" or "") .. plain(text)
  self.returns = text:sub(-1) == "\r"
  local lines = vim.split(self.returns and text:sub(1, -2) or text, "\n", { plain = true })
  local first, column = row, 0
  if self.ends_inside then
    first = row - 1
    local before = vim.api.nvim_buf_get_lines(self.bufnr, first, row, true)[1]
    lines[1] = before .. lines[1]
    column = lines[1]:find("\r", 1, true) and 0 or #before
  end
  self.ends_inside = lines[#lines] ~= ""
  if not self.ends_inside then
    table.remove(lines)
  end
  lines = vim.tbl_map(overwritten, lines)
  if #lines == 0 then
    return -- the end of a line that was there
  end
  self:_replace(first, row, column, lines)
  self:_move(first + #lines)
  if group then
    vim.api.nvim_buf_set_extmark(self.bufnr, space, first, column, {
      end_row = first + #lines - 1,
      end_col = #lines[#lines],
      hl_group = group,
    })
  end
end

--- Put lines at the rows `first` to before `row`, of which the first has them up to `column` already.
function Transcript:_replace(first, row, column, lines)
  if column == 0 then
    vim.api.nvim_buf_set_lines(self.bufnr, first, row, true, lines)
  else
    local added = vim.list_extend({ lines[1]:sub(column + 1) }, vim.list_slice(lines, 2))
    vim.api.nvim_buf_set_text(self.bufnr, first, column, first, column, added)
  end
end

return M
