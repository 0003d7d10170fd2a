;;; nrepl-py-session.el --- Connections and sessions of nrepl-py  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: MIT

;;; Commentary:

;; Which session a buffer evaluates in, and what becomes of all that a session says: output and images go
;; to its sink, which is its REPL; questions to the user; the rest to whoever asked for the eval.

;;; Code:

(require 'cl-lib)
(require 'nrepl-py-client)
(require 'nrepl-py-server)
(require 'seq)
(require 'subr-x)

(defcustom nrepl-py-python nil
  "The interpreter of new sessions: a path, or a name on the server's PATH.
If nil, .venv/bin/python of the project where there is one, else the server's
own."
  :group 'nrepl-py
  :type '(choice (const :tag "Of the project, else the server's" nil) string))

(cl-defstruct (nrepl-py-connection (:copier nil))
  "A server in use: its CLIENT, the DIRECTORY it is for, its PROCESS if it was
started here, its SESSIONS that are followed, and the CURRENT one of them."
  client directory process sessions current)

(cl-defstruct (nrepl-py-session (:copier nil))
  "A session that is followed here.
SINK is called with a kind and a value, for what is to be shown.  RUNNING: ids of
the open evals of ours."
  connection id name sink running)

(defvar nrepl-py-connections nil
  "The connections there are, newest first.")

(defvar nrepl-py-session-open-hook nil
  "Functions called with each session that is followed from now on.")

(defvar nrepl-py-session-change-hook nil
  "Functions called when a session or connection has changed its state.")

(defvar-local nrepl-py--buffer-session nil
  "The session that this buffer was told to evaluate in.")

(defun nrepl-py-session-client (session)
  "The client of SESSION."
  (nrepl-py-connection-client (nrepl-py-session-connection session)))

(defun nrepl-py-session-label (session)
  "What SESSION is called."
  (or (nrepl-py-session-name session) (nrepl-py-session-id session)))

(defun nrepl-py-session-live-p (session)
  "Whether SESSION can be asked anything."
  (let ((connection (nrepl-py-session-connection session)))
    (and (memq session (nrepl-py-connection-sessions connection))
         (nrepl-py-client-live-p (nrepl-py-connection-client connection)))))

(defun nrepl-py-connection-for (directory)
  "The connection for DIRECTORY: the nearest above it, else the newest, or nil."
  (let ((here (expand-file-name directory)) (best nil) (depth -1))
    (dolist (connection nrepl-py-connections best)
      (let* ((place (file-name-as-directory
                     (expand-file-name (nrepl-py-connection-directory connection))))
             (near (if (string-prefix-p place here) (length place) 0)))
        (when (> near depth)
          (setq best connection depth near))))))

(defun nrepl-py-session-if-any ()
  "The session that this buffer evaluates in, or nil."
  (if (and nrepl-py--buffer-session (nrepl-py-session-live-p nrepl-py--buffer-session))
      nrepl-py--buffer-session
    (when-let ((connection (nrepl-py-connection-for default-directory)))
      (nrepl-py-connection-current connection))))

(defun nrepl-py-current-session ()
  "The session that this buffer evaluates in; signals an error where there is none."
  (or (nrepl-py-session-if-any)
      (user-error "Not connected: start a server with M-x nrepl-py-jack-in, or M-x nrepl-py-connect")))

(defun nrepl-py-use-session (session &optional buffer)
  "Evaluate in SESSION from now on, in BUFFER and where nothing else was said."
  (setf (nrepl-py-connection-current (nrepl-py-session-connection session)) session)
  (when (buffer-live-p buffer)
    (with-current-buffer buffer (setq nrepl-py--buffer-session session)))
  (run-hooks 'nrepl-py-session-change-hook)
  (force-mode-line-update t))

;;;; What went wrong, and what to do

(defconst nrepl-py--advice
  '(("no-server" . "start one with M-x nrepl-py-jack-in")
    ("unauthorized" . "the token is wrong or was revoked: M-x nrepl-py-connect again")
    ("unsupported-version" . "update nrepl-py, or nrepl-py.el, so that both speak one version")
    ("start-failed" . "see `nrepl-py-python', then M-x nrepl-py-restart-session")
    ("connection-lost" . "M-x nrepl-py-connect, or M-x nrepl-py-jack-in for a new server")
    ("unknown-session" . "M-x nrepl-py-list-sessions shows which there are"))
  "What to do about errors, by their codes.")

(defun nrepl-py-explain (code why)
  "A sentence on the error CODE with the sentence WHY, and what to do."
  (if-let ((advice (cdr (assoc code nrepl-py--advice))))
      (format "nrepl-py: %s (%s)" why advice)
    (format "nrepl-py: %s" why)))

(defun nrepl-py-request (session op fields &optional callback)
  "Ask for OP with FIELDS in SESSION.
CALLBACK is called with the last reply; errors are shown and not given to it."
  (nrepl-py-client-request
   (nrepl-py-session-client session) op (append (list :session (nrepl-py-session-id session)) fields)
   (lambda (reply)
     (when (nrepl-py-client-status-p reply "done")
       (if-let ((failure (nrepl-py-client-error reply)))
           (message "%s" (apply #'nrepl-py-explain failure))
         (when callback (funcall callback reply)))))))

;;;; Connections

(defun nrepl-py-connection-open (server directory &optional callback process)
  "Connect to SERVER, as a connection file tells it, for DIRECTORY.
PROCESS: the server's, if it was started here.  CALLBACK is called once: with
the connection, or with a sentence why there is none.  Returns the connection."
  (let* ((connection (make-nrepl-py-connection :directory directory :process process))
         (alive-p (and (alist-get 'pid server) (lambda () (nrepl-py-server-alive-p server))))
         (told nil)
         (tell (lambda (what) (unless told (setq told t) (when callback (funcall callback what))))))
    (setf (nrepl-py-connection-client connection)
          (nrepl-py-client-open
           :url (alist-get 'url server) :unix (alist-get 'unix server) :token (alist-get 'token server)
           :certfile (alist-get 'certfile server) :alive-p alive-p
           :listener (lambda (_ what &rest data)
                       (nrepl-py-connection--heard connection what data tell))))
    connection))

(defun nrepl-py-connection-close (connection)
  "Leave CONNECTION, and end its server if it was started here."
  (nrepl-py-client-close (nrepl-py-connection-client connection))
  (when (process-live-p (nrepl-py-connection-process connection))
    (interrupt-process (nrepl-py-connection-process connection))))

(defun nrepl-py-connection--heard (connection what data tell)
  "The client of CONNECTION says WHAT with DATA; TELL is for whoever opened it."
  (pcase (cons what data)
    (`(up ,_)
     (if (memq connection nrepl-py-connections)
         (message "nrepl-py: connected again")
       (push connection nrepl-py-connections))
     (funcall tell connection))
    (`(down ,reason ,seconds)
     (when (> seconds 1)
       (message "nrepl-py: not connected (%s); next attempt in %.0f s" reason seconds)))
    (`(over ,code ,why)
     (setq nrepl-py-connections (delq connection nrepl-py-connections))
     (dolist (session (nrepl-py-connection-sessions connection))
       (nrepl-py-session-show session 'note (format "%s" why)))
     (let ((sentence (nrepl-py-explain code why)))
       (unless (equal code "closed") (message "%s" sentence))
       (funcall tell sentence)))
    (`(gap ,id ,from ,to)
     (when-let ((session (nrepl-py-connection-find connection id)))
       (nrepl-py-session-show session 'note (format "%d messages are gone from the server's log"
                                                    (- to from -1)))))
    (`(event ,message) (nrepl-py-session--event connection message))
    (`(other ,message) (nrepl-py-session--other connection message)))
  (run-hooks 'nrepl-py-session-change-hook)
  (force-mode-line-update t))

(defun nrepl-py-connection-find (connection id)
  "The session ID of CONNECTION that is followed, or nil."
  (seq-find (lambda (session) (equal id (nrepl-py-session-id session)))
            (nrepl-py-connection-sessions connection)))

;;;; Sessions

(defun nrepl-py-session-new (connection fields callback)
  "Make a session on CONNECTION by `clone' with FIELDS.
CALLBACK is called with it, or with a sentence why there is none."
  (nrepl-py-client-request
   (nrepl-py-connection-client connection) "clone" fields
   (lambda (reply)
     (funcall callback
              (if-let ((failure (nrepl-py-client-error reply)))
                  (apply #'nrepl-py-explain failure)
                (nrepl-py-session--add connection (alist-get 'new-session reply)
                                       (plist-get fields :name)))))))

(defun nrepl-py-session-follow (connection id name callback)
  "Attach to the session ID of CONNECTION, called NAME.
CALLBACK is called with it, or with a sentence why not."
  (if-let ((session (nrepl-py-connection-find connection id)))
      (funcall callback session)
    (nrepl-py-client-request
     (nrepl-py-connection-client connection) "attach" (list :session id)
     (lambda (reply)
       (funcall callback
                (if-let ((failure (nrepl-py-client-error reply)))
                    (apply #'nrepl-py-explain failure)
                  (nrepl-py-session--add connection (alist-get 'session reply) name)))))))

(defun nrepl-py-session--add (connection id name)
  "Follow the session ID of CONNECTION, called NAME; return it."
  (let ((session (make-nrepl-py-session :connection connection :id id :name name)))
    (push session (nrepl-py-connection-sessions connection))
    (unless (nrepl-py-connection-current connection)
      (setf (nrepl-py-connection-current connection) session))
    (run-hook-with-args 'nrepl-py-session-open-hook session)
    session))

(defun nrepl-py-session-show (session kind value)
  "Show VALUE of KIND in SESSION's sink.
Kinds are `out', `err', `value', `display', `note' and `input'."
  (when-let ((sink (nrepl-py-session-sink session)))
    (funcall sink kind value)))

(defun nrepl-py-session--event (connection message)
  "MESSAGE is an event of a session of CONNECTION."
  (when-let ((session (nrepl-py-connection-find connection (alist-get 'session message))))
    (pcase (alist-get 'event message)
      ("died" (nrepl-py-session-show
               session 'note (format "the interpreter has died (%s)%s"
                                     (nrepl-py-cause (alist-get 'cause message))
                                     (if (alist-get 'crash-loop message)
                                         "; M-x nrepl-py-restart-session starts another"
                                       "; the next eval starts another"))))
      ("restarted" (nrepl-py-session-show session 'note "a fresh interpreter"))
      ("culling" (nrepl-py-session-show
                  session 'note (format "not used for long: ends in %s s" (alist-get 'seconds message))))
      ("closed" (nrepl-py-session-show session 'note "this session was closed")
                (nrepl-py-session--gone session)))))

(defun nrepl-py-session--gone (session)
  "SESSION is there no more."
  (let* ((connection (nrepl-py-session-connection session))
         (left (delq session (nrepl-py-connection-sessions connection))))
    (setf (nrepl-py-connection-sessions connection) left)
    (when (eq session (nrepl-py-connection-current connection))
      (setf (nrepl-py-connection-current connection) (car left)))))

(defun nrepl-py-cause (cause)
  "A few words on the CAUSE of a worker's death."
  (let-alist cause
    (string-join (delq nil (list (or .kind "unknown")
                                 (and .code (format "code %s" .code)) .signal
                                 (and .by (format "by %s" .by))
                                 (and .last-stderr (string-trim .last-stderr))))
                 ", ")))

(defun nrepl-py-session--other (connection message)
  "MESSAGE of a session of CONNECTION is of no eval of ours that is open."
  (when-let ((session (nrepl-py-connection-find connection (alist-get 'session message))))
    (let-alist message
      (when .started
        (nrepl-py-session-show session 'input (cons (or .started.client "another client")
                                                    .started.code)))
      (nrepl-py-session-output session message)
      (when .value (nrepl-py-session-show session 'value .value)))))

(defun nrepl-py-session-output (session message)
  "Show what MESSAGE has written or displayed in SESSION."
  (let-alist message
    (when .out (nrepl-py-session-show session 'out .out))
    (when .err (nrepl-py-session-show session 'err .err))
    (when .display (nrepl-py-session-show session 'display .display))
    (when-let ((image (alist-get 'image/png .mime)))
      (nrepl-py-session-show session 'display `((mime (image/png . ,image)))))))

;;;; Evals

(defun nrepl-py-eval (session code fields handler &optional asker op)
  "Evaluate CODE in SESSION, with the eval's FIELDS; return its id.
Its output goes to the session's sink and each message to HANDLER.  ASKER is
called with a prompt, and whether it is for a password, when it wants input,
and returns non-nil if it sees to it; else the minibuffer asks.  OP: \"eval\"
if nil."
  (let (id)
    (setq id (nrepl-py-client-request
              (nrepl-py-session-client session) (or op "eval")
              (append (list :session (nrepl-py-session-id session) :code code :mime ["image/png"]) fields)
              (lambda (message)
                (when (nrepl-py-client-status-p message "done")
                  (setf (nrepl-py-session-running session) (delete id (nrepl-py-session-running session)))
                  (force-mode-line-update t))
                (nrepl-py-session-output session message)
                (when (nrepl-py-client-status-p message "need-input")
                  (nrepl-py-session--asked session id message asker))
                (funcall handler message))))
    (when (gethash id (nrepl-py-client-requests (nrepl-py-session-client session)))
      (push id (nrepl-py-session-running session))
      (force-mode-line-update t))
    id))

(defun nrepl-py-session--asked (session id message asker)
  "The eval ID in SESSION wants input, as MESSAGE says.
ASKER is as in `nrepl-py-eval'."
  (let-alist message
    (unless (and asker (not .password) (funcall asker .prompt .password))
      ;; Not from here: a process filter must not wait.
      (run-at-time 0 nil #'nrepl-py-session--ask session id (or .prompt "") .password))))

(defvar nrepl-py--asking nil
  "The ids of the evals whose input is being asked for.")

(defun nrepl-py-session--ask (session id prompt password)
  "Ask for the input of the eval ID in SESSION, with PROMPT; hidden if PASSWORD.
Leaving the question interrupts the eval."
  (cond
   ((or (member id nrepl-py--asking) (not (member id (nrepl-py-session-running session)))))
   ((active-minibuffer-window)          ; when that is done
    (run-at-time 0.3 nil #'nrepl-py-session--ask session id prompt password))
   (t (condition-case nil
          (let* ((nrepl-py--asking (cons id nrepl-py--asking))
                 (shown (if (string-blank-p prompt)
                            (format "Input for %s: " (nrepl-py-session-label session)) prompt))
                 (text (if password (read-passwd shown) (read-string shown))))
            (nrepl-py-session-answer session text))
        (quit (nrepl-py-interrupt-eval session id))))))

(defun nrepl-py-session-answer (session text)
  "Give TEXT, a line, to what runs in SESSION."
  (nrepl-py-request session "stdin" (list :stdin (concat text "\n"))
                    (lambda (reply)
                      (when (nrepl-py-client-status-p reply "session-idle")
                        (message "nrepl-py: the input came too late, nothing waits for it")))))

(defun nrepl-py-interrupt-eval (session id)
  "Interrupt the eval ID in SESSION, or with nil what runs there."
  (nrepl-py-request
   session "interrupt" (and id (list :interrupt-id id))
   (lambda (reply)
     (cond ((nrepl-py-client-status-p reply "session-idle") (message "nrepl-py: nothing runs"))
           ((nrepl-py-client-status-p reply "still-running")
            (message "nrepl-py: it goes on all the same; M-x nrepl-py-restart-session ends it"))))))

(provide 'nrepl-py-session)
;;; nrepl-py-session.el ends here
