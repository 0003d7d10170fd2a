;;; nrepl-py.el --- Evaluate Python in live sessions of an nrepl-py server  -*- lexical-binding: t; -*-

;; Author: nrepl-py contributors
;; Version: 0.1.0
;; Package-Requires: ((emacs "28.1") (websocket "1.13"))
;; Keywords: languages, processes, tools
;; SPDX-License-Identifier: MIT

;;; Commentary:

;; `nrepl-py-mode' in Python buffers, with the keys that users of CIDER have in their fingers:
;;
;;     C-c M-j  start a server for this project      C-x C-e  evaluate the expression before point
;;     C-c M-c  connect to the one that runs         C-M-x    evaluate the definition around point
;;     C-c C-z  go to the REPL                       C-c C-k  load the buffer
;;     C-c C-b  interrupt                            C-c C-j  evaluate the cell (# %%) around point
;;
;; The README says more.

;;; Code:

(require 'nrepl-py-assist)
(require 'nrepl-py-error)
(require 'nrepl-py-list)
(require 'nrepl-py-overlay)
(require 'nrepl-py-repl)
(require 'nrepl-py-server)
(require 'nrepl-py-session)
(require 'project)
(require 'python)

(defcustom nrepl-py-show-errors t
  "Whether the frames of an error are shown in a window when code fails."
  :group 'nrepl-py
  :type 'boolean)

(defcustom nrepl-py-cell-regexp "^[ \t]*# ?%%"
  "What a cell begins with."
  :group 'nrepl-py
  :type 'regexp)

(defvar nrepl-py-mode-map
  (let ((map (make-sparse-keymap)))
    (define-key map (kbd "C-x C-e") #'nrepl-py-eval-last-expression)
    (define-key map (kbd "C-M-x") #'nrepl-py-eval-definition)
    (define-key map (kbd "C-c C-c") #'nrepl-py-eval-definition)
    (define-key map (kbd "C-c C-r") #'nrepl-py-eval-region)
    (define-key map (kbd "C-c C-j") #'nrepl-py-eval-cell)
    (define-key map (kbd "C-c C-k") #'nrepl-py-load-buffer)
    (define-key map (kbd "C-c C-b") #'nrepl-py-interrupt)
    (define-key map (kbd "C-c C-z") #'nrepl-py-switch-to-repl)
    (define-key map (kbd "C-c C-d") #'nrepl-py-doc)
    (define-key map (kbd "C-c M-j") #'nrepl-py-jack-in)
    (define-key map (kbd "C-c M-c") #'nrepl-py-connect)
    (define-key map (kbd "C-c M-s") #'nrepl-py-list-sessions)
    (define-key map (kbd "C-c M-r") #'nrepl-py-restart-session)
    (define-key map (kbd "C-c M-b") #'nrepl-py-branch)
    map)
  "Keys of `nrepl-py-mode'.")

