//! Text wire.
