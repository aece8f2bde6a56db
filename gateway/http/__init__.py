"""The HTTP port: OTA/config answers, firmware images, health and metrics."""