;;;###autoload
(define-minor-mode nrepl-py-mode
  "Evaluate Python in the live sessions of an nrepl-py server.
\\{nrepl-py-mode-map}"
  :lighter (:eval (nrepl-py-lighter))
  (if nrepl-py-mode
      (nrepl-py--assist #'add-hook)
    (nrepl-py-overlay-clear)
    (nrepl-py--assist #'remove-hook)))

(defun nrepl-py--assist (change)
  "CHANGE, by `add-hook' or `remove-hook', who answers Emacs' questions here."
  (pcase-dolist (`(,hook ,function) '((completion-at-point-functions nrepl-py-complete-at-point)
                                      (eldoc-documentation-functions nrepl-py-eldoc)
                                      (xref-backend-functions nrepl-py-xref-backend)))
    (if (eq change #'add-hook)
        (add-hook hook function -10 t)
      (remove-hook hook function t))))

(defun nrepl-py--repl-assist ()
  "Have Emacs' questions answered in REPLs too."
  (nrepl-py--assist #'add-hook)
  (eldoc-mode 1))

(add-hook 'nrepl-py-repl-mode-hook #'nrepl-py--repl-assist)

(defun nrepl-py-lighter ()
  "What the mode line says: the session of this buffer, and whether it is busy."
  (let ((session (nrepl-py-session-if-any)))
    (cond ((not session) " nrepl-py[-]")
          ((not (eq 'up (nrepl-py-client-phase (nrepl-py-session-client session))))
           (format " nrepl-py[%s: lost]" (nrepl-py-session-label session)))
          ((nrepl-py-session-running session)
           (format " nrepl-py[%s: busy]" (nrepl-py-session-label session)))
          (t (format " nrepl-py[%s]" (nrepl-py-session-label session))))))

;;;; Servers

(defun nrepl-py--project ()
  "The directory of this buffer's project."
  (expand-file-name (if-let ((project (project-current))) (project-root project) default-directory)))

;;;###autoload
(defun nrepl-py-jack-in (directory)
  "Start a server in DIRECTORY, by default the project's, and a session there."
  (interactive (list (if current-prefix-arg (read-directory-name "Start a server in: ")
                       (nrepl-py--project))))
  (let ((origin (current-buffer)) process)
    (message "nrepl-py: starting a server in %s ..." (abbreviate-file-name directory))
    (setq process (nrepl-py-server-start
                   directory
                   (lambda (server)
                     (if (stringp server) (message "nrepl-py: %s" server)
                       (nrepl-py--open server directory process origin)))))))

;;;###autoload
(defun nrepl-py-connect (&optional url token)
  "Connect to the server of this buffer's directory and make a session there.
With a prefix argument ask for the URL and the TOKEN of another one."
  (interactive (and current-prefix-arg
                    (list (read-string "Server: " "ws://127.0.0.1:") (read-passwd "Token: "))))
  (let ((server (if url `((url . ,url) (token . ,token))
                  (nrepl-py-server-find default-directory))))
    (unless server
      (user-error "No server runs for %s: start one with M-x nrepl-py-jack-in"
                  (abbreviate-file-name default-directory)))
    (nrepl-py--open server (or (alist-get 'cwd server) default-directory) nil (current-buffer))))

(defun nrepl-py--open (server directory process origin)
  "Connect to SERVER for DIRECTORY, for the buffer ORIGIN.
PROCESS is the server's, if it was started here."
  (nrepl-py-connection-open
   server directory
   (lambda (connection)
     (if (stringp connection) (message "%s" connection)
       (nrepl-py--first-session connection origin)))
   process))

(defun nrepl-py--first-session (connection origin)
  "Make a session on CONNECTION for the buffer ORIGIN, called as the directory is."
  (nrepl-py-client-request
   (nrepl-py-connection-client connection) "ls-sessions" nil
   (lambda (reply)
     (let ((name (nrepl-py--free-name (nrepl-py-connection-directory connection)
                                      (alist-get 'sessions reply))))
       (nrepl-py-session-new
        connection (list :name name :python (nrepl-py--python connection))
        (lambda (session)
          (if (stringp session) (message "%s" session)
            (nrepl-py--opened session origin))))))))

(defun nrepl-py--opened (session origin)
  "SESSION was made for the buffer ORIGIN: show it."
  (nrepl-py-use-session session origin)
  (display-buffer (nrepl-py-repl-buffer session))
  (message "nrepl-py: ready, in session %s" (nrepl-py-session-label session)))

(defun nrepl-py--free-name (directory sessions)
  "A name after DIRECTORY that none of SESSIONS has."
  (let* ((base (file-name-nondirectory (directory-file-name directory)))
         (name (if (string-empty-p base) "emacs" (truncate-string-to-width base 100)))
         (taken (mapcar (lambda (one) (alist-get 'name one)) sessions))
         (number 1))
    (while (member (if (= number 1) name (format "%s-%d" name number)) taken)
      (setq number (1+ number)))
    (if (= number 1) name (format "%s-%d" name number))))

(defun nrepl-py--python (connection)
  "The interpreter for sessions of CONNECTION, or nil for the server's."
  (let ((here (expand-file-name ".venv/bin/python" (nrepl-py-connection-directory connection))))
    (or nrepl-py-python (and (file-executable-p here) here))))

(defun nrepl-py-quit ()
  "Leave the server of this buffer; one that was started from here ends."
  (interactive)
  (nrepl-py-connection-close (or (nrepl-py-connection-for default-directory)
                                 (user-error "Not connected"))))

;;;; Evaluating

(defun nrepl-py-buffer-file ()
  "What tracebacks call this buffer: its file, or its name."
  (or buffer-file-name (buffer-name)))

(defun nrepl-py--eval (start end &optional op fields)
  "Evaluate the text from START to END and show its result behind it.
OP and FIELDS are the eval's, if not as usual."
  (nrepl-py-overlay-clear)
  (let* ((session (nrepl-py-current-session))
         (place (copy-marker (save-excursion (goto-char end) (skip-chars-backward " \t\n") (point))))
         (value nil))
    (nrepl-py-eval
     session (nrepl-py--text start end)
     (append fields (nrepl-py--place start))
     (lambda (message)
       (let-alist message
         (when .value
           (setq value (if (nrepl-py-client-status-p message "truncated") (concat .value "…") .value))
           (nrepl-py-session-show session 'value value))
         (when (and .error (not (nrepl-py-client-status-p message "interrupted")))
           (nrepl-py--raised .error place))
         (when (nrepl-py-client-status-p message "done")
           (nrepl-py--done message value place))))
     nil op)))

(defun nrepl-py--text (start end)
  "The text from START to END, moved to the left if it is a block further in."
  (let* ((text (buffer-substring-no-properties start end))
         (margin (save-excursion (goto-char start)
                                 (if (= start (line-beginning-position)) (current-indentation)
                                   (and (= start (progn (back-to-indentation) (point)))
                                        (current-column))))))
    (if (and margin (> margin 0))
        (replace-regexp-in-string (format "^[ \t]\\{1,%d\\}" margin) "" text)
      text)))

(defun nrepl-py--place (start)
  "The fields that say where the code from START on stands."
  (save-excursion
    (goto-char start)
    (list :file (nrepl-py-buffer-file) :line (line-number-at-pos start t)
          :column (if (bolp) 0 (- (point) (line-beginning-position))))))

(defun nrepl-py--raised (error-info place)
  "Show ERROR-INFO of the code before PLACE."
  (let ((buffer (nrepl-py-error-show error-info))
        (summary (nrepl-py-error-summary error-info)))
    (when nrepl-py-show-errors
      (display-buffer buffer))
    (nrepl-py-overlay-show place summary 'nrepl-py-failure)
    (message "%s" summary)))

(defun nrepl-py--done (message value place)
  "The code before PLACE has ended with MESSAGE; VALUE is what it gave, or nil."
  (let ((failure (nrepl-py-client-error message))
        (status (alist-get 'status message)))
    (cond
     (failure (nrepl-py--sad place (apply #'nrepl-py-explain failure)))
     ((member "eval-error" status))     ; was told
     ((alist-get 'cause message)
      (nrepl-py--sad place (format "the interpreter died: %s; the next eval starts another"
                                   (nrepl-py-cause (alist-get 'cause message)))))
     ((member "exit" status) (nrepl-py--sad place (format "exit %s" (alist-get 'exit-code message))))
     ((seq-intersection '("interrupted" "cancelled" "session-restarted" "session-closed") status)
      (nrepl-py--sad place (string-join (delete "done" status) ", ")))
     (value (nrepl-py-overlay-show place value 'nrepl-py-result)
            (message "=> %s" (truncate-string-to-width value 500 nil nil "…")))
     (t (message "nrepl-py: done")))))

(defun nrepl-py--sad (place text)
  "Show TEXT, on what became of the code before PLACE."
  (nrepl-py-overlay-show place text 'nrepl-py-failure)
  (message "%s" text))

(defun nrepl-py--expression-start ()
  "Where the expression before point begins, or at the end of a line the statement."
  (save-excursion
    (skip-chars-backward " \t\n")
    (let ((end (point)) (forward-sexp-function nil))
      (if (eolp)
          (progn (python-nav-beginning-of-statement) (point))
        (backward-sexp)
        (while (or (and (memq (char-after) '(?\( ?\[)) (memq (char-syntax (or (char-before) ?\s)) '(?w ?_ ?\))))
                   (eq (char-before) ?.)
                   (and (memq (char-after) '(?\" ?\')) (memq (char-syntax (or (char-before) ?\s)) '(?w ?_))))
          (when (eq (char-before) ?.) (backward-char))
          (backward-sexp))
        (min (point) end)))))

(defun nrepl-py-eval-last-expression ()
  "Evaluate the expression before point; at the end of a line, the statement."
  (interactive)
  (let ((start (nrepl-py--expression-start)))
    (nrepl-py--eval start (save-excursion (skip-chars-backward " \t\n") (point)))))

(defun nrepl-py--margin-p ()
  "Whether a statement of the outermost level begins on this line."
  (save-excursion
    (beginning-of-line)
    (let ((state (syntax-ppss)))
      (and (looking-at-p "[^] \t\n#)}]")
           (not (looking-at-p "\\(?:else\\|elif\\|except\\|finally\\)\\_>"))
           (zerop (car state)) (not (nth 8 state))
           (not (and (zerop (forward-line -1)) (looking-at-p "@")))))))

(defun nrepl-py-eval-definition ()
  "Evaluate the outermost definition, or statement, around point."
  (interactive)
  (save-excursion
    (beginning-of-line)
    (while (not (or (nrepl-py--margin-p) (bobp))) (forward-line -1))
    (let ((start (point)))
      (forward-line 1)
      (while (not (or (eobp) (nrepl-py--margin-p) (looking-at-p nrepl-py-cell-regexp)))
        (forward-line 1))
      (skip-chars-backward " \t\n")
      (nrepl-py--eval start (point)))))

(defun nrepl-py-eval-region (start end)
  "Evaluate the text from START to END."
  (interactive "r")
  (nrepl-py--eval start end))

(defun nrepl-py-eval-cell ()
  "Evaluate the cell around point: from one \"# %%\" to the next."
  (interactive)
  (save-excursion
    (end-of-line)
    (let ((start (if (re-search-backward nrepl-py-cell-regexp nil t) (line-beginning-position 2)
                   (point-min))))
      (goto-char start)
      (nrepl-py--eval start (if (re-search-forward nrepl-py-cell-regexp nil t)
                                (match-beginning 0) (point-max))))))

(defun nrepl-py-load-buffer ()
  "Evaluate the buffer, as the file that it is."
  (interactive)
  (let ((session (nrepl-py-current-session))
        (place (copy-marker (point))))
    (nrepl-py-eval session (save-restriction (widen)
                                             (buffer-substring-no-properties (point-min) (point-max)))
                   (list :file (nrepl-py-buffer-file))
                   (lambda (message)
                     (when (alist-get 'error message) (nrepl-py--raised (alist-get 'error message) place))
                     (when (nrepl-py-client-status-p message "done")
                       (nrepl-py--done message nil place)))
                   nil "load-file")))

(defun nrepl-py-interrupt ()
  "Interrupt what runs in this buffer's session."
  (interactive)
  (nrepl-py-interrupt-eval (nrepl-py-current-session) nil))

;;;; Sessions

(defun nrepl-py-switch-to-repl ()
  "Go to the REPL of this buffer's session."
  (interactive)
  (pop-to-buffer (nrepl-py-repl-buffer (nrepl-py-current-session)))
  (goto-char (point-max)))

(defun nrepl-py-restart-session (&optional from)
  "Give this buffer's session a fresh interpreter; interactively, ask first.
With a prefix argument make it a copy of the session FROM, such as a branch
that was made to come back to."
  (interactive (if current-prefix-arg
                   (list (read-string "Go back to the state of session: "))
                 (unless (yes-or-no-p "Lose all that is in this session? ") (user-error "Kept"))
                 nil))
  (nrepl-py-request (nrepl-py-current-session) "restart" (and from (list :from from))
                    (lambda (_) (message "nrepl-py: %s" (if from (concat "as " from) "fresh")))))

(defun nrepl-py-branch (name)
  "Copy this buffer's session, with all that is in it, to one called NAME."
  (interactive "sName of the copy: ")
  (let ((session (nrepl-py-current-session)))
    (nrepl-py-session-new
     (nrepl-py-session-connection session) (list :session (nrepl-py-session-id session) :name name)
     (lambda (copy)
       (message "%s" (if (stringp copy) copy
                       (format "nrepl-py: %s is a copy; M-x nrepl-py-list-sessions switches" name)))))))

(provide 'nrepl-py)
;;; nrepl-py.el ends here
