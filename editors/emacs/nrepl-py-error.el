;;; nrepl-py-error.el --- Errors of Python code, and the way to their places  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: MIT

;;; Commentary:

;; A buffer with the last error of a session's: what it says, and its frames, each a button that leads
;; there.  \[next-error] walks them from anywhere.

;;; Code:

(require 'let-alist)
(require 'subr-x)

(defconst nrepl-py-error-buffer "*nrepl-py error*"
  "The name of the buffer that shows errors.")

(defface nrepl-py-error-type '((t :inherit error))
  "Face for the type of an error."
  :group 'nrepl-py)

(defvar nrepl-py-error-mode-map
  (let ((map (make-sparse-keymap)))
    (set-keymap-parent map special-mode-map)
    (define-key map "n" #'forward-button)
    (define-key map "p" #'backward-button)
    (define-key map (kbd "TAB") #'forward-button)
    map)
  "Keys of `nrepl-py-error-mode'.")

(defvar-local nrepl-py-error--at nil
  "Where the frame stands that was visited last.")

(define-derived-mode nrepl-py-error-mode special-mode "nrepl-py error"
  "What went wrong in evaluated code.
\\{nrepl-py-error-mode-map}"
  (setq-local next-error-function #'nrepl-py-error-next))

(defun nrepl-py-error-summary (error-info)
  "One line on ERROR-INFO."
  (let-alist error-info
    (if (string-empty-p (or .message "")) .type (format "%s: %s" .type .message))))

(defun nrepl-py-error-show (error-info)
  "Fill the error buffer with ERROR-INFO and return it."
  (with-current-buffer (get-buffer-create nrepl-py-error-buffer)
    (unless (derived-mode-p 'nrepl-py-error-mode) (nrepl-py-error-mode))
    (let ((inhibit-read-only t))
      (erase-buffer)
      (setq nrepl-py-error--at nil)
      (nrepl-py-error--insert error-info 0)
      (goto-char (point-min))
      (setq next-error-last-buffer (current-buffer)))
    (current-buffer)))

(defun nrepl-py-error--insert (error-info depth)
  "Insert ERROR-INFO, and what led to it, nested DEPTH deep."
  (let-alist error-info
    (insert (propertize (nrepl-py-error-summary error-info) 'face 'nrepl-py-error-type) "\n")
    (dolist (note .notes) (insert note "\n"))
    (insert "\n")
    (mapc #'nrepl-py-error--insert-frame (reverse .traceback))
    (when (< depth 20)
      (cond (.cause (insert "\nThe cause of it:\n")
                    (nrepl-py-error--insert .cause (1+ depth)))
            (.context (insert "\nWhile this was handled:\n")
                      (nrepl-py-error--insert .context (1+ depth))))
      (dolist (one .exceptions)
        (insert "\nOne of the group:\n")
        (nrepl-py-error--insert one (1+ depth))))))

(defun nrepl-py-error--insert-frame (frame)
  "Insert FRAME of a traceback."
  (let-alist frame
    (insert "  ")
    (insert-text-button (format "%s:%s" .file (or .line "?"))
                        'action (lambda (button)
                                  (setq nrepl-py-error--at (button-start button))
                                  (nrepl-py-error-visit frame))
                        'help-echo "Go there" 'follow-link t)
    (insert (if .function (format " in %s" .function) "") "\n")
    (when .source (insert "      " (string-trim .source) "\n"))))

(defun nrepl-py-error-place (file line column)
  "The buffer and position of LINE and COLUMN of FILE, a list; else nil.
FILE may be the name of a buffer that visits none."
  (when-let ((buffer (or (and (file-name-absolute-p file) (file-readable-p file)
                              (find-file-noselect file))
                         (get-buffer file))))
    (with-current-buffer buffer
      (save-excursion
        (save-restriction
          (widen)
          (goto-char (point-min))
          (forward-line (1- (or line 1)))
          (forward-char (min (or column 0) (- (line-end-position) (point))))
          (list buffer (point)))))))

(defun nrepl-py-error-visit (frame)
  "Go to the place of FRAME."
  (let-alist frame
    (pcase (nrepl-py-error-place .file .line .column)
      (`(,buffer ,position)
       (pop-to-buffer buffer)
       (goto-char position))
      (_ (message "nrepl-py: %s cannot be visited from here" .file)))))

(defun nrepl-py-error-next (count &optional reset)
  "Go to the place of the frame COUNT further on; from the first one if RESET."
  (let* ((from (if reset (point-min) (or nrepl-py-error--at (point-min))))
         (button (save-excursion
                   (goto-char from)
                   (if (and reset (zerop count)) (next-button (point) t)
                     (ignore-errors (forward-button count))))))
    (unless button (user-error "No more frames"))
    (when-let ((window (get-buffer-window)))
      (set-window-point window (button-start button)))
    (push-button (button-start button))))

(provide 'nrepl-py-error)
;;; nrepl-py-error.el ends here
