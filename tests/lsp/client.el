;;; client.el --- Eglot runs a file and completes from the live session  -*- lexical-binding: t; -*-
(require 'eglot)
(require 'python)
(setq eglot-connect-timeout 60 eglot-sync-connect 60 jsonrpc-default-request-timeout 60)
(find-file "work.py")
(python-mode)
(let ((server (eglot--connect '(python-mode) (cons 'transient default-directory) 'eglot-lsp-server
                              (split-string (getenv "NREPL_PY_LSP") "\t") "python")))
  (eglot--maybe-activate-editing-mode)
  (eglot-execute-command server "nrepl-py.evalFile"
                         (vector (append (eglot--TextDocumentPositionParams) '(:wait t))))
  (goto-char (point-max))
  (insert "answer.bit_c")
  (completion-at-point)
  (princ (format "completed: %s\n" (buffer-substring (line-beginning-position) (line-end-position))))
  (goto-char (point-min))
  (eglot--signal-textDocument/didChange)
  (princ (format "hover: %s\n" (plist-get (plist-get (jsonrpc-request server :textDocument/hover
                                                     (eglot--TextDocumentPositionParams)) :contents) :value)))
  (set-buffer-modified-p nil)
  (eglot-shutdown server nil 60))
