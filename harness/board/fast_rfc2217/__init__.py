"""A faster handler of pyserial for ``rfc2217://`` ports, for our own consoles and for programs of others.

pyserial's own client asks the server for the whole port setup again whenever ``timeout`` is assigned, and looks for
each answer every 50 ms. esptool assigns ``timeout`` twice for each command, so that each costs it 0.2 s: 18 s to tell
which chip it is, 37 s for 4 MiB. This one asks for what has changed, and goes on when the answer is there.

pyserial finds handlers in the packages of ``serial.protocol_handler_packages``, by the name of their module:
`harness.board.fast_rfc2217.protocol_rfc2217`. ``python -m harness.board.fast_rfc2217 esptool …`` runs any module so.
"""
