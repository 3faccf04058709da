//! What readers see, told against a naive model.
