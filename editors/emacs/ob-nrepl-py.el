;;; ob-nrepl-py.el --- Org blocks in sessions of nrepl-py  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: MIT

;;; Commentary:

;; Blocks of the language `nrepl-py'.  `:session NAME' evaluates in the session of that name, which is made
;; where there is none; without it a block has an interpreter of its own.  `:results output' takes what was
;; printed, else the value: lists are tables.  An image goes to the file that `:file' names.
;;
;; A block is waited for a moment (`nrepl-py-org-seconds'); one that takes longer, or has `:async yes', leaves
;; a mark that its result takes the place of, and Emacs goes on.

;;; Code:

(require 'nrepl-py)
(require 'ob)
(require 'org-src)

(defcustom nrepl-py-org-seconds 2
  "How long Org waits for a block, before it goes on without its result."
  :group 'nrepl-py
  :type 'number)

(defvar org-babel-default-header-args:nrepl-py '((:session . "none"))
  "What blocks of nrepl-py have, if they do not say otherwise.")

(defvar org-export-current-backend)

(add-to-list 'org-src-lang-modes '("nrepl-py" . python))

;;;###autoload
(defun org-babel-execute:nrepl-py (body params)
  "Evaluate BODY, a block with PARAMS; for `org-babel-execute-src-block'."
  (let* ((connection (or (nrepl-py-connection-for default-directory)
                         (user-error "Not connected: M-x nrepl-py-jack-in or M-x nrepl-py-connect")))
         (mark (format "nrepl-py-%08x%08x" (random (ash 1 32)) (random (ash 1 32))))
         (origin (point-marker))
         (code (org-babel-expand-body:generic body params (org-babel-variable-assignments:nrepl-py params)))
         (waited t)
         (result nil))
    (nrepl-py-org--session
     connection (alist-get :session params)
     (lambda (session)
       (nrepl-py-org--eval
        connection session code params
        (lambda (answer)
          (setq result (list answer))
          (unless waited (nrepl-py-org--replace origin mark answer params))))))
    (nrepl-py-org--wait (lambda () result) params)
    (setq waited nil)
    (if result (car result) mark)))

(defun nrepl-py-org--wait (done-p params)
  "Wait until DONE-P, or for as long as PARAMS allow."
  (let ((deadline (and (not (bound-and-true-p org-export-current-backend))
                       (+ (float-time) (if (equal (alist-get :async params) "yes") 0
                                         nrepl-py-org-seconds)))))
    (while (not (or (funcall done-p) (and deadline (>= (float-time) deadline))))
      (accept-process-output nil 0.05))))

(defun org-babel-variable-assignments:nrepl-py (params)
  "The statements that assign the variables of PARAMS."
  (mapcar (lambda (pair) (format "%s = %s" (car pair) (nrepl-py-org--literal (cdr pair))))
          (org-babel--get-vars params)))

(defun org-babel-prep-session:nrepl-py (_session _params)
  "Sessions are made when they are used."
  nil)

(defun nrepl-py-org--literal (value)
  "VALUE of Org's, as Python has it."
  (cond ((eq value 'hline) "None")
        ((listp value) (format "[%s]" (mapconcat #'nrepl-py-org--literal value ", ")))
        ((numberp value) (number-to-string value))
        (t (json-serialize (format "%s" value)))))

(defun nrepl-py-org--session (connection name callback)
  "Call CALLBACK with the session NAME of CONNECTION; with nil for none.
Where it cannot be had, call it with a sentence why."
  (if (member name '(nil "none"))
      (funcall callback nil)
    (nrepl-py-session-follow
     connection name name
     (lambda (session)
       (if (nrepl-py-session-p session)
           (funcall callback session)
         (nrepl-py-session-new connection
                               (list :name name :python (nrepl-py--python connection)) callback))))))

(defun nrepl-py-org--eval (connection session code params callback)
  "Evaluate CODE of a block with PARAMS in SESSION, or in none of CONNECTION's.
CALLBACK is called with the result."
  (if (stringp session)
      (funcall callback session)
    (let ((parts nil))
      (nrepl-py-client-request
       (nrepl-py-connection-client connection) "eval"
       (append (and session (list :session (nrepl-py-session-id session)))
               (list :code code :mime ["image/png"] :allow-stdin :false
                     :file (nrepl-py-buffer-file)))
       (lambda (message)
         (push message parts)
         (when (nrepl-py-client-status-p message "done")
           (funcall callback (nrepl-py-org--result (nreverse parts) params))))))))

(defun nrepl-py-org--result (messages params)
  "What the MESSAGES of a block with PARAMS come to."
  (let* ((all (lambda (key) (delq nil (mapcar (lambda (one) (alist-get key one)) messages))))
         (failure (nrepl-py-client-error (car (last messages))))
         (raised (car (funcall all 'error)))
         (image (car (delq nil (mapcar #'nrepl-py-org--image messages))))
         (file (alist-get :file params)))
    (when raised (nrepl-py-error-show raised))
    (cond
     (failure (apply #'nrepl-py-explain failure))
     ((and image file)
      (let ((coding-system-for-write 'binary))
        (write-region (base64-decode-string image) nil file nil 'quiet))
      (if (member "file" (alist-get :result-params params)) nil file))
     ((member "output" (alist-get :result-params params))
      (mapconcat #'identity (funcall all 'out) ""))
     (raised (nrepl-py-error-summary raised))
     (t (let ((value (or (car (funcall all 'value)) "")))
          (if (member "verbatim" (alist-get :result-params params)) value
            (org-babel-script-escape value)))))))

(defun nrepl-py-org--image (message)
  "The PNG in MESSAGE, in base64, or nil."
  (let-alist message
    (or (alist-get 'image/png .display.mime) (alist-get 'image/png .mime))))

(defun nrepl-py-org--replace (origin mark answer params)
  "Put ANSWER, of a block with PARAMS, in the place of MARK.
ORIGIN is a marker in its buffer."
  (when-let ((buffer (marker-buffer origin)))
    (with-current-buffer buffer
      (save-excursion
        (save-restriction
          (widen)
          (goto-char (point-min))
          (when (search-forward mark nil t)
            (org-babel-previous-src-block)
            (org-babel-remove-result)
            (org-babel-insert-result answer (alist-get :result-params params)
                                     (org-babel-get-src-block-info 'light))))))
    (message "nrepl-py: a block of %s is done" (buffer-name buffer))))

(provide 'ob-nrepl-py)
;;; ob-nrepl-py.el ends here
