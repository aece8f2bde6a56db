"""One vocabulary of faults on the way between devices and gateway, over the simulated network and over real TCP."""
