;;; nrepl-py-server.el --- Finding and starting nrepl-py servers  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: MIT

;;; Commentary:

;; A server writes a connection file with its address and token, for its user only, into a runtime
;; directory of the user's.  The server for a directory is the one that was started there, or nearest
;; above it; of several, the one started last.

;;; Code:

(require 'cl-lib)
(require 'json)
(require 'seq)
(require 'subr-x)

(defgroup nrepl-py nil
  "Evaluate Python in the live sessions of an nrepl-py server."
  :group 'languages
  :prefix "nrepl-py-")

(defcustom nrepl-py-command nil
  "The program nrepl-py, as a list of strings; nil: look for it.
It is looked for in the directory .venv of the project and those above it,
then in the variable `exec-path'."
  :type '(choice (const :tag "Look for it" nil) (repeat string)))

(defcustom nrepl-py-serve-arguments nil
  "What `nrepl-py serve' is given, as a list of strings.
For example (\"--sandbox\" \"process\" \"--preload\" \"numpy\")."
  :type '(repeat string))

(defconst nrepl-py-server-start-seconds 60
  "How long a server may take to start.")

(defun nrepl-py-server-directory ()
  "The directory of connection files, or nil where there is none to be believed."
  (let* ((runtime (getenv "XDG_RUNTIME_DIR"))
         (place (if (and runtime (file-name-absolute-p runtime) (file-directory-p runtime))
                    (expand-file-name "nrepl-py" runtime)
                  (expand-file-name (format "nrepl-py-%d" (user-uid)) (or (getenv "TMPDIR") "/tmp")))))
    (and (file-directory-p place) (nrepl-py-server--private-p place) place)))

(defun nrepl-py-server-all ()
  "The servers of this user that run, as alists, newest first."
  (when-let ((place (nrepl-py-server-directory)))
    (sort (seq-filter #'nrepl-py-server-alive-p
                      (delq nil (mapcar #'nrepl-py-server-read
                                        (directory-files place t "\\.json\\'" t))))
          (lambda (a b) (> (alist-get 'started a) (alist-get 'started b))))))

(defun nrepl-py-server-find (directory)
  "The server for DIRECTORY, or nil."
  (let ((here (file-name-as-directory (file-truename directory)))
        (best nil) (depth 0))
    (dolist (server (nrepl-py-server-all) best)
      (let ((cwd (file-name-as-directory (file-truename (alist-get 'cwd server)))))
        (when (and (string-prefix-p cwd here) (> (length cwd) depth))
          (setq best server depth (length cwd)))))))

(defun nrepl-py-server-read (file)
  "What the connection FILE says, as an alist; nil: it is not to be believed."
  (when (and (file-regular-p file) (not (file-symlink-p file)) (nrepl-py-server--private-p file))
    (ignore-errors
      (with-temp-buffer
        (insert-file-contents file nil 0 65536)
        (let ((server (json-parse-buffer :object-type 'alist :null-object nil)))
          (and (stringp (alist-get 'url server)) (stringp (alist-get 'token server))
               (stringp (alist-get 'cwd server)) (numberp (alist-get 'started server))
               (integerp (alist-get 'pid server)) server))))))

(defun nrepl-py-server-alive-p (server)
  "Whether the process of SERVER still runs."
  (let* ((pid (alist-get 'pid server))
         (stat (format "/proc/%d/stat" pid)))
    (cond
     ((not (file-exists-p "/proc/self/stat")) (and (process-attributes pid) t))
     ((file-readable-p stat)
      (with-temp-buffer
        (and (ignore-errors (insert-file-contents stat) t)
             (let* ((fields (progn (goto-char (point-max))
                                   (search-backward ")")
                                   (split-string (buffer-substring (1+ (point)) (point-max))))))
               ;; Fields count from 1, those after the command from 3.  Z has ended; the start is 22.
               (and (not (member (car fields) '("Z" "X")))
                    (equal (nth 19 fields) (alist-get 'pid-start server))))))))))

(defun nrepl-py-server--private-p (file)
  "Whether FILE is this user's, and nobody else can read it."
  (and (equal (file-attribute-user-id (file-attributes file 'integer)) (user-uid))
       (zerop (logand (file-modes file) #o077))))

;;;; Starting one

(defun nrepl-py-server-program (directory)
  "The command that is nrepl-py in DIRECTORY, a list.
Signals an error where there is none."
  (let ((there (locate-dominating-file
                directory (lambda (above)
                            (file-executable-p (expand-file-name ".venv/bin/nrepl-py" above))))))
    (cond
     (nrepl-py-command)
     (there (list (expand-file-name ".venv/bin/nrepl-py" there)))
     ((executable-find "nrepl-py") (list "nrepl-py"))
     (t (user-error (concat "There is no nrepl-py in .venv or on `exec-path': install it"
                            " (pip install nrepl-py), or set `nrepl-py-command'"))))))

(defun nrepl-py-server-start (directory callback)
  "Start a server in DIRECTORY.
CALLBACK is called with it, or with a sentence why not.  Returns the process,
which ends with Emacs."
  (let* ((default-directory (file-name-as-directory directory))
         (command (append (nrepl-py-server-program directory) '("serve") nrepl-py-serve-arguments))
         (output (generate-new-buffer (format " *nrepl-py serve %s*" directory)))
         (told nil) timer process)
    (cl-flet ((tell (what)
                (unless told
                  (setq told t)
                  (when timer (cancel-timer timer))
                  (funcall callback what))))
      (setq process
            (make-process
             :name "nrepl-py serve" :buffer output :command command :noquery t :connection-type 'pipe
             :filter (lambda (process text)
                       (internal-default-process-filter process text)
                       (nrepl-py-server--heard process directory #'tell))
             :sentinel (lambda (process _)
                         (unless (process-live-p process)
                           (tell (nrepl-py-server--failure process command))
                           (kill-buffer output)))))
      (setq timer (run-at-time nrepl-py-server-start-seconds nil
                               (lambda ()
                                 (tell (format "%s did not start within %d s" (string-join command " ")
                                               nrepl-py-server-start-seconds))
                                 (delete-process process))))
      process)))

(defun nrepl-py-server--heard (process directory tell)
  "Call TELL with the server of PROCESS, in DIRECTORY, when it says it is ready."
  (with-current-buffer (process-buffer process)
    (save-excursion
      (goto-char (point-min))
      (when (re-search-forward "^nREPL server started on .*\n" nil t)
        (delete-region (point-min) (point))
        (funcall tell
                 (or (seq-find (lambda (server) (eql (alist-get 'pid server) (process-id process)))
                               (nrepl-py-server-all))
                     (nrepl-py-server-find directory)
                     "the server runs, but its connection file cannot be found"))))))

(defun nrepl-py-server--failure (process command)
  "Why the server PROCESS, started by COMMAND, has ended."
  (let ((said (with-current-buffer (process-buffer process) (string-trim (buffer-string)))))
    (format "%s ended%s" (string-join command " ") (if (string-empty-p said) "" (concat ": " said)))))

(provide 'nrepl-py-server)
;;; nrepl-py-server.el ends here
