"""What the operating system of a host gives a TCP connection: constants of Linux, and of ESP-IDF's lwIP."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The TCP of a host.

    Attributes:
        receive_buffer: bytes that may be unread; the window is what of it is free.
        send_buffer: bytes the kernel takes that are not acknowledged; what is beyond stays in the transport.
        segment: the longest segment, in bytes (MSS).
        retransmission: seconds after which a lost segment is sent anew, doubled each time.
        retransmission_limit: what they are doubled to at most.
        user_timeout: seconds of unacknowledged data after which a connection is given up (ETIMEDOUT).
        connect_retry: seconds until a lost SYN is sent anew, doubled each time.
        connect_timeout: seconds after which connecting is given up (ETIMEDOUT).
        connections: that may be open at once; None: as many as there is memory for.
    """

    receive_buffer: int = 128 * 1024  # tcp(7), tcp_rmem: 131072; the window begins at half and grows, ours does not
    send_buffer: int = 128 * 1024  # tcp_wmem begins at 16 KiB and grows to 4 MiB; ours is what `listening.py` sets
    segment: int = 1448  # Ethernet's 1500 without 20 IP, 20 TCP, 12 timestamps
    retransmission: float = 0.2  # TCP_RTO_MIN, include/net/tcp.h: what counts on a LAN
    retransmission_limit: float = 120.0  # TCP_RTO_MAX, include/net/tcp.h
    user_timeout: float = 924.6  # ip-sysctl: tcp_retries2 = 15 amounts to this
    connect_retry: float = 1.0  # TCP_TIMEOUT_INIT, include/net/tcp.h
    connect_timeout: float = 127.0  # ip-sysctl: tcp_syn_retries = 6 amounts to this
    connections: int | None = None


LINUX = Profile()
"""A server; simplified: buffers do not grow by themselves."""

ESP32 = Profile(
    receive_buffer=5744,  # LWIP_TCP_WND_DEFAULT, components/lwip/Kconfig of ESP-IDF: four segments
    send_buffer=5744,  # LWIP_TCP_SND_BUF_DEFAULT, the same file
    segment=1440,  # LWIP_TCP_MSS
    retransmission=1.5,  # LWIP_TCP_RTO_TIME, with LWIP_TCP_HIGH_SPEED_RETRANSMISSION as is the default
    retransmission_limit=60.0,  # lwIP knows none but 2^7 times (tcp_backoff); unmeasured, only felt past a minute
    user_timeout=180.0,  # a guess for LWIP_TCP_MAXRTX = 12: to be measured on a board
    connect_retry=1.5,  # a SYN is retransmitted like data
    connect_timeout=75.0,  # a guess for LWIP_TCP_SYNMAXRTX = 12; the firmware's own limit is 10 s
    connections=16,  # LWIP_MAX_ACTIVE_TCP
)
"""An ESP32 as ESP-IDF configures lwIP. Its mailbox of six received segments (LWIP_TCP_RECVMBOX_SIZE) is left out."""
