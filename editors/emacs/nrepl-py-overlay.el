;;; nrepl-py-overlay.el --- Results beside the code they are of  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: MIT

;;; Commentary:

;; A result is shown at the end of its line until the next command, or until the buffer changes.

;;; Code:

(require 'subr-x)

(defcustom nrepl-py-overlay-width 120
  "How many characters of a result are shown beside the code; all are in the REPL."
  :group 'nrepl-py
  :type 'integer)

(defface nrepl-py-result '((t :inherit font-lock-builtin-face))
  "Face for results beside the code."
  :group 'nrepl-py)

(defface nrepl-py-failure '((t :inherit error))
  "Face for errors beside the code."
  :group 'nrepl-py)

(defvar-local nrepl-py-overlay--shown nil
  "The overlays of this buffer.")

(defun nrepl-py-overlay-show (position text face)
  "Show TEXT in FACE at the end of the line of POSITION, a marker."
  (when-let ((buffer (and (markerp position) (marker-buffer position))))
    (with-current-buffer buffer
      (nrepl-py-overlay-clear)
      (let* ((end (save-excursion (goto-char position) (line-end-position)))
             (overlay (make-overlay end end))
             (line (replace-regexp-in-string "[ \t]*\n[ \t]*" " " (string-trim text))))
        (overlay-put overlay 'nrepl-py t)
        (overlay-put overlay 'after-string
                     (concat (propertize " " 'cursor 1)
                             (propertize (concat "=> " (truncate-string-to-width
                                                        line nrepl-py-overlay-width nil nil "…"))
                                         'face face)))
        (push overlay nrepl-py-overlay--shown)
        (add-hook 'pre-command-hook #'nrepl-py-overlay-clear nil t)
        (add-hook 'after-change-functions #'nrepl-py-overlay-clear nil t)))))

(defun nrepl-py-overlay-clear (&rest _)
  "Remove the results that are shown in this buffer."
  (mapc #'delete-overlay nrepl-py-overlay--shown)
  (setq nrepl-py-overlay--shown nil)
  (remove-hook 'pre-command-hook #'nrepl-py-overlay-clear t)
  (remove-hook 'after-change-functions #'nrepl-py-overlay-clear t))

(provide 'nrepl-py-overlay)
;;; nrepl-py-overlay.el ends here
