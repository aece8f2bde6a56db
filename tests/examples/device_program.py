"""main.py of a board: joins Wi-Fi, counts its starts, asks the gateway, and restarts when it is told to."""

import socket
import sys
import time

import esp32
import machine
import network

settings = esp32.NVS("app")
buffer = bytearray(64)
host, port = bytes(buffer[: settings.get_blob("gateway", buffer)]).decode().split(":")
try:
    starts = settings.get_i32("starts") + 1
except OSError:
    starts = 1
settings.set_i32("starts", starts)
settings.commit()

wlan = network.WLAN(network.STA_IF)
wlan.active(True)
wlan.connect("lab", "secret12")
while not wlan.isconnected():
    time.sleep(0.1)

connection = socket.socket()
connection.connect(socket.getaddrinfo(host, int(port))[0][-1])
connection.send(b"GET /xiaozhi/ota/ HTTP/1.0\r\nHost: gateway\r\n\r\n")
print("start", starts, "of", machine.unique_id().hex(), "is answered", connection.recv(64).split(b"\r\n")[0])

while sys.stdin.readline().strip() != "restart":
    pass
machine.reset()
