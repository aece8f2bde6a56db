"""The device program that runs where no other was flashed: a fake device as firmware, with the lines of xiaozhi's."""
