;;; round-trip.el --- How long an eval takes, seen from Emacs  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: MIT

;;; Commentary:

;; A report, not a test.  With nrepl-py on PATH: emacs --batch -L . -l bench/round-trip.el

;;; Code:

(require 'nrepl-py)

(let* ((nrepl-py-repl-history-file nil)
       (default-directory (file-name-as-directory (file-truename (make-temp-file "nrepl-bench" t)))))
  (nrepl-py-jack-in default-directory)
  (while (not (nrepl-py-session-if-any)) (accept-process-output nil 0.1))
  (let* ((session (nrepl-py-current-session))
         (client (nrepl-py-session-client session))
         (measure
          (lambda (what op fields count)
            (let ((times nil))
              (dotimes (_ count)
                (let ((start (float-time)) (done nil))
                  (nrepl-py-client-request
                   client op (append (list :session (nrepl-py-session-id session)) fields)
                   (lambda (message) (setq done (nrepl-py-client-status-p message "done"))))
                  (while (not done) (nrepl-py-client-wait client 0.5))
                  (push (* 1000 (- (float-time) start)) times)))
              (setq times (sort times #'<))
              (princ (format "%-28s median %6.2f ms, 95 %% within %6.2f ms (%d times)\n" what
                             (nth (/ count 2) times) (nth (/ (* 95 count) 100) times) count))))))
    (funcall measure "eval 1+1" "eval" '(:code "1+1") 500)
    (funcall measure "eval of 64 KiB of code" "eval" (list :code (concat "#" (make-string 65536 ?x))) 50)
    (funcall measure "completions of os.pa" "completions" '(:code "import os; os.pa" :cursor 16) 20)
    (funcall measure "10,000 prints" "eval" '(:code "for n in range(10000): print(n)") 10))
  (nrepl-py-quit)
  (delete-directory default-directory t))

;;; round-trip.el ends here
