//! Whole programs on real input. Each folder is one story; its README tells it.
