"""How a job runs: plug-ins, locks, processes and signals, and errors of single images."""
