;;; nrepl-py-socket.el --- A WebSocket that keeps nobody waiting  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: MIT

;;; Commentary:

;; What nrepl-py needs of a WebSocket, over websocket.el: that does the handshake and takes frames
;; apart.  Done here is what it does otherwise:
;;
;; - it waits for the connection even where asked not to, and knows no Unix sockets;
;; - it tells of a refused handshake only after it has called it closed, and then open;
;; - its closing frame is not masked, which servers must take for an error;
;; - it masks in time that a large buffer makes felt.

;;; Code:

(require 'cl-lib)
(require 'gnutls)
(require 'subr-x)
(require 'url-parse)
(require 'websocket)

(cl-defstruct (nrepl-py-socket (:constructor nrepl-py-socket--make) (:copier nil))
  "One WebSocket.
ON-OPEN, ON-MESSAGE (with a text) and ON-CLOSE (with a reason) must not wait."
  process websocket on-open on-message on-close fragments closed)

(defun nrepl-py-socket-open (url unix certfile on-open on-message on-close)
  "Connect to URL, or to the Unix socket UNIX, and return the socket at once.
CERTFILE, if any, has the certificate that a server with TLS shows.
ON-OPEN is called when it is open, ON-MESSAGE with the text of each message,
and ON-CLOSE once, with the reason, when it is closed by whomever but us.
Signals an error where no connection can even be tried."
  (let* ((key (websocket-genkey))
         (process (nrepl-py-socket--connect url unix certfile))
         (socket (nrepl-py-socket--make :process process :on-open on-open
                                        :on-message on-message :on-close on-close)))
    (setf (nrepl-py-socket-websocket socket)
          (websocket-inner-create
           :conn process :url url :protocols '("nrepl.v1.json")
           :accept-string (websocket-calculate-accept key)
           :on-open (lambda (_) (funcall on-open))
           :on-message (lambda (_ frame) (nrepl-py-socket--frame-came socket frame))
           :on-close #'ignore
           :on-error (lambda (_ where failure) (nrepl-py-socket--failed socket where failure))))
    (set-process-query-on-exit-flag process nil)
    (set-process-filter process (lambda (_ output) (nrepl-py-socket--input socket output)))
    (set-process-sentinel process
                          (lambda (_ change) (nrepl-py-socket--changed socket url key change)))
    (when (eq (process-status process) 'open)
      (nrepl-py-socket--shake-hands process url key))
    socket))

(defun nrepl-py-socket-send (socket text)
  "Send TEXT over SOCKET, as one message."
  (let ((payload (if (multibyte-string-p text) (encode-coding-string text 'utf-8) text)))
    (when (process-live-p (nrepl-py-socket-process socket))
      (process-send-string (nrepl-py-socket-process socket)
                           (nrepl-py-socket--frame 1 payload)))))

(defun nrepl-py-socket-close (socket)
  "Close SOCKET.  Nothing is told of it any more."
  (setf (nrepl-py-socket-closed socket) t)
  (let ((process (nrepl-py-socket-process socket)))
    (when (and (eq (process-status process) 'open)
               (eq (websocket-ready-state (nrepl-py-socket-websocket socket)) 'open))
      (ignore-errors                    ; 1000: all is well
        (process-send-string process (nrepl-py-socket--frame 8 (unibyte-string 3 232)))))
    (delete-process process)))

(defun nrepl-py-socket--connect (url unix certfile)
  "Begin a connection to URL, or to the Unix socket UNIX; CERTFILE is for TLS."
  (let* ((parsed (url-generic-parse-url url))
         (host (replace-regexp-in-string "\\`\\[\\|\\]\\'" "" (or (url-host parsed) "")))
         (tls (equal (url-type parsed) "wss"))
         (port (if (zerop (url-port parsed)) (if tls 443 80) (url-port parsed))))
    (cond
     (unix (make-network-process :name "nrepl-py" :family 'local :service unix :coding 'binary))
     (tls (let ((coding-system-for-read 'binary)
                (coding-system-for-write 'binary)
                (gnutls-trustfiles (if certfile (list certfile) gnutls-trustfiles)))
            (open-network-stream "nrepl-py" nil host port :type 'tls :nowait t)))
     ((equal (url-type parsed) "ws")
      (make-network-process :name "nrepl-py" :host host :service port :nowait t :coding 'binary))
     (t (error "%s is no address of a server: it begins with ws:// or wss://" url)))))

(defun nrepl-py-socket--shake-hands (process url key)
  "Ask over PROCESS for a WebSocket to URL, with KEY."
  (process-send-string
   process (concat "GET / HTTP/1.1\r\n"
                   (websocket-create-headers url key '("nrepl.v1.json") nil nil))))

(defun nrepl-py-socket--changed (socket url key change)
  "The process of SOCKET to URL, with KEY, is in another state: CHANGE."
  (let ((process (nrepl-py-socket-process socket)))
    (if (eq (process-status process) 'open)
        (nrepl-py-socket--shake-hands process url key)
      (nrepl-py-socket--end
       socket (cond ((string-prefix-p "failed with code 111" change) "connection refused")
                    ((string-prefix-p "connection broken" change) "the server closed it")
                    (t (string-trim change)))))))

(defun nrepl-py-socket--input (socket output)
  "Bytes came over SOCKET: OUTPUT."
  (let* ((websocket (nrepl-py-socket-websocket socket))
         (opening (eq (websocket-ready-state websocket) 'connecting))
         (text (if opening (concat (websocket-inflight-input websocket) output) "")))
    (cond
     ((nrepl-py-socket-closed socket))
     ((and opening (string-match "\\`HTTP/[.0-9]+ \\([0-9]+\\)[^\r]*\r\n" text)
           (not (equal (match-string 1 text) "101")))
      (let ((status (match-string 1 text))
            (body (if (string-match "\r\n\r\n" text) (substring text (match-end 0)) "")))
        (nrepl-py-socket--end
         socket (string-trim (format "HTTP status %s %s" status
                                     (decode-coding-string body 'utf-8))))))
     (t (websocket-outer-filter websocket output)))))

(defun nrepl-py-socket--frame-came (socket frame)
  "Take a FRAME of SOCKET, a message or a part of one."
  (push (websocket-frame-payload frame) (nrepl-py-socket-fragments socket))
  (when (websocket-frame-completep frame)
    (let ((whole (apply #'concat (nreverse (nrepl-py-socket-fragments socket)))))
      (setf (nrepl-py-socket-fragments socket) nil)
      (unless (nrepl-py-socket-closed socket)
        (funcall (nrepl-py-socket-on-message socket) (decode-coding-string whole 'utf-8))))))

(defun nrepl-py-socket--failed (socket where failure)
  "In the callback WHERE of SOCKET there was FAILURE."
  (if (memq 'websocket-error (get (car failure) 'error-conditions))
      (nrepl-py-socket--end socket (error-message-string failure))
    (message "nrepl-py: %s: %s" where (error-message-string failure))))

(defun nrepl-py-socket--end (socket reason)
  "SOCKET is closed, for REASON."
  (unless (nrepl-py-socket-closed socket)
    (setf (nrepl-py-socket-closed socket) t)
    (delete-process (nrepl-py-socket-process socket))
    (funcall (nrepl-py-socket-on-close socket) reason)))

(defun nrepl-py-socket--frame (opcode payload)
  "A frame of OPCODE with PAYLOAD, bytes, masked as a client must."
  (let* ((size (length payload))
         (key (unibyte-string (random 256) (random 256) (random 256) (random 256)))
         (masked (copy-sequence payload))
         (wide (cond ((< size 126) 0) ((< size 65536) 2) (t 8)))
         (lengths (cl-loop for shift from (* 8 (1- wide)) downto 0 by 8
                           collect (logand 255 (ash size (- shift))))))
    (dotimes (i size)
      (aset masked i (logxor (aref masked i) (aref key (logand i 3)))))
    (concat (apply #'unibyte-string (logior 128 opcode)
                   (logior 128 (pcase wide (0 size) (2 126) (_ 127)))
                   (and (> wide 0) lengths))
            key masked)))

(provide 'nrepl-py-socket)
;;; nrepl-py-socket.el ends here
