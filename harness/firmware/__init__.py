"""What lies on a board's flash, and where builds of it are found: formats without I/O, and layouts of build folders."""
