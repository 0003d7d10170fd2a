;;; nrepl-py-test.el --- Tests against a real server  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: MIT

;;; Commentary:

;; Run by tests/editors/test_emacs.py; by hand, with nrepl-py on PATH:
;;     emacs --batch -L . -l test/nrepl-py-test.el -f ert-run-tests-batch-and-exit

;;; Code:

(require 'ert)
(require 'nrepl-py)
(require 'ob-nrepl-py)

(setq nrepl-py-repl-history-file nil
      nrepl-py-command (when-let ((command (getenv "NREPL_COMMAND"))) (split-string command " "))
      nrepl-py-answer-seconds 20            ; a loaded machine
      python-indent-guess-indent-offset nil)

(defvar nrepl-py-test-patience (string-to-number (or (getenv "PATIENCE") "50")))

(defvar nrepl-py-test-directory (file-truename (make-temp-file "nrepl-emacs" t)))
(add-hook 'kill-emacs-hook (lambda () (delete-directory nrepl-py-test-directory t)))

(defun nrepl-py-test-wait (what condition)
  "Wait until CONDITION gives something, and return it; WHAT is said where it does not."
  (let ((deadline (+ (float-time) nrepl-py-test-patience)) found)
    (while (not (setq found (funcall condition)))
      (when (> (float-time) deadline)
        (error "Waited in vain for %s; REPLs: %s" what
               (mapcar (lambda (one) (with-current-buffer one
                                       (buffer-substring (max 1 (- (point-max) 500)) (point-max))))
                       (seq-filter (lambda (one) (string-prefix-p "*nrepl-py" (buffer-name one)))
                                   (buffer-list)))))
      (accept-process-output nil 0.02))
    found))

(defmacro nrepl-py-test-with-server (&rest body)
  "Run BODY in a Python buffer whose project has a server that was jacked into."
  (declare (indent 0))
  `(let* ((default-directory (file-name-as-directory
                              (make-temp-file (expand-file-name "project" nrepl-py-test-directory) t)))
          (file (expand-file-name "work.py" default-directory)))
     (write-region "" nil file nil 'quiet)
     (with-current-buffer (find-file-noselect file)
       (python-mode)
       (nrepl-py-mode 1)
       (nrepl-py-jack-in default-directory)
       (nrepl-py-test-wait "a session" #'nrepl-py-session-if-any)
       (let ((connection (nrepl-py-connection-for default-directory)))
         (unwind-protect (progn ,@body)
           (set-buffer-modified-p nil)
           (nrepl-py-connection-close connection)
           (nrepl-py-test-wait "the server's end"
                               (lambda () (not (process-live-p (nrepl-py-connection-process connection)))))
           (dolist (buffer (buffer-list))
             (when (string-prefix-p "*nrepl-py" (buffer-name buffer)) (kill-buffer buffer)))
           (kill-buffer (get-file-buffer file)))))))

(defun nrepl-py-test-write (&rest lines)
  "Make LINES the buffer's text, and go to its end."
  (erase-buffer)
  (insert (string-join lines "\n") "\n")
  (save-buffer)
  (forward-line -1)
  (end-of-line))

(defun nrepl-py-test-overlay ()
  "Wait for a result beside the code, and return its text."
  (nrepl-py-test-wait "an overlay" (lambda () nrepl-py-overlay--shown))
  (substring-no-properties (overlay-get (car nrepl-py-overlay--shown) 'after-string)))

(defun nrepl-py-test-repl ()
  "The text of the REPL."
  (with-current-buffer (nrepl-py-repl-buffer (nrepl-py-current-session))
    (buffer-substring-no-properties (point-min) (point-max))))

(defun nrepl-py-test-repl-wait (regexp)
  "Wait until the REPL has something that matches REGEXP."
  (nrepl-py-test-wait regexp (lambda () (string-match-p regexp (nrepl-py-test-repl)))))

(defun nrepl-py-test-idle ()
  "Wait until nothing of ours runs."
  (nrepl-py-test-wait "idleness" (lambda () (null (nrepl-py-session-running (nrepl-py-current-session))))))

(defun nrepl-py-test-value (code)
  "The value of CODE, or what refused it."
  (let (result)
    (nrepl-py-eval (nrepl-py-current-session) code nil
                   (lambda (message)
                     (when (alist-get 'value message) (setq result (alist-get 'value message)))
                     (when (nrepl-py-client-status-p message "done")
                       (setq result (or result (car (nrepl-py-client-error message))
                                        (alist-get 'status message))))))
    (nrepl-py-test-wait code (lambda () result))))

;;;; The whole story

(defconst nrepl-py-test-png
  (concat "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJ"
          "RU5ErkJggg=="))

(ert-deftest nrepl-py-test-story ()
  (nrepl-py-test-with-server
    ;; A cell that plots.
    (nrepl-py-test-write "# %% one" "x = 40" "# %% plot" "import base64" "class Plot:"
                         "    def _repr_png_(self):"
                         (format "        return base64.b64decode('%s')" nrepl-py-test-png)
                         "display(Plot())" "x = [1, 2]" "len(x)" "# %% after" "1/0")
    (search-backward "display")
    (nrepl-py-eval-cell)
    (should (equal " => 2" (nrepl-py-test-overlay)))
    (should (string-match-p "\\[image/png, 1×1, [0-9]+ bytes: RET saves it\\]\n2\n>>> \\'"
                            (nrepl-py-test-repl)))
    (insert " ")
    (should-not nrepl-py-overlay--shown)
    ;; A traceback, and the way to its place.
    (nrepl-py-test-write "def half(n):" "    return n / 0" "" "half(1)")
    (goto-char (point-min))
    (nrepl-py-eval-definition)
    (nrepl-py-test-idle)
    (goto-char (point-max))
    (nrepl-py-eval-last-expression)
    (should (equal " => ZeroDivisionError: division by zero" (nrepl-py-test-overlay)))
    (nrepl-py-overlay-clear)
    (save-current-buffer
      (set-buffer nrepl-py-error-buffer)
      (goto-char (point-min))
      (forward-button 1)
      (push-button)
      (should (equal file buffer-file-name))
      (should (looking-at-p "\\(    return \\)?n / 0")))
    (save-current-buffer
      (next-error 1)
      (should (equal "half(1)" (buffer-substring (line-beginning-position) (line-end-position)))))
    ;; Input, and a password.
    (cl-letf (((symbol-function 'read-string) (lambda (prompt &rest _) (format "%s Ada" prompt)))
              ((symbol-function 'read-passwd) (lambda (prompt &rest _) (format "hidden %s" prompt))))
      (should (equal "'NAME?  ADA'" (nrepl-py-test-value "input('name? ').upper()")))
      (should (equal "'hidden key: '" (nrepl-py-test-value "import getpass; getpass.getpass('key: ')"))))
    ;; A flood, which leaves the editor its own master.
    (let (status)
      (nrepl-py-eval (nrepl-py-current-session) "while True: print('x' * 70)" nil
                     (lambda (message) (when (nrepl-py-client-status-p message "done")
                                         (setq status (alist-get 'status message)))))
      (nrepl-py-test-repl-wait "x\\{70\\}")
      (nrepl-py-interrupt)
      (should (member "interrupted" (nrepl-py-test-wait "an interrupt" (lambda () status)))))
    ;; A branch, and the way back.
    (nrepl-py-branch "kept")
    (nrepl-py-test-wait "a copy" (lambda () (member "kept" (nrepl-py-test-names))))
    (should (equal '("done") (nrepl-py-test-value "del x")))
    (nrepl-py-restart-session "kept")
    (should (equal "[1, 2]" (nrepl-py-test-value "x")))
    ;; A connection that is lost while code runs.
    (let (value)
      (nrepl-py-eval (nrepl-py-current-session)
                     "import time\nfor n in range(60):\n    print('line', n)\n    time.sleep(.01)\n'end'"
                     nil (lambda (message) (when (alist-get 'value message)
                                             (setq value (alist-get 'value message)))))
      (nrepl-py-test-repl-wait "line 5\n")
      (nrepl-py-client-drop (nrepl-py-session-client (nrepl-py-current-session)) "a test")
      (should (equal "'end'" (nrepl-py-test-wait "the end" (lambda () value))))
      (should (string-search (mapconcat (lambda (n) (format "line %d\n" n)) (number-sequence 0 59) "")
                             (nrepl-py-test-repl))))
    ;; Another client in this session.
    (let* ((session (nrepl-py-current-session))
           (ours (nrepl-py-session-client session))
           (other (nrepl-py-client-open :url (nrepl-py-client-url ours)
                                        :token (nrepl-py-client-token ours)))
           value)
      (nrepl-py-client-request other "eval" (list :session (nrepl-py-session-id session)
                                                  :code "print('theirs'); y = 6 * 7; y")
                               (lambda (message) (when (alist-get 'value message)
                                                   (setq value (alist-get 'value message)))))
      (should (equal "42" (nrepl-py-test-wait "the other's value" (lambda () value))))
      (nrepl-py-test-repl-wait "; emacs: print('theirs'); y = 6 \\* 7; y\ntheirs\n42\n>>> \\'")
      (should (equal "42" (nrepl-py-test-value "y")))
      (nrepl-py-client-close other))))

(defun nrepl-py-test-names ()
  "What the sessions of the server are called."
  (mapcar (lambda (one) (alist-get 'name one))
          (alist-get 'sessions (nrepl-py-client-ask
                                (nrepl-py-session-client (nrepl-py-current-session))
                                "ls-sessions" nil 20))))

;;;; Parts

(ert-deftest nrepl-py-test-what-is-evaluated ()
  (with-temp-buffer
    (python-mode)
    (let (evaluated)
      (cl-letf (((symbol-function 'nrepl-py--eval)
                 (lambda (start end &rest _) (setq evaluated (nrepl-py--text start end)))))
        (pcase-dolist (`(,text ,command ,expected)
                       '(("y = f(1)[2].g('a|')" nrepl-py-eval-last-expression nil)
                         ("y = f(1)[2].g('a')|" nrepl-py-eval-last-expression "y = f(1)[2].g('a')")
                         ("y = f(1)[2].g('a')| + 1" nrepl-py-eval-last-expression "f(1)[2].g('a')")
                         ("z(a.b|, 2)" nrepl-py-eval-last-expression "a.b")
                         ("z(rb'x'|, 2)" nrepl-py-eval-last-expression "rb'x'")
                         ("x = {1: [2]}|\n" nrepl-py-eval-last-expression "x = {1: [2]}")
                         ("if 1:\n    f(\n        2)|\n" nrepl-py-eval-last-expression "f(\n    2)")
                         ("@d\n@e\ndef f():\n    '''\nx\n'''\n    return 1|\n\ng()" nrepl-py-eval-definition
                          "@d\n@e\ndef f():\n    '''\nx\n'''\n    return 1")
                         ("try:\n    f()|\nexcept E:\n    g()\nelse:\n    h()\n\ni()\n" nrepl-py-eval-definition
                          "try:\n    f()\nexcept E:\n    g()\nelse:\n    h()")
                         ("a = [\n1,\n2|\n]\nb" nrepl-py-eval-definition "a = [\n1,\n2\n]")
                         ("a\n# %%\nb|\nc\n#%%\nd" nrepl-py-eval-cell "b\nc\n")
                         ("a|\n# %%\nb" nrepl-py-eval-cell "a\n")
                         ("# %% x|\nb" nrepl-py-eval-cell "b")))
          (erase-buffer)
          (insert text)
          (goto-char (point-min))
          (search-forward "|")
          (delete-char -1)
          (when expected
            (funcall command)
            (should (equal (list text expected) (list text evaluated)))))))))

