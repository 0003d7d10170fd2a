;;; nrepl-py-repl.el --- A REPL in a session of nrepl-py  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: MIT

;;; Commentary:

;; A comint buffer for each session.  Its process is a pipe that leads nowhere, for comint's sake.  What the
;; session says is inserted above the prompt while one stands there, else at the end.

;;; Code:

(require 'comint)
(require 'nrepl-py-session)

(defcustom nrepl-py-repl-history-file (locate-user-emacs-file "nrepl-py-history")
  "Where what was typed into REPLs is kept, or nil."
  :group 'nrepl-py
  :type '(choice (const :tag "Not kept" nil) file))

(defcustom nrepl-py-repl-lines 20000
  "How many lines a REPL keeps."
  :group 'nrepl-py
  :type 'integer)

(defface nrepl-py-repl-err '((t :inherit warning))
  "Face for what is written to standard error."
  :group 'nrepl-py)

(defface nrepl-py-repl-note '((t :inherit font-lock-comment-face))
  "Face for what is told about a session."
  :group 'nrepl-py)

(defconst nrepl-py-repl-prompt ">>> "
  "The prompt.")

(defvar-local nrepl-py-repl-session nil
  "The session of this REPL.")

(defvar-local nrepl-py-repl--prompt nil
  "A marker where the prompt begins, or nil while there is none.")

(defvar-local nrepl-py-repl--asked nil
  "Whether what runs here has asked for the line that is typed next.")

(defvar nrepl-py-repl-mode-map
  (let ((map (make-sparse-keymap)))
    (define-key map (kbd "RET") #'nrepl-py-repl-return)
    (define-key map (kbd "C-c C-c") #'nrepl-py-repl-interrupt)
    (define-key map (kbd "C-c C-d") #'nrepl-py-repl-end-of-file)
    (define-key map (kbd "TAB") #'completion-at-point)
    map)
  "Keys of `nrepl-py-repl-mode'.")

(define-derived-mode nrepl-py-repl-mode comint-mode "nrepl-py REPL"
  "A REPL in a session of an nrepl-py server.
\\{nrepl-py-repl-mode-map}"
  (setq-local comint-prompt-regexp (concat "^" (regexp-quote nrepl-py-repl-prompt))
              comint-prompt-read-only t
              comint-input-sender #'nrepl-py-repl--send
              comint-process-echoes nil
              comint-highlight-input t
              comint-input-ignoredups t
              comint-input-ring-separator "\n\C-_\n"
              comint-input-ring-file-name nrepl-py-repl-history-file
              comint-buffer-maximum-size nrepl-py-repl-lines
              scroll-conservatively 101)
  (setq-local comint-output-filter-functions
              '(ansi-color-process-output comint-postoutput-scroll-to-bottom))
  (comint-read-input-ring t))

(defun nrepl-py-repl-buffer (session)
  "The REPL of SESSION, made where there is none."
  (let* ((name (format "*nrepl-py %s*" (nrepl-py-session-label session)))
         (buffer (get-buffer name)))
    (if (and buffer (eq session (buffer-local-value 'nrepl-py-repl-session buffer)))
        buffer
      (with-current-buffer (generate-new-buffer name)
        (nrepl-py-repl-mode)
        (setq default-directory
              (file-name-as-directory
               (nrepl-py-connection-directory (nrepl-py-session-connection session)))
              nrepl-py-repl-session session
              nrepl-py--buffer-session session)
        (let ((process (make-pipe-process :name "nrepl-py-repl" :buffer (current-buffer) :noquery t
                                          :sentinel #'ignore)))
          (set-marker (process-mark process) (point-max)))
        (let ((buffer (current-buffer)))
          (setf (nrepl-py-session-sink session)
                (lambda (kind value)
                  (when (buffer-live-p buffer)
                    (with-current-buffer buffer (nrepl-py-repl-show kind value))))))
        (nrepl-py-repl--prompt)
        (current-buffer)))))

;;;; What is shown

(defun nrepl-py-repl-show (kind value)
  "Show VALUE of KIND, as `nrepl-py-session-show' has them, in this REPL."
  (pcase kind
    ('out (nrepl-py-repl--insert value))
    ('err (nrepl-py-repl--insert (propertize value 'font-lock-face 'nrepl-py-repl-err)))
    ('value (nrepl-py-repl--insert (concat (nrepl-py-repl--fresh) value "\n")))
    ('note (nrepl-py-repl--insert (concat (nrepl-py-repl--fresh)
                                          (propertize (format "; %s\n" value)
                                                      'font-lock-face 'nrepl-py-repl-note))))
    ('input (nrepl-py-repl-show 'note (format "%s: %s" (car value)
                                              (replace-regexp-in-string "\n" "\n;   " (cdr value)))))
    ('display (nrepl-py-repl--insert
               (concat (nrepl-py-repl--fresh) (nrepl-py-repl-rendition (alist-get 'mime value)) "\n")))))

(defun nrepl-py-repl--place ()
  "Where output goes in this buffer."
  (or nrepl-py-repl--prompt (process-mark (get-buffer-process (current-buffer)))))

(defun nrepl-py-repl--fresh ()
  "The text that has to be inserted so that output begins on a line of its own."
  (save-excursion
    (goto-char (nrepl-py-repl--place))
    (let ((inhibit-field-text-motion t)) (if (bolp) "" "\n"))))

(defun nrepl-py-repl--insert (text)
  "Insert TEXT, as output, above the prompt if there is one."
  (if (not nrepl-py-repl--prompt)
      (comint-output-filter (get-buffer-process (current-buffer)) text)
    (let ((inhibit-read-only t)
          (inhibit-field-text-motion t))
      (save-excursion
        (goto-char nrepl-py-repl--prompt)
        (insert-before-markers (propertize (ansi-color-apply text) 'field 'output))
        (unless (bolp) (insert-before-markers (propertize "\n" 'field 'output))))))
  (when (> (line-number-at-pos (point-max)) (* 1.1 nrepl-py-repl-lines))
    (comint-truncate-buffer)))

(defun nrepl-py-repl--prompt ()
  "Show the prompt."
  (unless nrepl-py-repl--prompt
    (let ((process (get-buffer-process (current-buffer)))
          (fresh (nrepl-py-repl--fresh)))
      (unless (string-empty-p fresh) (comint-output-filter process fresh))
      (let ((start (marker-position (process-mark process))))
        (comint-output-filter process nrepl-py-repl-prompt)
        (setq nrepl-py-repl--prompt (copy-marker start))))))

(defun nrepl-py-repl-rendition (mime)
  "What shows the data of MIME, an alist of types, best here: a string."
  (let ((png (alist-get 'image/png mime)))
    (or (and png (ignore-errors (nrepl-py-repl--image (base64-decode-string png))))
        (alist-get 'text/plain mime)
        (format "[%s]" (mapconcat (lambda (one) (symbol-name (car one))) mime ", ")))))

(defun nrepl-py-repl--image (png)
  "A string that shows PNG, bytes: the image itself, or a note that saves it."
  (if (and (display-graphic-p) (image-type-available-p 'png))
      (propertize "[image]" 'display (create-image png 'png t))
    (make-text-button
     (format "[image/png, %d×%d, %d bytes: RET saves it]"
             (nrepl-py-repl--number png 16) (nrepl-py-repl--number png 20) (length png))
     nil 'follow-link t 'help-echo "Save this image"
     'action (lambda (_) (call-interactively
                          (lambda (file)
                            (interactive "FSave the image as: ")
                            (let ((coding-system-for-write 'binary))
                              (write-region png nil file))))))))

(defun nrepl-py-repl--number (bytes at)
  "The number in four of BYTES, from AT on."
  (let ((number 0))
    (dolist (byte (append (substring bytes at (+ at 4)) nil) number)
      (setq number (+ (* 256 number) byte)))))

;;;; What is typed

(defun nrepl-py-repl-input ()
  "What stands behind the prompt."
  (buffer-substring-no-properties (process-mark (get-buffer-process (current-buffer))) (point-max)))

(defun nrepl-py-repl-return ()
  "Run what was typed, or go on to the next line where there must be more."
  (interactive)
  (let ((input (nrepl-py-repl-input))
        (buffer (current-buffer)))
    (cond
     ((button-at (point)) (push-button))
     ((or nrepl-py-repl--asked (and nrepl-py-repl--prompt (string-blank-p input))) (comint-send-input))
     ((not nrepl-py-repl--prompt) (message "nrepl-py: it runs; C-c C-c interrupts it"))
     ((string-match-p "\n[ \t]*\\'" input) (comint-send-input)) ; an empty line ends a block
     (t (unless (eq 'up (nrepl-py-client-phase (nrepl-py-session-client nrepl-py-repl-session)))
          (message "nrepl-py: not connected just now; it runs when that is over"))
        (nrepl-py-client-request
         (nrepl-py-session-client nrepl-py-repl-session) "is-complete"
         (list :session (nrepl-py-session-id nrepl-py-repl-session) :code input)
         (lambda (reply)
           (when (buffer-live-p buffer)
             (with-current-buffer buffer
               (when (and nrepl-py-repl--prompt (equal input (nrepl-py-repl-input)))
                 (nrepl-py-repl--complete reply))))))))))

(defun nrepl-py-repl--complete (reply)
  "Do with what was typed as REPLY, of `is-complete', says."
  (if (not (equal (alist-get 'state reply) "incomplete"))
      (comint-send-input)
    (goto-char (point-max))
    (insert "\n" (or (alist-get 'indent reply) ""))))

(defun nrepl-py-repl--send (_process input)
  "Take INPUT, for comint."
  (cond
   (nrepl-py-repl--asked
    (setq nrepl-py-repl--asked nil)
    (nrepl-py-session-answer nrepl-py-repl-session input))
   (t (setq nrepl-py-repl--prompt nil)
      (when comint-input-ring-file-name (ignore-errors (comint-write-input-ring)))
      (if (string-blank-p input)
          (nrepl-py-repl--prompt)
        (nrepl-py-repl--eval (string-trim-right input))))))

(defun nrepl-py-repl--eval (code)
  "Evaluate CODE, typed here."
  (let ((buffer (current-buffer))
        (session nrepl-py-repl-session))
    (nrepl-py-eval
     session code nil
     (lambda (message)
       (when (buffer-live-p buffer)
         (with-current-buffer buffer
           (when-let ((value (alist-get 'value message)))
             (nrepl-py-repl-show 'value value))
           (when (nrepl-py-client-status-p message "done")
             (nrepl-py-repl--done message)))))
     (lambda (prompt _)
       (when (buffer-live-p buffer)
         (with-current-buffer buffer
           (setq nrepl-py-repl--asked t)
           (comint-output-filter (get-buffer-process buffer) (or prompt ""))
           t))))))

(defun nrepl-py-repl--done (message)
  "What was typed has ended, with MESSAGE."
  (setq nrepl-py-repl--asked nil)
  (when-let ((failure (nrepl-py-client-error message)))
    (nrepl-py-repl-show 'note (apply #'nrepl-py-explain failure)))
  (when (nrepl-py-client-status-p message "interrupted")
    (nrepl-py-repl-show 'note "interrupted"))
  (nrepl-py-repl--prompt))

(defun nrepl-py-repl-interrupt ()
  "Interrupt what runs in this session, or drop what was typed."
  (interactive)
  (if (nrepl-py-session-running nrepl-py-repl-session)
      (nrepl-py-interrupt-eval nrepl-py-repl-session nil)
    (comint-kill-input)))

(defun nrepl-py-repl-end-of-file ()
  "End the input of what runs, if it asked for some."
  (interactive)
  (when nrepl-py-repl--asked
    (setq nrepl-py-repl--asked nil)
    (nrepl-py-request nrepl-py-repl-session "stdin" '(:stdin ""))))

(provide 'nrepl-py-repl)
;;; nrepl-py-repl.el ends here
