"""Every bound of the server, with its unit and its reason, in one record.

`describe` reports them under the same names, in kebab-case; `config.py` reads them from flags,
the environment and files.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from nrepl_py.codec import MAX_DEPTH

_Count = Annotated[int, Meta(ge=1)]
_Zero = Annotated[int, Meta(ge=0)]
_Bytes = Annotated[int, Meta(ge=1024)]
_Most = Annotated[int, Meta(ge=0)] | None
_Seconds = Annotated[float, Meta(ge=0, le=31_536_000)]

MIN_FRAME: Final = 1 << 16
"""Bytes; the smallest `max-frame` a client may ask for: one output message with its envelope always fits."""


class Quota(Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True, omit_defaults=True):
    """What one principal may have at once; None: as much as the server's own bounds allow."""

    sessions: _Most = None
    evals: _Most = None
    """Running or queued, in all sessions together."""
    memory_bytes: _Most = None
    """Of each of its sessions; where no control groups are to be had, of each process of theirs."""


class Limits(Struct, frozen=True, kw_only=True, rename="kebab"):
    """Bounds; names end in their unit."""

    # 4 MiB: every common WebSocket client takes it, and one frame never stalls a connection for long.
    max_frame_bytes: Annotated[
        int, Meta(ge=MIN_FRAME, description="largest frame sent or taken; `hello` may lower it as `max-frame`")
    ] = 4 << 20
    # 256 MiB: bulk results (images, arrays) in one message, still held in memory once.
    max_value_bytes: Annotated[
        int, Meta(ge=0, description="largest `data` and `mime` of one message, for a client whose `hello` allows it")
    ] = 256 << 20
    max_depth_levels: Annotated[int, Meta(ge=1, le=MAX_DEPTH, description="nesting of a message and of plain data")] = (
        MAX_DEPTH
    )
    # 128: more than an editor ever sends ahead, little enough to be answered at once when a worker dies.
    max_queue_evals: Annotated[_Count, Meta(description="evals waiting in one session")] = 128
    # 32: completion while typing asks a few at a time; past it the worker is not answering anyway.
    max_open_questions: Annotated[_Count, Meta(description="introspection requests open in one session")] = 32
    max_stdin_bytes: Annotated[_Bytes, Meta(description="input buffered for one eval before it is read")] = 1 << 20
    # 1000: far more than an editor has open, and no more memory than a server for several people has.
    max_sessions_per_principal: Annotated[_Count, Meta(description="sessions one principal may hold")] = 1000
    # 16: more snapshots than one keeps apart, and each may in time cost as much memory as its original.
    max_family_sessions: Annotated[_Count, Meta(description="a session and its live clones, together")] = 16
    # 1000: below the 1024 descriptors a process may often have at most, for their share of them.
    max_connections: Annotated[_Count, Meta(description="connections open at once")] = 1000
    # 10,000: more than one connection reaches with evals one after the other; past it, it is not read for a moment.
    max_messages_per_second: Annotated[_Count, Meta(description="messages taken from one connection, lastingly")] = (
        10_000
    )
    # 10,000: a notebook's worth sent ahead is taken at once; a flood has the loop for less than a second.
    max_messages_burst: Annotated[_Count, Meta(description="messages taken from one connection at once")] = 10_000
    # 60: a token cannot be guessed at any rate; this bounds the work and the log lines of those who try.
    max_wrong_tokens_per_minute: Annotated[
        _Count, Meta(description="wrong tokens taken from one address (or user of a Unix socket), lastingly")
    ] = 60
    # 16 MiB: 60,000 lines of 150 characters, each a message of its own; a session that says little keeps little.
    log_bytes: Annotated[_Bytes, Meta(description="stream messages kept for one session")] = 16 << 20
    # 4 MiB: half a second of a flood; ten clients that never read take no more than 40 MiB until they are dropped.
    outbox_bytes: Annotated[_Bytes, Meta(description="messages waiting for one connection")] = 4 << 20
    stall_seconds: Annotated[
        _Seconds, Meta(description="how long a full connection may stall its own session before it is dropped")
    ] = 60
    handshake_seconds: Annotated[_Seconds, Meta(description="until `hello` with a token must have come")] = 10
    answer_seconds: Annotated[_Seconds, Meta(description="until introspection is answered `unavailable`")] = 1
    interrupt_grace_seconds: Annotated[_Seconds, Meta(description="until an interrupt is repeated")] = 2
    interrupt_giveup_seconds: Annotated[_Seconds, Meta(description="until an interrupt ends `still-running`")] = 5
    start_seconds: Annotated[_Seconds, Meta(description="until a worker that did not come up has failed")] = 30
    stop_grace_seconds: Annotated[_Seconds, Meta(description="from asking a worker to end until it is killed")] = 1
    # 5 times: who tries code that crashes is not in the way; a client that sends again and again is.
    max_crashes_in_a_row: Annotated[
        _Count, Meta(description="workers of a session that died unproven, until evals are refused")
    ] = 5
    # 10 s: what dies of how it was started, or of what is always sent first, has done so by then.
    crash_seconds: Annotated[_Seconds, Meta(description="a worker that has ended no eval is unproven for so long")] = 10
    # A minute: enough to look up and press a key.
    cull_notice_seconds: Annotated[
        _Seconds, Meta(description="from the event `culling` to the end; a tenth of the idle time at most")
    ] = 60
    # 20 s: below the 30 s after which common proxies and NATs drop an idle connection.
    ping_seconds: Annotated[_Seconds, Meta(description="between pings on an idle connection")] = 20
    # 10 ms: nobody sees it, and most evals have ended by then.
    coalesce_seconds: Annotated[
        _Seconds, Meta(description="how long `started` waits at most to go with the eval's first words")
    ] = 0.01

    # Of a session; `clone` may lower them (and say another `idle`). What is 0 is not bounded.
    # People compute with all they have; but a leak must end before the machine does.
    session_memory_bytes: Annotated[
        _Zero, Meta(description="memory of a session, or of each of its processes; 0: three quarters of the machine's")
    ] = 0
    session_processes: Annotated[_Zero, Meta(description="processes and threads of a confined session")] = 512
    session_cpu_seconds: Annotated[_Zero, Meta(description="processor time of each process of a session")] = 0
    session_eval_seconds: Annotated[_Seconds, Meta(description="an eval may run, whatever its `timeout` says")] = 0
    session_output_bytes: Annotated[_Zero, Meta(description="output of one eval, until it is interrupted")] = 0
    # A day: a session left in the evening is there in the morning, and one that was forgotten is not for ever.
    session_idle_seconds: Annotated[
        _Seconds, Meta(description="until a session that nobody is attached to, and nobody uses, ends; 0: never")
    ] = 86_400
    # 4096: what a server of the user's needs, and far from the machine's own bound.
    session_open_files: Annotated[_Zero, Meta(description="files and sockets open in each process of a session")] = 4096
    session_file_bytes: Annotated[_Zero, Meta(description="largest file a session writes")] = 16 << 30
    session_tmp_bytes: Annotated[
        _Zero, Meta(description="each private directory of a confined session: /tmp, /dev/shm, its home")
    ] = 512 << 20

    def described(self) -> dict[str, Any]:
        """What `describe` says: all of them, and the two that `hello` can lower under its names for them."""
        described: dict[str, Any] = msgspec.to_builtins(self)
        return described | {"max-frame": self.max_frame_bytes, "max-value": self.max_value_bytes}