(ert-deftest nrepl-py-test-repl-types-and-asks ()
  (nrepl-py-test-with-server
    (cl-flet ((type (text)
                (goto-char (point-max))
                (insert text)
                (nrepl-py-repl-return)))
      (with-current-buffer (nrepl-py-repl-buffer (nrepl-py-current-session))
        (type "1 + 1")
        (nrepl-py-test-repl-wait "^>>> 1 \\+ 1\n2\n>>> \\'")
        (type "for n in range(2):")
        (nrepl-py-test-repl-wait "for n in range(2):\n    \\'")
        (type "print('n', n)")
        (nrepl-py-test-repl-wait "print('n', n)\n    \\'")
        (delete-region (line-beginning-position) (point-max))
        (nrepl-py-repl-return)
        (nrepl-py-test-repl-wait "n 0\nn 1\n>>> \\'")
        (type "'<' + input('who? ') + '>'")
        (nrepl-py-test-repl-wait "who\\? \\'")
        (type "me")
        (nrepl-py-test-repl-wait "who\\? me\n'<me>'\n>>> \\'")
        (comint-previous-input 2)
        (should (equal "'<' + input('who? ') + '>'" (nrepl-py-repl-input)))
        (comint-kill-input)
        (type "import sys; sys.stdin.read()")
        (nrepl-py-test-wait "a question" (lambda () nrepl-py-repl--asked))
        (nrepl-py-repl-end-of-file)
        (nrepl-py-test-repl-wait "''\n>>> \\'")
        (type "while True: pass")
        (nrepl-py-test-wait "a loop" (lambda () (nrepl-py-session-running nrepl-py-repl-session)))
        (nrepl-py-repl-interrupt)
        (nrepl-py-test-repl-wait "; interrupted\n>>> \\'")
        (goto-char (point-max))
        (insert "sys.getrefc")
        (completion-at-point)
        (should (equal "sys.getrefcount" (nrepl-py-repl-input)))
        ;; What comes meanwhile stands above what is being typed.
        (nrepl-py-test-value "print('meanwhile')")
        (nrepl-py-test-repl-wait "meanwhile\n>>> sys.getrefcount\\'")))))

