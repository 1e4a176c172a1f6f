//! Opens ordinary TCP connections where it is told to and reports what the kernel said.
