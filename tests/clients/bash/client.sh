#!/usr/bin/env bash
# A client in bash: every kind of thing a session does, once, as one would type it.
#
#   ./client.sh CONNECTION-FILE
#
# Needs bash 4 and websocat 1.x, which turns each line it reads into a message and each message it gets
# into a line. There is no JSON tool: strings are picked out of the lines by name, which is enough where
# one knows what to expect. It prints one line for each step and ends with status 1 at the first that
# does not go as protocol.md says.
set -euo pipefail
export LC_ALL=C.UTF-8

PATIENCE=60      # seconds before a silent server is given up
MAX_FRAME=65536  # bytes of the largest message the server shall send: websocat cuts those above its buffer

fail() { printf 'client.sh: %s\n' "$*" >&2; exit 1; }
say() { printf '%-9s %s\n' "$@"; }
send() { printf '%s\n' "$1" 2>/dev/null >&"$to_server" || fail "the server closed the connection"; }

# receive: the next message, in $message.
receive() {
    IFS= read -r -t "$PATIENCE" -u "$from_server" message && return
    [ $? -gt 128 ] && fail "the server did not answer in $PATIENCE s"
    fail "the server closed the connection"
}

# replies ID [STATUS]: the replies to a request up to the one with that status (`done`, unless
# another is given), in $replies, one a line. Events and replies to others are passed over.
replies() {
    local id=$1 status=${2:-done}
    replies=
    while receive; do
        [[ $message =~ \"id\"\ *:\ *\"$id\" ]] || continue
        replies+=$message$'\n'
        if has_status "$status" <<<"$message"; then return; fi
        if has_status done <<<"$message"; then fail "$id ended before '$status': $message"; fi
    done
}

# has_status STATUS: whether a message on standard input has it.
has_status() { grep -qE "\"status\" *: *\[[^]]*\"$1\""; }

# text FIELD: the string of that name in $replies, or all of them joined: output comes in pieces.
text() {
    local string='"([^"\\]|\\.)*"' joined
    joined=$(grep -oE "\"$1\" *: *$string" <<<"$replies" | sed -E 's/^"[^"]*" *: *"(.*)"$/\1/' | tr -d '\n') || return 0
    # What `printf %b` makes of backslashes is what JSON means by them, but for three of them.
    printf '%b' "$(sed -E 's/\\\\/\\0134/g; s/\\(["/])/\1/g' <<<"$joined")"
}

# expect WHAT WANTED GOT
expect() { [ "$2" = "$3" ] || fail "$1: expected '$2' and got '$3'. The replies were:"$'\n'"$replies"; }
expect_status() { has_status "$1" <<<"$replies" || fail "no status '$1' in:"$'\n'"$replies"; }

# --- The connection file: JSON with `url` and `token`, private to the user

[ $# = 1 ] || fail "usage: $0 CONNECTION-FILE"
[ -r "$1" ] || fail "$1 cannot be read"
[ -n "$(find "$1" -user "$(id -u)" -perm 600)" ] || fail "$1 can be read by others, so its token is no secret: refused"
replies=$(<"$1")
url=$(text url) token=$(text token)
command -v websocat >/dev/null || fail "websocat is not on PATH"

coproc SOCKET { exec websocat --text --exit-on-eof --buffer-size=$((MAX_FRAME * 2)) --protocol=nrepl.v1.json "$url"; }
from_server=${SOCKET[0]-} to_server=${SOCKET[1]-} websocat=${SOCKET_PID-}
[ -n "$websocat" ] || fail "no connection to $url" # bash forgets a coprocess that has ended
trap '' PIPE                                       # a lost connection is reported by `send`

# --- hello: the token goes in the first message, since a command line can be read by others

send '{"op": "hello", "id": "1", "token": "'"$token"'", "client-name": "bash-example", "max-frame": '$MAX_FRAME'}'
replies 1
has_status error <<<"$replies" && fail "refused: $(text message)"
[[ $replies =~ \"min\"\ *:\ *1[^0-9] ]] || fail "the server does not speak version 1: $replies"
say hello "welcome, $(text principal)"

# --- clone: a session

send '{"op": "clone", "id": "2"}'
replies 2
session=$(text new-session)
[ -n "$session" ] || fail "clone gave no session: $replies"
say clone "a session in Python $(text version)"

# --- eval: what it prints, and its value

send '{"op": "eval", "id": "3", "session": "'"$session"'", "code": "print('\''Grüße, 世界 🐍'\'')\n'\''café'\''.upper()"}'
replies 3
expect output 'Grüße, 世界 🐍' "$(text out)"
expect value "'CAFÉ'" "$(text value)"
say eval "printed $(text out), value $(text value)"

# --- an error

send '{"op": "eval", "id": "4", "session": "'"$session"'", "code": "ratio = 1\nratio / 0", "file": "/w/ratio.py"}'
replies 4
expect_status eval-error
expect type ZeroDivisionError "$(text type)"
[[ $(text err) == Traceback*'"/w/ratio.py", line 2'* ]] || fail "no traceback with line 2 in: $replies"
say error "$(text type)"

# --- an interrupt: of the loop named 5, once its first lines have run (`started` comes before they do)

send '{"op": "eval", "id": "5", "session": "'"$session"'", "code": "ratio = 2\nprint('\''looping'\'')\nwhile True: pass"}'
until [[ $message =~ \"out\"\ *:\ *\"looping ]]; do receive; done
send '{"op": "interrupt", "id": "6", "session": "'"$session"'", "interrupt-id": "5"}'
replies 5 # the eval ends first,
expect_status interrupted
replies 6 # then the interrupt is answered
[[ $replies =~ \"stages\"\ *:\ *\[\ *\"sigint\" ]] || fail "the interrupt walked no stage 'sigint': $replies"

send '{"op": "eval", "id": "7", "session": "'"$session"'", "code": "ratio"}'
replies 7
expect 'what the eval had done' 2 "$(text value)"
say interrupt "stopped by sigint"

# --- input

send '{"op": "eval", "id": "8", "session": "'"$session"'", "code": "input('\''name? '\'')"}'
replies 8 need-input
expect prompt 'name? ' "$(text prompt)"
send '{"op": "stdin", "id": "9", "session": "'"$session"'", "stdin": "Zoë\n"}'
replies 8
expect value "'Zoë'" "$(text value)"
say stdin "asked name? and got $(text value)"

# --- close

send '{"op": "close", "id": "10", "session": "'"$session"'"}'
replies 10
expect_status session-closed
send '{"op": "eval", "id": "11", "session": "'"$session"'", "code": "1"}'
replies 11
expect_status unknown-session
say close "the session is gone"

exec {to_server}>&- # websocat ends with its input
wait "$websocat"