(ert-deftest nrepl-py-test-assistance-beside-a-busy-eval ()
  (nrepl-py-test-with-server
    (nrepl-py-test-write "def greet(name, loud=False):" "    'Say hello.'" "    return name" "")
    (nrepl-py-load-buffer)
    (nrepl-py-test-idle)
    (nrepl-py-eval (nrepl-py-current-session) "while True: pass" nil #'ignore)
    (goto-char (point-max))
    (insert "gree")
    (should (equal '("greet") (nth 2 (nrepl-py-complete-at-point))))
    (insert "t('Ada', ")
    (let (doc)
      (nrepl-py-eldoc (lambda (text) (setq doc text)))
      (nrepl-py-test-wait "a signature" (lambda () doc))
      (should (equal "greet(name, loud=False)" (substring-no-properties doc)))
      (should (get-text-property (string-search "loud" doc) 'face doc)))
    (search-backward "eet")
    (should (eq 'nrepl-py (xref-find-backend)))
    (let ((found (xref-backend-definitions 'nrepl-py (xref-backend-identifier-at-point 'nrepl-py))))
      (should (= 1 (length found)))
      (let ((marker (xref-location-marker (xref-item-location (car found)))))
        (should (equal file (buffer-file-name (marker-buffer marker))))
        (should (= 1 (line-number-at-pos marker)))))
    (nrepl-py-doc "greet")
    (nrepl-py-test-wait "documentation" (lambda () (get-buffer "*nrepl-py doc*")))
    (should (string-search "Say hello." (with-current-buffer "*nrepl-py doc*" (buffer-string))))
    (should (string-search "busy" (nrepl-py-lighter)))
    (nrepl-py-interrupt)
    (nrepl-py-test-idle)))

(ert-deftest nrepl-py-test-list ()
  (nrepl-py-test-with-server
    (let ((first (nrepl-py-current-session))
          (origin (current-buffer)))
      (nrepl-py-test-value "x = 1")
      (nrepl-py-list-sessions)
      (with-current-buffer "*nrepl-py sessions*"
        (nrepl-py-test-wait "a list" (lambda () (= 1 (length tabulated-list-entries))))
        (goto-char (point-min))
        (should (string-match-p (regexp-quote (nrepl-py-session-label first)) (buffer-string)))
        (nrepl-py-list-clone "twin")
        (nrepl-py-test-wait "a copy" (lambda () (= 2 (length tabulated-list-entries))))
        (goto-char (point-min))
        (search-forward "twin")
        (nrepl-py-list-switch)
        (nrepl-py-test-wait "a switch" (lambda () (not (eq first (with-current-buffer origin
                                                                   (nrepl-py-current-session)))))))
      (with-current-buffer origin
        (should (equal "twin" (nrepl-py-session-name (nrepl-py-current-session))))
        (should (equal "2" (nrepl-py-test-value "x += 1; x"))))
      (with-current-buffer "*nrepl-py sessions*"
        (goto-char (point-min))
        (search-forward "twin")
        (nrepl-py-list-restart-from (nrepl-py-session-id first)))
      (with-current-buffer origin
        (nrepl-py-test-repl-wait "fresh interpreter")
        (should (equal "1" (nrepl-py-test-value "x")))
        (with-current-buffer "*nrepl-py sessions*"
          (cl-letf (((symbol-function 'yes-or-no-p) #'always)) (nrepl-py-list-close))
          (nrepl-py-test-wait "its end" (lambda () (= 1 (length tabulated-list-entries)))))
        (should (eq first (nrepl-py-current-session)))))))

(ert-deftest nrepl-py-test-org ()
  (nrepl-py-test-with-server
    (let ((org-confirm-babel-evaluate nil)
          (nrepl-py-org-seconds 20))
      (with-temp-buffer
        (org-mode)
        (cl-flet ((run (header code)
                    (erase-buffer)
                    (insert "#+begin_src nrepl-py " header "\n" code "\n#+end_src\n")
                    (goto-char (point-min))
                    (org-babel-execute-src-block)
                    (buffer-substring-no-properties
                     (save-excursion (goto-char (point-min)) (search-forward "#+end_src\n") (point))
                     (point-max))))
          (should (equal "\n#+RESULTS:\n: 42\n" (run ":session a" "n = 6 * 7\nn")))
          (should (equal "\n#+RESULTS:\n: 43\n" (run ":session a :var m=1" "n + m")))
          (should (equal "\n#+RESULTS:\n: NameError: name 'n' is not defined\n" (run "" "n")))
          (should (equal "\n#+RESULTS:\n| 1 | a |\n| 2 | b |\n" (run "" "[(1, 'a'), (2, 'b')]")))
          (should (equal "\n#+RESULTS:\n: one\n: two\n" (run ":results output" "print('one')\nprint('two')")))
          (should (string-match-p "nrepl-py-[0-9a-f]\\{16\\}"
                                  (run ":session a :async yes" "import time; time.sleep(.1); 'late'")))
          (nrepl-py-test-wait "a late result"
                              (lambda () (string-match-p "#\\+RESULTS:\n: late\n" (buffer-string))))
          (run ":results file :file plot.png"
               (format "class P:\n    def _repr_png_(self):\n        import base64\n        return base64.b64decode('%s')\nP()"
                       nrepl-py-test-png))
          (should (string-search "[[file:plot.png]]" (buffer-string)))
          (should (equal (base64-decode-string nrepl-py-test-png)
                         (with-temp-buffer (set-buffer-multibyte nil)
                                           (insert-file-contents-literally "plot.png")
                                           (buffer-string)))))))))

;;;; What goes wrong

(ert-deftest nrepl-py-test-no-server ()
  (let ((default-directory nrepl-py-test-directory))
    (should (string-match-p "No server runs for .*M-x nrepl-py-jack-in"
                            (cadr (should-error (nrepl-py-connect) :type 'user-error))))
    (should (string-match-p "Not connected.*M-x nrepl-py-jack-in"
                            (cadr (should-error (nrepl-py-current-session) :type 'user-error))))
    (should (string-match-p "no server lets us in at ws://127.0.0.1:9: connection refused .*nrepl-py-jack-in"
                            (nrepl-py-test-refusal '((url . "ws://127.0.0.1:9") (token . "x")))))
    (should (string-match-p "http://x is no address of a server"
                            (nrepl-py-test-refusal '((url . "http://x") (token . "x")))))
    (let ((nrepl-py-command '("false")))
      (should (string-match-p "false serve ended"
                              (let (said)
                                (nrepl-py-server-start default-directory (lambda (what) (setq said what)))
                                (nrepl-py-test-wait "a failure" (lambda () said))))))))

(defun nrepl-py-test-refusal (server)
  "Why there is no connection to SERVER."
  (let (said)
    (nrepl-py-connection-open server default-directory (lambda (what) (setq said what)))
    (nrepl-py-test-wait "a refusal" (lambda () said))))

(ert-deftest nrepl-py-test-refusals ()
  (nrepl-py-test-with-server
    (let* ((client (nrepl-py-session-client (nrepl-py-current-session)))
           (server `((url . ,(nrepl-py-client-url client)) (token . "a guess"))))
      (should (string-match-p "the token is not this server's.*nrepl-py-connect again"
                              (nrepl-py-test-refusal server)))
      (let ((nrepl-py-client-protocol 99))
        (setf (alist-get 'token server) (nrepl-py-client-token client))
        (should (string-match-p "this server speaks version 1, not 99.*update nrepl-py"
                                (nrepl-py-test-refusal server))))
      (let (said)
        (nrepl-py-session-new connection '(:python "/no/such/python") (lambda (what) (setq said what)))
        (should (string-match-p "no interpreter '/no/such/python'.*nrepl-py-python"
                                (nrepl-py-test-wait "a refusal" (lambda () said)))))
      (should (equal "invalid-message"
                     (nrepl-py-test-value (make-string (1+ nrepl-py-client-max-frame) ?#)))))))

(ert-deftest nrepl-py-test-the-interpreter-dies ()
  (nrepl-py-test-with-server
    (nrepl-py-test-write "import os" "os._exit(3)")
    (mark-whole-buffer)
    (nrepl-py-eval-region (point-min) (point-max))
    (should (string-match-p "the interpreter died: exit, code 3" (nrepl-py-test-overlay)))
    (nrepl-py-test-repl-wait "the interpreter has died (exit, code 3); the next eval starts another")
    (should (equal "1" (nrepl-py-test-value "1")))))

(ert-deftest nrepl-py-test-the-server-dies ()
  (nrepl-py-test-with-server
    (nrepl-py-test-write "import time; time.sleep(100)")
    (nrepl-py-eval-last-expression)
    (nrepl-py-test-wait "it runs" (lambda () (nrepl-py-session-running (nrepl-py-current-session))))
    (signal-process (nrepl-py-connection-process connection) 'KILL)
    (should (string-match-p "\\(has ended\\|was lost\\|lets us in\\).*nrepl-py-jack-in" (nrepl-py-test-overlay)))
    (should-not (nrepl-py-session-if-any))
    ;; The next command line would find that it is nobody's.
    (mapc #'delete-file
          (directory-files (nrepl-py-server-directory) t
                           (format "\\`%d-" (process-id (nrepl-py-connection-process connection)))))))

(provide 'nrepl-py-test)
;;; nrepl-py-test.el ends here
