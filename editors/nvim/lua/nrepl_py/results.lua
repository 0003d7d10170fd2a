--- Results beside the code: virtual text at the lines that made them, which goes when its line is edited.

local M = {}

local values = vim.api.nvim_create_namespace("nrepl-py-values")
local running = vim.api.nvim_create_namespace("nrepl-py-running")

--- The line's text under each mark when it was made, by buffer; watched buffers are those that have an entry.
local texts = {}

local function line_at(bufnr, row)
  return vim.api.nvim_buf_get_lines(bufnr, row, row + 1, false)[1]
end

--- Take away the results whose lines were edited or deleted, of the rows `first` to `last`.
local function edited(bufnr, first, last)
  local marks = vim.api.nvim_buf_get_extmarks(bufnr, values, { first, 0 }, { last, -1 }, {})
  for _, mark in ipairs(marks) do
    if line_at(bufnr, mark[2]) ~= texts[bufnr][mark[1]] then
      vim.api.nvim_buf_del_extmark(bufnr, values, mark[1])
    end
  end
end

local function watch(bufnr)
  if texts[bufnr] then
    return
  end
  texts[bufnr] = {}
  vim.api.nvim_buf_attach(bufnr, false, {
    on_lines = function(_, _, _, first, _, last)
      edited(bufnr, first, last)
    end,
    on_detach = function()
      texts[bufnr] = nil
    end,
  })
end

--- Show these and no others: a list of `{position, label}`.
function M.show(bufnr, results)
  watch(bufnr)
  vim.api.nvim_buf_clear_namespace(bufnr, values, 0, -1)
  texts[bufnr] = {}
  for _, result in ipairs(results) do
    local row = result.position.line
    local text = line_at(bufnr, row)
    if text then -- else it was deleted a moment ago
      local id = vim.api.nvim_buf_set_extmark(bufnr, values, row, 0, {
        virt_text = { { " " .. result.label, "NreplValue" } },
        hl_mode = "combine",
      })
      texts[bufnr][id] = text
    end
  end
end

--- Show at a row that something runs, or waits to; returns what `stopped` takes.
function M.runs(bufnr, row)
  return vim.api.nvim_buf_set_extmark(bufnr, running, row, 0, {
    virt_text = { { " …", "NreplRunning" } },
    hl_mode = "combine",
  })
end

--- It has ended.
function M.stopped(bufnr, mark)
  if vim.api.nvim_buf_is_valid(bufnr) then
    vim.api.nvim_buf_del_extmark(bufnr, running, mark)
  end
end

return M
