;;; nrepl-py-list.el --- The list of a server's sessions  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: MIT

;;; Commentary:

;; Sessions to switch to, copy, restart, roll back and close.

;;; Code:

(require 'nrepl-py-repl)
(require 'nrepl-py-session)
(require 'tabulated-list)

(defvar-local nrepl-py-list--connection nil
  "The connection whose sessions are listed.")

(defvar-local nrepl-py-list--origin nil
  "The buffer that the list was asked for from.")

(defvar nrepl-py-list-mode-map
  (let ((map (make-sparse-keymap)))
    (define-key map (kbd "RET") #'nrepl-py-list-switch)
    (define-key map "c" #'nrepl-py-list-clone)
    (define-key map "r" #'nrepl-py-list-restart)
    (define-key map "f" #'nrepl-py-list-restart-from)
    (define-key map "i" #'nrepl-py-list-interrupt)
    (define-key map "k" #'nrepl-py-list-close)
    map)
  "Keys of `nrepl-py-list-mode'.")

(define-derived-mode nrepl-py-list-mode tabulated-list-mode "nrepl-py sessions"
  "The sessions of an nrepl-py server.
\\{nrepl-py-list-mode-map}"
  (setq tabulated-list-format [("" 1 nil) ("Session" 20 t) ("State" 8 t) ("Epoch" 5 nil) ("Queued" 6 nil)
                               ("Clients" 7 nil) ("Memory" 9 nil) ("Python" 30 t) ("Directory" 0 t)])
  (setq-local revert-buffer-function (lambda (&rest _) (nrepl-py-list-refresh)))
  (tabulated-list-init-header))

(defun nrepl-py-list-sessions ()
  "List the sessions of this buffer's server."
  (interactive)
  (let ((connection (or (nrepl-py-connection-for default-directory)
                        (user-error "Not connected: M-x nrepl-py-jack-in or M-x nrepl-py-connect")))
        (origin (current-buffer)))
    (with-current-buffer (get-buffer-create "*nrepl-py sessions*")
      (nrepl-py-list-mode)
      (setq nrepl-py-list--connection connection
            nrepl-py-list--origin origin)
      (nrepl-py-list-refresh)
      (pop-to-buffer (current-buffer)))))

(defun nrepl-py-list-refresh (&rest _)
  "Ask for the list anew."
  (let ((buffer (current-buffer)))
    (nrepl-py-client-request
     (nrepl-py-connection-client nrepl-py-list--connection) "ls-sessions" nil
     (lambda (reply)
       (when (buffer-live-p buffer)
         (with-current-buffer buffer
           (if-let ((failure (nrepl-py-client-error reply)))
               (message "%s" (apply #'nrepl-py-explain failure))
             (setq tabulated-list-entries
                   (mapcar #'nrepl-py-list--entry (alist-get 'sessions reply)))
             (tabulated-list-print t))))))))

(defun nrepl-py-list--entry (info)
  "The line of the session that INFO tells of."
  (let* ((connection nrepl-py-list--connection)
         (current (nrepl-py-connection-current connection)))
    (let-alist info
      (list (cons .id .name)
            (vector (if (and current (equal .id (nrepl-py-session-id current))) "*" "")
                    (or .name .id) .state (number-to-string .epoch) (number-to-string .queued)
                    (number-to-string .clients) (file-size-human-readable (or .memory 0))
                    (abbreviate-file-name (or .python "")) (abbreviate-file-name (or .cwd "")))))))

(defun nrepl-py-list--followed (callback)
  "Call CALLBACK with the session at point, when it is followed."
  (pcase (tabulated-list-get-id)
    (`(,id . ,name)
     (nrepl-py-session-follow nrepl-py-list--connection id name
                              (lambda (session)
                                (if (stringp session) (message "%s" session)
                                  (funcall callback session)))))
    (_ (user-error "There is no session on this line"))))

(defun nrepl-py-list--ask (op fields)
  "Ask for OP with FIELDS in the session at point, and list the sessions again."
  (let ((buffer (current-buffer))
        (id (car (or (tabulated-list-get-id) (user-error "There is no session on this line")))))
    (nrepl-py-client-request
     (nrepl-py-connection-client nrepl-py-list--connection) op (append (list :session id) fields)
     (lambda (reply)
       (when (nrepl-py-client-status-p reply "done")
         (when-let ((failure (nrepl-py-client-error reply)))
           (message "%s" (apply #'nrepl-py-explain failure)))
         (when (buffer-live-p buffer)
           (with-current-buffer buffer (nrepl-py-list-refresh))))))))

(defun nrepl-py-list-switch ()
  "Evaluate in the session at point from now on, and show its REPL."
  (interactive)
  (let ((list (current-buffer)))
    (nrepl-py-list--followed
     (lambda (session)
       (nrepl-py-use-session session (buffer-local-value 'nrepl-py-list--origin list))
       (display-buffer (nrepl-py-repl-buffer session))
       (with-current-buffer list (nrepl-py-list-refresh))))))

(defun nrepl-py-list-clone (name)
  "Make a copy of the session at point, with all that is in it, called NAME."
  (interactive "sName of the copy: ")
  (nrepl-py-list--ask "clone" (and (not (string-empty-p name)) (list :name name))))

(defun nrepl-py-list-restart ()
  "Give the session at point a fresh interpreter."
  (interactive)
  (when (yes-or-no-p "Lose all that is in this session? ")
    (nrepl-py-list--ask "restart" nil)))

(defun nrepl-py-list-restart-from (from)
  "Make the session at point a copy of the session FROM."
  (interactive (list (completing-read "Go back to the state of: " (nrepl-py-list--names) nil t)))
  (nrepl-py-list--ask "restart" (list :from from)))

(defun nrepl-py-list--names ()
  "What the listed sessions are called."
  (mapcar (lambda (entry) (or (cdar entry) (caar entry))) tabulated-list-entries))

(defun nrepl-py-list-interrupt ()
  "Interrupt what runs in the session at point."
  (interactive)
  (nrepl-py-list--ask "interrupt" nil))

(defun nrepl-py-list-close ()
  "End the session at point."
  (interactive)
  (when (yes-or-no-p "End this session? ")
    (nrepl-py-list--ask "close" nil)))

(provide 'nrepl-py-list)
;;; nrepl-py-list.el ends here
