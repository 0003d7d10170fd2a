;;; nrepl-py-client.el --- The client's part of the nrepl-py protocol  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: MIT

;;; Commentary:

;; Which message answers which request, and how a connection that broke is taken up again.  There is
;; no user interface in here: callers give a function that is called with each reply to their request,
;; and one that is told what answers no request.
;;
;;     down --connected--> greeting --hello answered--> up     a lost connection leads back to down,
;;                                                             and what is final to over
;;
;; A message is an alist as `json-parse-string' makes it, with false and null as nil.  A request is
;; open until a reply has "done" in its status, and has exactly one such reply: where the server can
;; give none, it is made here, an error with the code "connection-lost", "no-server" or "replay-gap".
;;
;; After a reconnection: `hello'; then for each session `attach' with the last `seq' that was seen;
;; when that is answered, the evals that nothing was heard of, once more.  The order matters: an eval
;; whose messages may be gone from the log is not sent again, so no code runs twice.

;;; Code:

(require 'cl-lib)
(require 'json)
(require 'nrepl-py-socket)
(require 'subr-x)

(defconst nrepl-py-client-version "0.1.0"
  "What `hello' says that this is.")

(defvar nrepl-py-client-protocol 1
  "The version of the protocol that is spoken here.")

(defvar nrepl-py-client-max-frame (* 4 1024 1024)
  "Bytes of the largest request that servers take.")

(defconst nrepl-py-client--takes '(:max-frame 262144 :max-value 33554432)
  "The largest messages taken, in bytes: Emacs reads large ones slowly.")

(defconst nrepl-py-client--open-seconds 10
  "Until a server must have let us in: as long as it waits for a token itself.")

(defconst nrepl-py-client--tick-seconds 10
  "After two silent ticks something is asked; after four it is dropped.")

