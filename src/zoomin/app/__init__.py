"""The program around the library: the command line, the demo, the doctor."""
