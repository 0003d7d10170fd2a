;;; nrepl-py-assist.el --- Completion, signatures and definitions from a live session  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: MIT

;;; Commentary:

;; The server answers these beside a running eval, and runs no code for them.  Where Emacs wants an
;; answer at once it gets what comes in a moment, or nothing.

;;; Code:

(require 'nrepl-py-repl)
(require 'nrepl-py-session)
(require 'xref)

(defcustom nrepl-py-answer-seconds 0.7
  "How long Emacs waits for completions and definitions."
  :group 'nrepl-py
  :type 'number)

(defconst nrepl-py-assist--span 100000
  "How many characters on each side of point are looked at.")

(defun nrepl-py-assist--code ()
  "What is looked at around point: where it begins, and the text, as a list."
  (let ((from (if (derived-mode-p 'nrepl-py-repl-mode)
                  (marker-position (process-mark (get-buffer-process (current-buffer))))
                (save-excursion
                  (goto-char (max (point-min) (- (point) nrepl-py-assist--span)))
                  (line-beginning-position)))))
    (when (>= (point) from)
      (list from (buffer-substring-no-properties
                  from (min (point-max) (+ (point) nrepl-py-assist--span)))))))

(defun nrepl-py-assist--fields (session)
  "The fields that tell of the code around point in SESSION, or nil."
  (pcase (nrepl-py-assist--code)
    (`(,from ,text) (list :session (nrepl-py-session-id session)
                          :code text :cursor (- (point) from)))))

(defun nrepl-py-complete-at-point ()
  "Complete from the live session, for `completion-at-point-functions'."
  (when-let* ((session (nrepl-py-session-if-any))
              (fields (nrepl-py-assist--fields session))
              (reply (nrepl-py-client-ask (nrepl-py-session-client session) "completions" fields
                                          nrepl-py-answer-seconds))
              (found (alist-get 'completions reply)))
    (let* ((start (alist-get 'start (car found)))
           (from (- (point) (- (plist-get fields :cursor) start)))
           (all (seq-filter (lambda (one) (eql start (alist-get 'start one))) found))
           (types (mapcar (lambda (one) (cons (alist-get 'candidate one) one)) all)))
      (list from (point) (mapcar #'car types)
            :exclusive 'no
            :annotation-function
            (lambda (name) (format " %s" (or (alist-get 'type (cdr (assoc name types))) "")))
            :company-docsig
            (lambda (name) (alist-get 'signature (cdr (assoc name types))))))))

(defun nrepl-py-eldoc (callback &rest _)
  "Give CALLBACK the signature of the call around point, for eldoc."
  (when-let* ((session (nrepl-py-session-if-any))
              (fields (nrepl-py-assist--fields session)))
    (nrepl-py-client-request
     (nrepl-py-session-client session) "signature" fields
     (lambda (reply)
       (when-let ((signature (car (alist-get 'signatures reply))))
         (funcall callback (nrepl-py-assist--signature signature)))))
    t))

(defun nrepl-py-assist--signature (signature)
  "The text of SIGNATURE, with the parameter that point is in."
  (let-alist signature
    (let* ((text (copy-sequence .label))
           (name (and .active (alist-get 'label (nth .active .parameters))))
           (at (and name (string-match (regexp-quote name) text (or (string-match "(" text) 0)))))
      (when at
        (put-text-property at (+ at (length name)) 'face 'eldoc-highlight-function-argument text))
      text)))

(defun nrepl-py-symbol-at-point ()
  "The name at point with what it is an attribute of, or nil."
  (save-excursion
    (skip-chars-forward "[:alnum:]_")
    (let ((end (point)))
      (skip-chars-backward "[:alnum:]_.")
      (skip-chars-forward ".")
      (and (< (point) end) (buffer-substring-no-properties (point) end)))))

;;;; Definitions

(defun nrepl-py-xref-backend ()
  "The backend of `xref' where there is a session."
  (and (nrepl-py-session-if-any) 'nrepl-py))

(cl-defmethod xref-backend-identifier-at-point ((_backend (eql 'nrepl-py)))
  "The name at point."
  (nrepl-py-symbol-at-point))

(cl-defmethod xref-backend-identifier-completion-table ((_backend (eql 'nrepl-py)))
  "There is no list of all names."
  nil)

(cl-defmethod xref-backend-definitions ((_backend (eql 'nrepl-py)) identifier)
  "Where IDENTIFIER is defined."
  (when-let* ((session (nrepl-py-session-if-any))
              (reply (nrepl-py-client-ask (nrepl-py-session-client session) "lookup"
                                          (list :session (nrepl-py-session-id session) :sym identifier)
                                          nrepl-py-answer-seconds))
              (info (alist-get 'info reply)))
    (let-alist info
      (cond
       ((null .file) nil)
       ((and (file-name-absolute-p .file) (file-readable-p .file))
        (list (xref-make identifier (xref-make-file-location .file (or .line 1) (or .column 0)))))
       ((get-buffer .file)
        (with-current-buffer .file
          (save-excursion
            (goto-char (point-min))
            (forward-line (1- (or .line 1)))
            (list (xref-make identifier (xref-make-buffer-location (current-buffer) (point)))))))))))

;;;; Documentation

(defun nrepl-py-doc (name)
  "Show what the session knows of NAME."
  (interactive (list (let ((name (nrepl-py-symbol-at-point)))
                       (if (and name (not current-prefix-arg)) name
                         (read-string "Documentation of: " name)))))
  (nrepl-py-request
   (nrepl-py-current-session) "lookup" (list :sym name)
   (lambda (reply)
     (let-alist (alist-get 'info reply)
       (with-current-buffer (get-buffer-create "*nrepl-py doc*")
         (let ((inhibit-read-only t))
           (erase-buffer)
           (insert (format "%s (%s)\n" .name .type))
           (when .signature (insert .signature "\n"))
           (when .value (insert "= " .value "\n"))
           (when .file (insert (format "%s:%s\n" .file (or .line "?"))))
           (insert "\n" (or .doc "No documentation.") "\n")
           (goto-char (point-min)))
         (special-mode)
         (display-buffer (current-buffer)))))))

(provide 'nrepl-py-assist)
;;; nrepl-py-assist.el ends here