(defconst nrepl-py-client--attempts 3
  "Connections that a request is sent on, each of which breaks.
By then it is what breaks them.")

(defvar nrepl-py-client-retry-seconds '(0.2 10 300)
  "Seconds between attempts to reconnect: at first, at most, and altogether.
They are doubled from one to the next; the first attempt is made at once.")

(defconst nrepl-py-client--again
  '("describe" "ls-sessions" "completions" "signature" "lookup" "is-complete" "close" "detach" "attach")
  "Ops that change nothing, or nothing more the second time.")

(cl-defstruct (nrepl-py-client (:constructor nrepl-py-client--make) (:copier nil))
  "A connection to a server, that comes back when it breaks."
  url unix certfile token listener alive-p
  (phase 'down) (prefix (format "%08x%08x" (random (ash 1 32)) (random (ash 1 32)))) (count 0)
  (requests (make-hash-table :test #'equal)) (streams (make-hash-table :test #'equal))
  socket timer ticker (silent 0) (attempts 0) (waited 0) was-up greeting failure)

(cl-defstruct (nrepl-py-client--request (:conc-name nrepl-py-client--request-))
  "An open request.
AGAIN: sent on an earlier connection too.  HEARD: an eval's, it has begun.
QUESTION: the message by which it asked for input.  ASK: what it was told may
be lost.  RESUME: an `attach' of our own, after a lost connection."
  id number op fields callback sent again heard question ask resume (attempts 0))

(cl-defstruct nrepl-py-client--stream
  "What is known of a session's stream.
SEEN: the last number given out.  WANTED: all of it.  WHOLE: each number will
come on this connection.  RESUMING: requests wait for an `attach'."
  id (seen 0) wanted whole resuming gapped)

;;;; What callers want

(cl-defun nrepl-py-client-open (&key url unix certfile token listener alive-p)
  "Connect to the server at URL, or at the Unix socket UNIX, with TOKEN.
Returns the client at once.  CERTFILE has the server's certificate, ALIVE-P
says whether the server still runs.  LISTENER is called with the client, a
symbol and data:
`up' and the reply of hello; `down', the reason and the seconds until the next
attempt; `over', a code and the reason; `event' and a session's event; `other'
and what a session says that no request of ours asked for; `gap', a session
and the first and last number that are gone."
  (let ((client (nrepl-py-client--make :url (or url "ws://localhost") :unix unix :certfile certfile
                                       :token token :listener (or listener #'ignore) :alive-p alive-p)))
    (nrepl-py-client--dial client)
    client))

(defun nrepl-py-client-request (client op fields callback)
  "Ask CLIENT's server for OP with FIELDS, a plist.
CALLBACK is called with each reply.  It is sent now, or when there is a
connection.  Returns its id."
  (let* ((number (cl-incf (nrepl-py-client-count client)))
         (id (format "%s-%d" (nrepl-py-client-prefix client) number))
         (request (make-nrepl-py-client--request :id id :number number :op op :fields fields
                                                 :callback callback)))
    (puthash id request (nrepl-py-client-requests client))
    (pcase (nrepl-py-client-failure client)
      (`(,code ,why) (nrepl-py-client--fail client request code why))
      (_ (nrepl-py-client--flush client)))
    id))

(defun nrepl-py-client-ask (client op fields seconds)
  "The reply of CLIENT's server to OP with FIELDS.
It is nil where there is none within SECONDS: for what Emacs wants at once.
It does not wait longer than until a key is pressed."
  (when (eq (nrepl-py-client-phase client) 'up)
    (let* ((reply nil)
           (deadline (+ (float-time) seconds))
           (id (nrepl-py-client-request client op fields (lambda (message) (setq reply message)))))
      (unwind-protect
          (while (not (or reply (>= (float-time) deadline) (input-pending-p)))
            (nrepl-py-client-wait client 0.02))
        (unless reply (nrepl-py-client-forget client id)))
      reply)))

(defun nrepl-py-client-wait (client seconds)
  "Let happen what happens, until something comes for CLIENT, or for SECONDS."
  ;; Without a process Emacs waits 10 ms more, for what else may come.
  (let ((socket (nrepl-py-client-socket client)))
    (accept-process-output (and socket (nrepl-py-socket-process socket)) seconds)))

(defun nrepl-py-client-forget (client id)
  "Let nobody hear any more of CLIENT's request ID."
  (when-let ((request (gethash id (nrepl-py-client-requests client))))
    (setf (nrepl-py-client--request-callback request) #'ignore)))

(defun nrepl-py-client-close (client)
  "Leave the server of CLIENT.  Its sessions go on."
  (nrepl-py-client--abandon client "closed" "this connection was closed"))

(defun nrepl-py-client-live-p (client)
  "Whether CLIENT is connected, or tries to be."
  (not (eq (nrepl-py-client-phase client) 'over)))

(defun nrepl-py-client-drop (client reason)
  "Lose the connection of CLIENT, for REASON, and try another."
  (when-let ((socket (nrepl-py-client-socket client)))
    (nrepl-py-socket-close socket)
    (nrepl-py-client--lost client reason)))

;;;; Messages

(defun nrepl-py-client-status-p (message status)
  "Whether MESSAGE has STATUS."
  (member status (alist-get 'status message)))

(defun nrepl-py-client-error (message)
  "The code and the sentence of MESSAGE, as a list, if it refuses a request."
  (let ((status (alist-get 'status message)))
    (when (member "error" status)
      (let ((code (or (seq-find (lambda (one) (not (member one '("error" "done")))) status)
                      "internal")))
        (list code (or (alist-get 'message message) code))))))

;;;; Requests

(defun nrepl-py-client--all (client)
  "The open requests of CLIENT, oldest first."
  (sort (hash-table-values (nrepl-py-client-requests client))
        (lambda (a b) (< (nrepl-py-client--request-number a) (nrepl-py-client--request-number b)))))

(defun nrepl-py-client--session (request)
  "The session that REQUEST names."
  (plist-get (nrepl-py-client--request-fields request) :session))

(defun nrepl-py-client--eval-p (request)
  "Whether REQUEST is an eval."
  (member (nrepl-py-client--request-op request) '("eval" "load-file")))

(defun nrepl-py-client--evals (client session)
  "CLIENT's open evals in SESSION, oldest first."
  (seq-filter (lambda (one) (and (nrepl-py-client--eval-p one)
                                 (equal (nrepl-py-client--session one) session)))
              (nrepl-py-client--all client)))

(defun nrepl-py-client--survives-p (request)
  "Whether REQUEST outlives its connection.
It can be taken up again, or sent again without harm."
  (let ((op (nrepl-py-client--request-op request)))
    (cond ((nrepl-py-client--eval-p request)
           (and (nrepl-py-client--session request)
                (or (nrepl-py-client--request-heard request)
                    (< (nrepl-py-client--request-attempts request) nrepl-py-client--attempts))))
          ((equal op "interrupt") (plist-get (nrepl-py-client--request-fields request) :interrupt-id))
          (t (member op nrepl-py-client--again)))))

(defun nrepl-py-client--flush (client)
  "Send the requests of CLIENT that wait and need not."
  (when (eq (nrepl-py-client-phase client) 'up)
    (dolist (request (nrepl-py-client--all client))
      (let ((stream (gethash (nrepl-py-client--session request) (nrepl-py-client-streams client))))
        (unless (or (nrepl-py-client--request-sent request)
                    (and stream (nrepl-py-client--stream-resuming stream)
                         (not (nrepl-py-client--request-resume request))))
          (nrepl-py-client--send client request))))))

(defun nrepl-py-client--send (client request)
  "Send REQUEST of CLIENT; end it where it cannot be sent."
  (pcase-let* ((op (nrepl-py-client--request-op request))
               (`(,text ,why)
                (condition-case failure
                    (list (nrepl-py-client--encode op (nrepl-py-client--request-id request)
                                                   (nrepl-py-client--request-fields request)))
                  (error (list nil (error-message-string failure))))))
    (cond
     ((null text)
      (nrepl-py-client--fail client request "invalid-message" (format "%s cannot be sent: %s" op why)))
     ((> (string-bytes text) nrepl-py-client-max-frame)
      (nrepl-py-client--fail client request "invalid-message"
                             (format "%s: %d bytes are more than a server takes (%d)"
                                     op (string-bytes text) nrepl-py-client-max-frame)))
     (t (setf (nrepl-py-client--request-sent request) t)
        (nrepl-py-socket-send (nrepl-py-client-socket client) text)))))

(defun nrepl-py-client--encode (op id fields)
  "The frame of the request ID for OP with FIELDS, without those that are nil."
  (json-serialize (append (list :op op :id id)
                          (cl-loop for (key value) on fields by #'cddr
                                   when value append (list key value)))))

(defun nrepl-py-client--give (request message)
  "Give MESSAGE to whoever made REQUEST."
  (condition-case-unless-debug failure
      (funcall (nrepl-py-client--request-callback request) message)
    (error (message "nrepl-py: %s" (error-message-string failure)))))

(defun nrepl-py-client--tell (client &rest what)
  "Tell CLIENT's listener WHAT."
  (condition-case-unless-debug failure
      (apply (nrepl-py-client-listener client) client what)
    (error (message "nrepl-py: %s" (error-message-string failure)))))

(defun nrepl-py-client--reply (client request message)
  "MESSAGE is a reply to REQUEST of CLIENT, its last one if it says \"done\"."
  (when (nrepl-py-client-status-p message "done")
    (remhash (nrepl-py-client--request-id request) (nrepl-py-client-requests client)))
  (nrepl-py-client--give request message))

(defun nrepl-py-client--fail (client request code why)
  "End REQUEST of CLIENT with the error CODE and the sentence WHY."
  (nrepl-py-client--reply client request
                          `((id . ,(nrepl-py-client--request-id request))
                            (status "error" ,code "done") (message . ,why))))

;;;; What comes

(defun nrepl-py-client--received (client text)
  "A frame came for CLIENT: TEXT."
  (setf (nrepl-py-client-silent client) 0)
  (let* ((message (condition-case nil
                      (json-parse-string text :object-type 'alist :array-type 'list
                                         :null-object nil :false-object nil)
                    (error 'broken)))
         (id (and (consp message) (alist-get 'id message)))
         (request (and id (gethash id (nrepl-py-client-requests client)))))
    (cond
     ((eq message 'broken) (nrepl-py-client-drop client "the server sent what is no JSON"))
     ((and id (equal id (nrepl-py-client-greeting client))) (nrepl-py-client--greeted client message))
     ((and (alist-get 'seq message) (alist-get 'session message))
      (nrepl-py-client--streamed client message request))
     (request (nrepl-py-client--replied client request message))
     ((not (nrepl-py-client-status-p message "done"))
      (nrepl-py-client--tell client 'other message)))))

(defun nrepl-py-client--stream (client session)
  "What CLIENT knows of the stream of SESSION."
  (let ((streams (nrepl-py-client-streams client)))
    (or (gethash session streams)
        (puthash session (make-nrepl-py-client--stream :id session) streams))))

(defun nrepl-py-client--streamed (client message request)
  "MESSAGE of a session's stream came for CLIENT.
REQUEST is the one it names, if it is open."
  (let* ((session (alist-get 'session message))
         (seq (alist-get 'seq message))
         (stream (nrepl-py-client--stream client session)))
    (when (> seq (nrepl-py-client--stream-seen stream))
      (when (and (nrepl-py-client--stream-whole stream)
                 (> seq (1+ (nrepl-py-client--stream-seen stream))))
        (nrepl-py-client--gap client stream (1- seq)))
      (setf (nrepl-py-client--stream-seen stream) seq)
      (cond ((alist-get 'event message)
             (when (equal (alist-get 'event message) "closed")
               (remhash session (nrepl-py-client-streams client)))
             (nrepl-py-client--tell client 'event message))
            ((and request (not (alist-get 'late message)))
             (nrepl-py-client--said client request message))
            (t (nrepl-py-client--tell client 'other message))))))

(defun nrepl-py-client--said (client request message)
  "The eval REQUEST of CLIENT says MESSAGE."
  (setf (nrepl-py-client--request-heard request) t)
  (cond ((nrepl-py-client-status-p message "need-input")
         (setf (nrepl-py-client--request-question request) message))
        ((nrepl-py-client-status-p message "input-done")
         (setf (nrepl-py-client--request-question request) nil)))
  (nrepl-py-client--reply client request message))

(defun nrepl-py-client--gap (client stream to)
  "What STREAM said up to TO is gone, CLIENT finds."
  (let ((from (1+ (nrepl-py-client--stream-seen stream))))
    (setf (nrepl-py-client--stream-seen stream) to
          (nrepl-py-client--stream-gapped stream) t)
    (nrepl-py-client--tell client 'gap (nrepl-py-client--stream-id stream) from to)))

(defun nrepl-py-client--replied (client request message)
  "MESSAGE answers REQUEST of CLIENT, outside any stream."
  (pcase (nrepl-py-client-error message)
    ((and `("duplicate-id" ,_) (guard (nrepl-py-client--request-again request))))
                                        ; it had arrived: its messages come by the stream
    ((and `("unknown-session" ,_) (guard (nrepl-py-client--request-again request))
          (guard (equal (nrepl-py-client--request-op request) "close")))
     (nrepl-py-client--reply client request '((status "session-closed" "done"))))
    ('nil (nrepl-py-client--note client request message)
          (nrepl-py-client--reply client request message))
    (_ (nrepl-py-client--reply client request message))))

(defun nrepl-py-client--note (client request message)
  "Note what MESSAGE, the reply to REQUEST of CLIENT, means for its streams."
  (pcase (nrepl-py-client--request-op request)
    ("clone" (let ((stream (nrepl-py-client--stream client (alist-get 'new-session message))))
               (setf (nrepl-py-client--stream-wanted stream) t
                     (nrepl-py-client--stream-whole stream) t)))
    ("attach" (let* ((stream (nrepl-py-client--stream client (alist-get 'session message)))
                     (last (alist-get 'last-seq message)))
                (when (and (plist-member (nrepl-py-client--request-fields request) :since)
                           (< (nrepl-py-client--stream-seen stream) last))
                  (nrepl-py-client--gap client stream last))
                (setf (nrepl-py-client--stream-wanted stream) t
                      (nrepl-py-client--stream-whole stream) t
                      (nrepl-py-client--stream-seen stream)
                      (max last (nrepl-py-client--stream-seen stream)))))
    ((or "detach" "close")
     (remhash (or (alist-get 'session message) (nrepl-py-client--session request))
              (nrepl-py-client-streams client)))))

;;;; Going on after a lost connection

(defun nrepl-py-client--closed (client reason)
  "The connection of CLIENT is gone, for REASON.
End what cannot be taken up again."
  (setf (nrepl-py-client-phase client) 'down)
  (dolist (stream (hash-table-values (nrepl-py-client-streams client)))
    (setf (nrepl-py-client--stream-whole stream) nil
          (nrepl-py-client--stream-resuming stream) nil
          (nrepl-py-client--stream-gapped stream) nil))
  (dolist (request (seq-filter #'nrepl-py-client--request-sent (nrepl-py-client--all client)))
    (cl-incf (nrepl-py-client--request-attempts request))
    (setf (nrepl-py-client--request-sent request) nil
          (nrepl-py-client--request-again request) t)
    (cond
     ((nrepl-py-client--request-resume request)
      (remhash (nrepl-py-client--request-id request) (nrepl-py-client-requests client)))
     ((not (nrepl-py-client--survives-p request))
      (when (equal (nrepl-py-client--request-op request) "stdin")
        (dolist (eval (nrepl-py-client--evals client (nrepl-py-client--session request)))
          (setf (nrepl-py-client--request-ask eval) t)))
      (nrepl-py-client--fail client request "connection-lost"
                             (format "%s; what became of this %s is not known" reason
                                     (nrepl-py-client--request-op request)))))))

(defun nrepl-py-client--resume (client)
  "Attach CLIENT to its sessions again, where it was."
  (dolist (stream (hash-table-values (nrepl-py-client-streams client)))
    (let ((session (nrepl-py-client--stream-id stream)))
      (when (or (nrepl-py-client--stream-wanted stream)
                (seq-some #'nrepl-py-client--request-again (nrepl-py-client--evals client session)))
        (setf (nrepl-py-client--stream-resuming stream) t
              (nrepl-py-client--stream-whole stream) t)
        (let ((id (nrepl-py-client-request
                   client "attach" (list :session session :since (nrepl-py-client--stream-seen stream))
                   (lambda (reply) (nrepl-py-client--resumed client stream reply)))))
          (when-let ((request (gethash id (nrepl-py-client-requests client))))
            (setf (nrepl-py-client--request-resume request) t)))))))

(defun nrepl-py-client--resumed (client stream reply)
  "All that STREAM said meanwhile has come to CLIENT, or is gone.
REPLY says what became of its evals."
  (let* ((session (nrepl-py-client--stream-id stream))
         (failure (nrepl-py-client-error reply))
         (gap (or (nrepl-py-client--stream-gapped stream)
                  (nrepl-py-client-status-p reply "replay-gap"))))
    (setf (nrepl-py-client--stream-resuming stream) nil
          (nrepl-py-client--stream-gapped stream) nil)
    (dolist (request (nrepl-py-client--evals client session))
      (when (nrepl-py-client--request-again request)
        (if failure
            (apply #'nrepl-py-client--fail client request failure)
          (nrepl-py-client--taken-up client request reply gap))))
    (when failure
      (remhash session (nrepl-py-client-streams client))
      (nrepl-py-client--tell client 'event `((session . ,session) (event . "closed"))))
    (nrepl-py-client--flush client)))

(defun nrepl-py-client--taken-up (client request reply gap)
  "Decide what becomes of the eval REQUEST of CLIENT, by the REPLY of `attach'.
GAP: some of what was said is gone."
  (let ((id (nrepl-py-client--request-id request)))
    (cond
     ((member id (alist-get 'open reply))
      (setf (nrepl-py-client--request-sent request) t)
      (when (and (equal id (alist-get 'running reply)) (alist-get 'waiting-for-input reply)
                 (or gap (nrepl-py-client--request-ask request)))
        ;; What for may be gone; then what is typed had better not be shown.
        (nrepl-py-client--said client request
                               (or (nrepl-py-client--request-question request)
                                   `((id . ,id) (status "need-input") (prompt . "") (password . t)))))
      (setf (nrepl-py-client--request-ask request) nil))
     ((or gap (nrepl-py-client--request-heard request))
      (nrepl-py-client--fail client request "replay-gap"
                             (format "the session's log no longer says %s"
                                     (if (nrepl-py-client--request-heard request)
                                         "how it ended" "whether it ran")))))))

;;;; Connecting

(defun nrepl-py-client--dial (client)
  "Try to connect CLIENT."
  (nrepl-py-client--stop-timers client)
  (condition-case failure
      (setf (nrepl-py-client-socket client)
            (nrepl-py-socket-open
             (nrepl-py-client-url client) (nrepl-py-client-unix client)
             (nrepl-py-client-certfile client)
             (lambda () (nrepl-py-client--greet client))
             (lambda (text) (nrepl-py-client--received client text))
             (lambda (reason) (nrepl-py-client--lost client reason)))
            (nrepl-py-client-timer client)
            (run-at-time nrepl-py-client--open-seconds nil #'nrepl-py-client-drop client
                         (format "no answer within %d s" nrepl-py-client--open-seconds)))
    (error                              ; told when the caller has the client
     (setf (nrepl-py-client-timer client)
           (run-at-time 0 nil #'nrepl-py-client--lost client (error-message-string failure))))))

(defun nrepl-py-client--greet (client)
  "Say hello for CLIENT."
  (let ((id (format "%s-hello-%d" (nrepl-py-client-prefix client)
                    (cl-incf (nrepl-py-client-count client)))))
    (setf (nrepl-py-client-phase client) 'greeting
          (nrepl-py-client-greeting client) id)
    (nrepl-py-socket-send
     (nrepl-py-client-socket client)
     (nrepl-py-client--encode "hello" id
                              (append (list :token (nrepl-py-client-token client)
                                            :client-name "emacs" :client-version nrepl-py-client-version
                                            :protocol nrepl-py-client-protocol)
                                      nrepl-py-client--takes)))))

(defun nrepl-py-client--greeted (client reply)
  "REPLY answers CLIENT's hello."
  (setf (nrepl-py-client-greeting client) nil)
  (if-let ((failure (nrepl-py-client-error reply)))
      (apply #'nrepl-py-client--abandon client failure)
    (nrepl-py-client--stop-timers client)
    (setf (nrepl-py-client-phase client) 'up
          (nrepl-py-client-was-up client) t
          (nrepl-py-client-attempts client) 0
          (nrepl-py-client-waited client) 0
          (nrepl-py-client-silent client) 0
          (nrepl-py-client-ticker client)
          (run-at-time nrepl-py-client--tick-seconds nrepl-py-client--tick-seconds
                       #'nrepl-py-client--tick client))
    (nrepl-py-client--resume client)
    (nrepl-py-client--flush client)
    (nrepl-py-client--tell client 'up reply)))

(defun nrepl-py-client--tick (client)
  "Find out whether the connection of CLIENT, which says nothing, is dead."
  (pcase (cl-incf (nrepl-py-client-silent client))
    (2 (nrepl-py-client-request client "is-complete" '(:code "") #'ignore))
    (4 (nrepl-py-client-drop client "the server was silent"))))

(defun nrepl-py-client--lost (client reason)
  "The connection of CLIENT is gone, or there was none, for REASON.
Try again, or give up."
  (nrepl-py-client--stop-timers client)
  (setf (nrepl-py-client-socket client) nil)
  (unless (eq (nrepl-py-client-phase client) 'over)
    (let ((where (or (nrepl-py-client-unix client) (nrepl-py-client-url client)))
          (alive-p (nrepl-py-client-alive-p client)))
      (nrepl-py-client--closed client (format "the connection to %s was lost: %s" where reason))
      (cond
       ((not (nrepl-py-client-was-up client))
        (nrepl-py-client--abandon client "no-server"
                                  (format "no server lets us in at %s: %s" where reason)))
       ((and alive-p (not (funcall alive-p)))
        (nrepl-py-client--abandon client "connection-lost" (format "the server at %s has ended" where)))
       (t (nrepl-py-client--retry client where reason))))))

(defun nrepl-py-client--retry (client where reason)
  "Connect CLIENT again to WHERE, after a while.
REASON is why it is not connected."
  (if-let ((seconds (nrepl-py-client--delay client)))
      (progn
        (setf (nrepl-py-client-timer client)
              (run-at-time seconds nil #'nrepl-py-client--dial client))
        (nrepl-py-client--tell client 'down reason seconds))
    (nrepl-py-client--abandon client "connection-lost"
                              (format "the connection to %s was lost for too long: %s" where reason))))

(defun nrepl-py-client--delay (client)
  "Seconds until CLIENT is connected again; nil: give up.
None at first, then more and more.  Half of it is chance, so that clients of
one server do not come all at once."
  (pcase-let ((`(,first ,most ,total) nrepl-py-client-retry-seconds)
              (attempts (cl-incf (nrepl-py-client-attempts client))))
    (cond ((= attempts 1) 0)
          ((< (nrepl-py-client-waited client) total)
           (let ((seconds (* (min most (* first (expt 2.0 (min 20 (- attempts 2)))))
                             (+ 0.5 (/ (random 1000) 2000.0)))))
             (cl-incf (nrepl-py-client-waited client) seconds)
             seconds)))))

(defun nrepl-py-client--abandon (client code why)
  "End all that CLIENT has to do with, with the error CODE and the sentence WHY."
  (unless (eq (nrepl-py-client-phase client) 'over)
    (setf (nrepl-py-client-phase client) 'over
          (nrepl-py-client-failure client) (list code why))
    (nrepl-py-client--stop-timers client)
    (when-let ((socket (nrepl-py-client-socket client)))
      (setf (nrepl-py-client-socket client) nil)
      (nrepl-py-socket-close socket))
    (dolist (request (nrepl-py-client--all client))
      (nrepl-py-client--fail client request code why))
    (nrepl-py-client--tell client 'over code why)))

(defun nrepl-py-client--stop-timers (client)
  "Let nothing happen to CLIENT by itself."
  (dolist (timer (list (nrepl-py-client-timer client) (nrepl-py-client-ticker client)))
    (when timer (cancel-timer timer)))
  (setf (nrepl-py-client-timer client) nil
        (nrepl-py-client-ticker client) nil))

(provide 'nrepl-py-client)
;;; nrepl-py-client.el ends here
