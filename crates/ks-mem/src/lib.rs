//! Sole owner of frame, public-block and shared memory.
