;;; nrepl-py-client-test.el --- Tests of the protocol's part, without a server  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: MIT

;;; Commentary:

;; The socket is a list of what was sent; what a server would say is said by the tests.

;;; Code:

(require 'ert)
(require 'nrepl-py-client)

(defvar nrepl-py-client-test-sent nil
  "The requests that were sent, newest first.")

(defmacro nrepl-py-client-test (&rest body)
  "Run BODY with `client', greeted, `replies' to `ask' and what was `told'."
  (declare (indent 0))
  `(let ((nrepl-py-client-test-sent nil) (replies nil) (told nil))
     (cl-letf (((symbol-function 'nrepl-py-socket-open) (lambda (&rest _) 'socket))
               ((symbol-function 'nrepl-py-socket-close) #'ignore)
               ((symbol-function 'nrepl-py-socket-send)
                (lambda (_ text)
                  (push (json-parse-string text :object-type 'alist) nrepl-py-client-test-sent))))
       (let ((client (nrepl-py-client-open
                      :token "t" :listener (lambda (_ &rest what) (push what told)))))
         (cl-flet ((ask (op &rest fields)
                     (nrepl-py-client-request client op fields (lambda (m) (push m replies))))
                   (say (&rest message)
                     (nrepl-py-client--received client (json-serialize message)))
                   (greeted () (nrepl-py-client-test-greet client))
                   (ops () (mapcar (lambda (one) (alist-get 'op one)) (reverse nrepl-py-client-test-sent))))
           (unwind-protect (progn (greeted) ,@body)
             (nrepl-py-client-close client)))))))

(defun nrepl-py-client-test-greet (client)
  "Let CLIENT in."
  (nrepl-py-client--dial client)
  (nrepl-py-client--greet client)
  (nrepl-py-client--received
   client (json-serialize (list :id (nrepl-py-client-greeting client) :status ["done"])))
  (setq nrepl-py-client-test-sent
        (seq-remove (lambda (one) (equal "hello" (alist-get 'op one))) nrepl-py-client-test-sent)))

(defun nrepl-py-client-test-id ()
  "The id of what was sent last."
  (alist-get 'id (car nrepl-py-client-test-sent)))

(ert-deftest nrepl-py-client-test-a-request-ends-once ()
  (nrepl-py-client-test
    (let ((id (ask "eval" :session "s" :code "1")))
      (say :id id :session "s" :seq 1 :out "a")
      (say :id id :session "s" :seq 2 :value "1" :status ["done"])
      (should (= 2 (length replies)))
      (should (zerop (hash-table-count (nrepl-py-client-requests client))))
      (say :id id :session "s" :seq 2 :value "1" :status ["done"]) ; a repeat
      (say :id id :session "s" :seq 3 :out "late" :late t)
      (should (= 2 (length replies)))
      (should (equal '(other) (mapcar #'car (seq-remove (lambda (one) (eq 'up (car one))) told)))))))

(ert-deftest nrepl-py-client-test-evals-go-on-after-a-lost-connection ()
  (nrepl-py-client-test
    (say :session "s" :seq 7 :event "started")
    (let ((heard (ask "eval" :session "s" :code "heard"))
          (lost (ask "eval" :session "s" :code "lost"))
          (question (ask "lookup" :session "s" :sym "x"))
          (once (ask "clone" :name "x")))
      (say :id heard :session "s" :seq 8 :out "a")
      (nrepl-py-client-drop client "a test")
      (should (= 2 (length replies)))
      (should (equal once (alist-get 'id (car replies))))
      (should (equal "connection-lost" (car (nrepl-py-client-error (car replies)))))
      (setq nrepl-py-client-test-sent nil replies nil)
      (greeted)
      ;; Nothing of the session before its attach is answered.
      (should (equal '("attach") (ops)))
      (should (equal 8 (alist-get 'since (car nrepl-py-client-test-sent))))
      (let ((attach (nrepl-py-client-test-id)))
        (say :id heard :session "s" :seq 9 :out "b")
        (say :id attach :session "s" :last-seq 9 :running heard :open (vector heard) :status ["done"]))
      (should (equal '("attach" "eval" "lookup") (ops)))
      (should (equal (list question lost)
                     (mapcar (lambda (one) (alist-get 'id one))
                             (butlast nrepl-py-client-test-sent))))
      (say :id heard :session "s" :seq 10 :status ["done"])
      ;; It had arrived the first time.
      (say :id lost :session "s" :status ["error" "duplicate-id" "done"] :message "known")
      (say :id lost :session "s" :seq 11 :value "2" :status ["done"])
      (should (equal '("b" nil nil) (mapcar (lambda (one) (alist-get 'out one)) (reverse replies))))
      (should (equal "2" (alist-get 'value (car replies)))))))

(ert-deftest nrepl-py-client-test-nothing-runs-twice-where-the-log-has-a-gap ()
  (nrepl-py-client-test
    (ask "attach" :session "s" :since 0)
    (say :id (nrepl-py-client-test-id) :session "s" :last-seq 0 :status ["done"])
    (let ((eval (ask "eval" :session "s" :code "1")))
      (nrepl-py-client-drop client "a test")
      (setq nrepl-py-client-test-sent nil)
      (greeted)
      (say :id (nrepl-py-client-test-id) :session "s" :last-seq 90 :open [] :status ["replay-gap" "done"])
      (should (member '(gap "s" 1 90) told))
      (should (equal "replay-gap" (car (nrepl-py-client-error (car replies)))))
      (should (equal eval (alist-get 'id (car replies))))
      (should-not (member "eval" (ops))))))

(ert-deftest nrepl-py-client-test-input-is-asked-for-again ()
  (nrepl-py-client-test
    (let ((eval (ask "eval" :session "s" :code "input('n? ')")))
      (say :id eval :session "s" :seq 1 :status ["need-input"] :prompt "n? ")
      (ask "stdin" :session "s" :stdin "x\n")
      (nrepl-py-client-drop client "a test")
      (should (equal "connection-lost" (car (nrepl-py-client-error (car replies)))))
      (greeted)
      (say :id (nrepl-py-client-test-id) :session "s" :last-seq 1 :running eval :open (vector eval)
           :waiting-for-input t :status ["done"])
      (should (equal "n? " (alist-get 'prompt (car replies))))
      (should (= 3 (length replies))))))

(ert-deftest nrepl-py-client-test-a-session-that-is-gone ()
  (nrepl-py-client-test
    (let ((eval (ask "eval" :session "s" :code "1")))
      (say :id eval :session "s" :seq 1 :out "a")
      (nrepl-py-client-drop client "a test")
      (greeted)
      (say :id (nrepl-py-client-test-id) :status ["error" "unknown-session" "done"] :message "no session 's'")
      (should (equal '("unknown-session" "no session 's'") (nrepl-py-client-error (car replies))))
      (should (member '(event ((session . "s") (event . "closed"))) told)))))

(ert-deftest nrepl-py-client-test-back-off ()
  (let ((client (nrepl-py-client--make))
        (nrepl-py-client-retry-seconds '(0.2 10 300))
        (waits nil) seconds)
    (while (setq seconds (nrepl-py-client--delay client)) (push seconds waits))
    (setq waits (nreverse waits))
    (should (equal 0 (car waits)))
    (should (<= 0.1 (nth 1 waits) 0.2))
    (should (<= 0.4 (nth 3 waits) 0.8))
    (should (<= (apply #'max waits) 10))
    (should (<= 300 (apply #'+ waits) 310))))

(ert-deftest nrepl-py-client-test-what-cannot-be-sent ()
  (nrepl-py-client-test
    (ask "eval" :code (list 'no 'json))
    (should (equal "invalid-message" (car (nrepl-py-client-error (car replies)))))
    (nrepl-py-client-close client)
    (ask "eval" :code "1")
    (should (equal "closed" (car (nrepl-py-client-error (car replies)))))))

(ert-deftest nrepl-py-client-test-frames-are-masked ()
  (dolist (size '(0 5 125 126 65535 65536))
    (let* ((payload (make-string size ?\xe4))
           (bytes (encode-coding-string payload 'latin-1))
           (frame (nrepl-py-socket--frame 1 bytes))
           (read (websocket-read-frame frame)))
      (should-not (multibyte-string-p frame))
      (should (= 128 (logand 128 (aref frame 1))))
      (should (equal bytes (websocket-frame-payload read)))
      (should (eq 'text (websocket-frame-opcode read))))))

(provide 'nrepl-py-client-test)
;;; nrepl-py-client-test.el ends here
