" Vim as an LSP client, with its own channels: runs a line of the buffer and completes from the live session.
" Set before: g:command, g:root.
let g:told = []
function! s:Notified(channel, message)
  call add(g:told, a:message)
endfunction
let s:job = job_start(g:command, #{in_mode: 'lsp', out_mode: 'lsp', out_cb: function('s:Notified'), err_mode: 'nl'})
let s:patience = #{timeout: 60000}

function! s:Request(method, params)
  return get(ch_evalexpr(s:job, #{method: a:method, params: a:params}, s:patience), 'result', v:null)
endfunction

call s:Request('initialize', #{processId: getpid(), rootUri: 'file://' .. g:root, capabilities: {}})
call ch_sendexpr(s:job, #{method: 'initialized', params: {}})
let s:uri = 'file://' .. g:root .. '/work.py'
let s:document = #{uri: s:uri, languageId: 'python', version: 1, text: join(getline(1, '$'), "\n") .. "\n"}
call ch_sendexpr(s:job, #{method: 'textDocument/didOpen', params: #{textDocument: s:document}})

function! Complete(findstart, base)
  if a:findstart
    return match(getline('.')[: col('.') - 2], '\k*$')
  endif
  let s:document.version += 1
  let s:document.text = join(getline(1, '$'), "\n") .. "\n"
  let params = #{textDocument: s:document, contentChanges: [#{text: s:document.text}]}
  call ch_sendexpr(s:job, #{method: 'textDocument/didChange', params: params})
  let place = #{line: line('.') - 1, character: col('.') - 1}
  let found = s:Request('textDocument/completion', #{textDocument: #{uri: s:uri}, position: place})
  return filter(map(copy(found.items), {_, item -> item.label}), {_, label -> label =~# '^' .. a:base})
endfunction
set omnifunc=Complete completeopt=

let s:here = #{uri: s:uri, position: #{line: 0, character: 0}, wait: v:true}
let s:outcome = s:Request('workspace/executeCommand', #{command: 'nrepl-py.evalLine', arguments: [s:here]})
call append('$', string(s:outcome.value))
call append('$', 'answer')
normal! G
call feedkeys("A.bit_c\<C-x>\<C-o>\<Esc>", 'x')
let s:place = #{textDocument: #{uri: s:uri}, position: #{line: 0, character: 1}}
let s:hover = s:Request('textDocument/hover', s:place)
call append('$', split(s:hover.contents.value, "\n")[0])
call s:Request('shutdown', {})
call ch_sendexpr(s:job, #{method: 'exit'})
write! result.txt
qall!
